"""Calls Triton over HTTP: connections are kept, bodies are bytes as they came, nothing is decoded."""

from collections.abc import AsyncIterator
from functools import lru_cache
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tradewind.calling import PLAIN, Way

_CONNECT_S = 5.0
_IDLE_S = 300.0
READ_AT_ONCE = 256 * 1024
_AS_IT_IS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#")

# What belongs to one hop alone, and what the next hop's own connection says for itself.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

ALSO_PLAIN = HOP_BY_HOP | {"accept-encoding"}
"""Dropped from a request whose answer is edited here: the proxy compresses it afterwards, once."""

Payload = bytes | AsyncIterator[bytes]
Headers = list[tuple[str, str]]


class Away(Exception):
    """Triton does not answer, or went away before it had answered; `connected` tells whether it took the request."""

    def __init__(self, *, connected: bool) -> None:
        super().__init__("the inference server does not answer: try again when it is back")
        self.connected = connected


class Upstream:
    """One session for every Triton there is; `open` it inside the running event loop."""

    def __init__(self, way: Way = PLAIN) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._scheme, self._dress = "http" if way.tls is None else "https", way.dress
        self._tls = True if way.tls is None else way.tls.for_http()

    def open(self) -> None:
        """Nothing is connected before the first request."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_AT_ONCE,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        """Ends every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self, address: str, method: str, target: str, headers: Headers, body: Payload
    ) -> aiohttp.ClientResponse:
        """The answer as soon as its headers are there; leave it as a context, or its connection is never free again."""
        if self._session is None:
            raise RuntimeError("the session is not open")
        url = _url(self._scheme, address, target)
        if self._dress is not None:
            headers = [(name, str(value)) for name, value in self._dress(headers)]
        try:
            return await self._session.request(method, url, headers=headers, data=body or None, allow_redirects=False)
        except aiohttp.ClientConnectorError as error:
            raise Away(connected=False) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Away(connected=True) from error


async def read_whole(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer; Away when it ends too early."""
    try:
        return await answer.content.read()
    except aiohttp.ClientError as error:
        raise Away(connected=True) from error


def passed_on(headers: CIMultiDictProxy[str], dropped: frozenset[str] = HOP_BY_HOP) -> Headers:
    """The headers that go on to the next hop."""
    connection = headers.get("Connection")
    if connection is not None and connection.lower() not in {"keep-alive", "close"}:
        dropped = dropped.union(each.strip().lower() for each in connection.split(","))
    return [(name, value) for name, value in headers.items() if name.lower() not in dropped]


@lru_cache(maxsize=4_096)
def _url(scheme: str, address: str, target: str) -> URL:
    # A request line is ASCII, and a `#` would be taken for the end of it.
    safe = (
        target if target.isascii() and "#" not in target else quote(target.encode(errors="surrogateescape"), _AS_IT_IS)
    )
    return URL(f"{scheme}://{address}{safe}", encoded=True)
