"""Which loopback port is free, and whose process listens on one."""

import contextlib
import socket
from contextlib import ExitStack
from pathlib import Path

_LISTEN = "0A"


def free_ports(count: int) -> tuple[int, ...]:
    """Loopback ports that were free a moment ago; whoever binds them checks that it got them."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def if_free(port: int) -> int:
    """The loopback port itself while nobody has it; 0, which means any, otherwise."""
    with socket.socket() as probe:
        # As the servers bind: a connection that is only waiting to be forgotten does not occupy the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def listens(pid: int, port: int) -> bool:
    """Whether the process itself holds a listening TCP socket on the port: another program's does not count."""
    inodes = _listening_inodes(port)
    if not inodes:
        return False
    return not inodes.isdisjoint(_socket_inodes(pid))


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    # The process may end, and a descriptor may close, while it is looked at: a listing of our own even lists itself.
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return inodes


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
