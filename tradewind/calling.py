"""How this process calls a peer: over TLS or not, with which certificate and with which token."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import grpc

from tradewind.certificates import CallingTls, identity
from tradewind.errors import StartupError
from tradewind.files import named
from tradewind.serving import is_loopback
from tradewind.settings import PREFIX, CommonSettings
from tradewind.tokens import OwnToken

AUTHORIZATION = "authorization"

Metadata = Iterable[tuple[str, str | bytes]]
Dress = Callable[[Metadata | None], tuple[tuple[str, str | bytes], ...]]
"""What a call's metadata becomes."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach one kind of peer."""

    tls: CallingTls | None = None
    token: OwnToken | None = None
    drops: frozenset[str] = frozenset()
    """Metadata of those on whose behalf this process calls that is not for the peer."""

    @property
    def dress(self) -> Dress | None:
        """What metadata becomes on this way; None where it stays as it is."""
        if self.token is None and not self.drops:
            return None
        token, drops = self.token, self.drops | ({AUTHORIZATION} if self.token is not None else set())

        def dress(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
            kept = tuple([(key, value) for key, value in metadata or () if key.lower() not in drops])
            return kept if token is None else (*kept, (AUTHORIZATION, token.authorization))

        return dress

    def check(self, address: str) -> None:
        """StartupError where a token would go out in the clear."""
        if self.token is not None and self.tls is None and not is_loopback(address):
            raise StartupError(
                f"the token for {address} would be sent in the clear: call it over TLS (…_TLS, …_CA_FILE)"
            )

    def bare_channel(self, address: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
        """A channel whose metadata nobody dresses."""
        self.check(address)
        if self.tls is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self.tls.for_grpc(), options=options)

    def channel(self, address: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.aio.Channel:
        """A channel of grpc.aio."""
        return cast("grpc.aio.Channel", dressed(self.bare_channel(address, options), self.dress))

    def blocking_channel(self, address: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        """A channel for a program without an event loop."""
        self.check(address)
        made = (
            grpc.insecure_channel(address, options=options)
            if self.tls is None
            else grpc.secure_channel(address, self.tls.for_grpc(), options=options)
        )
        return cast("grpc.Channel", dressed(cast("Any", made), self.dress))


PLAIN = Way()
"""Without TLS and without a token."""


def way(prefix: str, files: Any, drops: frozenset[str] = frozenset()) -> Way:
    """The way that the settings with a prefix say, such as `peer_`; StartupError where they do not fit together."""

    def path(name: str) -> Path | None:
        found: Path | None = getattr(files, f"{prefix}{name}")
        return found

    def variable(name: str) -> str:
        return f"{PREFIX}{prefix}{name}".upper()

    certificate, key = "certificate_file", "key_file"
    own = identity(
        named(variable(certificate), path(certificate)),
        named(variable(key), path(key)),
        f"{variable(certificate)} and {variable(key)}",
    )
    authority = named(variable("ca_file"), path("ca_file"))
    tls = None
    if authority is not None or own is not None or getattr(files, f"{prefix}tls"):
        tls = CallingTls(authority, own)
        tls.check()
    token = path("token_file")
    return Way(tls, None if token is None else OwnToken(token, variable("token_file")), drops)


def peer_way(settings: CommonSettings) -> Way:
    """How Tradewind's services are called."""
    return way("peer_", settings)


def dressed(channel: Any, dress: Dress | None) -> Any:
    """A channel whose calls' metadata is dressed; the channel itself where there is nothing to do."""
    return channel if dress is None else _Dressed(channel, dress)


class _Dressed:
    """Stands for a channel of either kind: interceptors of grpc.aio would change how streams end."""

    def __init__(self, channel: Any, dress: Dress) -> None:
        self._channel, self._dress = channel, dress

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return dressed_call(self._channel.unary_unary(*arguments, **options), self._dress)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return dressed_call(self._channel.unary_stream(*arguments, **options), self._dress)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return dressed_call(self._channel.stream_unary(*arguments, **options), self._dress)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return _DressedStreams(self._channel.stream_stream(*arguments, **options), self._dress)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._channel.__aexit__(*error)

    def __enter__(self) -> Self:
        self._channel.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._channel.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        """All that concerns the connection and not its calls."""
        return getattr(self._channel, name)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        state: grpc.ChannelConnectivity = self._channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last)


def dressed_call(call: Any, dress: Dress) -> Any:
    """A callable of a channel whose metadata is dressed."""

    def dressed_call(*arguments: Any, metadata: Metadata | None = None, **options: Any) -> Any:
        return call(*arguments, metadata=dress(metadata), **options)

    return dressed_call


class _DressedStreams(grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg] # generic in the stubs alone
    def __init__(self, call: Any, dress: Dress) -> None:
        self._call, self._dress = call, dress

    def __call__(self, *arguments: Any, metadata: Any = None, **options: Any) -> Any:
        return self._call(*arguments, metadata=self._dress(metadata), **options)
