"""Tritons' host names, looked up for Envoy: in what it is pushed it takes addresses and looks no name up itself."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

from inference_proxy.envoy.pushed import Place, host_of
from tradewind.logs import get_logger

log = get_logger(__name__)


class Names:
    """Where the Tritons of a configuration are now."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._named = [address for address in dict.fromkeys(addresses) if not is_ip(host_of(address))]
        self._found: dict[str, list[str]] = {}
        self._unknown: set[str] = set()

    async def look(self) -> None:
        """Looks every name up; one that is not found now stays where it was found last."""
        for address, found in zip(self._named, await asyncio.gather(*map(_look_up, self._named)), strict=True):
            if found:
                self._found[address] = found
                self._unknown.discard(address)
            elif address not in self._unknown:
                self._unknown.add(address)
                log.warning("the name of a Triton is not known; it stays where it was", address=address)

    def places(self, addresses: Iterable[str]) -> list[Place]:
        """Every place behind `host:port` addresses, each once; none of a name that was never found."""
        found: dict[str, Place] = {}
        for address in addresses:
            host, port = host_of(address), int(address.rpartition(":")[2])
            for ip in self._found.get(address, []) if address in self._named else [host]:
                found.setdefault(f"{ip}:{port}", Place(host, ip, port))
        return list(found.values())


async def _look_up(address: str) -> list[str]:
    """The IPs of a name, in a stable order. One that has both families is more often than not served on IPv4 alone."""
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host_of(address), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    ips = {str(info[4][0]) for info in infos}
    return sorted(ip for ip in ips if "." in ip) or sorted(ips)


def is_ip(host: str) -> bool:
    """Whether a host is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
