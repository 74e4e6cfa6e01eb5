"""Who may call a service, and who may use what is for operators alone."""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from tradewind.certificates import ServingTls, identity
from tradewind.errors import NotAuthenticated, NotPermitted, StartupError
from tradewind.files import named
from tradewind.logs import get_logger
from tradewind.serving import is_loopback, rich_status
from tradewind.settings import CommonSettings
from tradewind.tokens import Tokens, bearer

if TYPE_CHECKING:
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _ServerInterceptor = grpc.aio.ServerInterceptor  # Generic in its type stubs only.

log = get_logger(__name__)

HEALTH = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Asked by those who cannot know a token: they learn nothing but whether the service serves."""

FORWARDED_CERTIFICATE = "x-forwarded-client-cert"

NO_TOKEN = "no token was sent: send yours as the header `authorization: Bearer TOKEN`"  # noqa: S105 -- no secret
UNKNOWN_TOKEN = "the token is not known here: ask the operator for one that is"  # noqa: S105 -- no secret

_SUBJECT = re.compile(r'(?:^|;)Subject="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_PART_OF_NAME = re.compile(r"(?:[^,+\\]|\\.)+")

Context = Any  # Its stubs type metadata narrower than the library is.


class Access:
    """The rights on one service, from its settings and from where it listens."""

    def __init__(
        self,
        settings: CommonSettings,
        listen: str,
        *,
        also_open: Iterable[str] = (),
        digests: Mapping[str, str] | None = None,
        behind_envoy: bool = False,
    ) -> None:
        """`also_open`: methods that need no token. `digests`: tokens known by name besides those of the file.

        `behind_envoy`: callers come through an Envoy of ours, which says whose certificate it has seen.
        """
        self.tls = _serving_tls(settings)
        self._tokens = Tokens(settings.tokens_file, "TRADEWIND_TOKENS_FILE", digests)
        self.tokens_demanded = settings.tokens_file is not None
        self.operators = frozenset(name.strip() for name in settings.operators.split(",") if name.strip())
        self.open_methods = HEALTH | frozenset(also_open)
        self.local = is_loopback(listen)
        self._behind_envoy, self._listen = behind_envoy, listen
        self.known = self.tokens_demanded or settings.tls_client_ca_file is not None
        if self.operators and not self.known:
            raise StartupError(
                "TRADEWIND_OPERATORS names operators, and nothing tells who calls: "
                "set TRADEWIND_TOKENS_FILE, or TRADEWIND_TLS_CLIENT_CA_FILE, or both"
            )

    @property
    def interceptors(self) -> tuple[_ServerInterceptor, ...]:
        """What a gRPC server needs to refuse those without a token; nothing where none is demanded."""
        return (_TokensDemanded(self),) if self.tokens_demanded else ()

    def grpc_credentials(self) -> grpc.ServerCredentials | None:
        """What a gRPC port shows; None: it takes no TLS."""
        return None if self.tls is None else self.tls.for_grpc()

    def ssl_context(self) -> ssl.SSLContext | None:
        """What an HTTP port shows; None: it takes no TLS."""
        return None if self.tls is None else self.tls.for_http()

    def digests(self) -> list[str] | None:
        """The SHA-256 of every token there is now; None where none is demanded."""
        return self._tokens.digests() if self.tokens_demanded else None

    def refusal(self, authorizations: Sequence[str]) -> NotAuthenticated | None:
        """Why a request with these `authorization` headers is not let in; None when it is."""
        token = bearer(authorizations)
        if self._tokens.names_of(token) is not None:
            return None
        return NotAuthenticated(NO_TOKEN if token is None else UNKNOWN_TOKEN)

    def names_of(self, context: Context) -> frozenset[str]:
        """The names that the caller has proven: of its certificate and of its token."""
        metadata = context.invocation_metadata()
        names = set(self._tokens.names_of(bearer(values_of(metadata, "authorization"))) or ())
        if self._behind_envoy:
            names |= {name for value in values_of(metadata, FORWARDED_CERTIFICATE) for name in common_names(value)}
        else:
            own = (context.auth_context() or {}).get("x509_common_name", ())
            names |= {name.decode(errors="replace") for name in own}
        return frozenset(names - {""})

    def operator(self, context: Context) -> str:
        """The operator's proven name, empty where there is none to prove; NotPermitted for anybody else."""
        if self.known:
            names = sorted(self.names_of(context) & self.operators)
            if names:
                return names[0]
            raise NotPermitted(
                "this is for operators: call with a token or client certificate that TRADEWIND_OPERATORS names"
            )
        if self.local:
            return ""
        raise NotPermitted(
            "this is for operators, and nothing tells who calls: the service listens beyond its own machine without "
            "TRADEWIND_OPERATORS and TRADEWIND_TOKENS_FILE or TRADEWIND_TLS_CLIENT_CA_FILE"
        )

    def tell(self, what: str) -> None:
        """Says in the log, at start, who may use what is for operators alone."""
        if self.known:
            log.info(f"{what} are for operators", operators=sorted(self.operators))
        elif self.local:
            log.info(f"{what} are open to everybody on this machine", listen=self._listen)
        else:
            log.warning(
                f"{what} are refused to everybody: this service listens beyond its own machine and cannot tell who "
                f"calls; set TRADEWIND_OPERATORS, and TRADEWIND_TOKENS_FILE or TRADEWIND_TLS_CLIENT_CA_FILE",
                listen=self._listen,
            )


def values_of(metadata: Any, key: str) -> list[str]:
    """The values of a key in a call's metadata."""
    return [
        value if isinstance(value, str) else value.decode(errors="replace")
        for name, value in metadata or ()
        if name == key
    ]


def common_names(forwarded: str) -> list[str]:
    """The common names in Envoy's account of a client certificate."""
    return [
        re.sub(r"\\(.)", r"\1", part.strip().removeprefix("CN="))
        for subject in _SUBJECT.findall(forwarded)
        for part in _PART_OF_NAME.findall(subject)
        if part.strip().startswith("CN=")
    ]


class _TokensDemanded(_ServerInterceptor):
    """Refuses calls without a known token before anything of them is read."""

    def __init__(self, access: Access) -> None:
        self._access, self._open = access, access.open_methods

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        if handler_call_details.method not in self._open:
            given = values_of(handler_call_details.invocation_metadata, "authorization")
            refusal = self._access.refusal(given)
            if refusal is not None:
                return _refusing(refusal)
        return await continuation(handler_call_details)


def _refusing(refusal: NotAuthenticated) -> Any:
    """A handler that fits every method: it neither reads nor writes."""
    status = rich_status(refusal)

    async def refuse(_requests: Any, context: Any) -> None:
        await context.abort(status.code, status.details, status.trailing_metadata)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _serving_tls(settings: CommonSettings) -> ServingTls | None:
    own = identity(
        named("TRADEWIND_TLS_CERTIFICATE_FILE", settings.tls_certificate_file),
        named("TRADEWIND_TLS_KEY_FILE", settings.tls_key_file),
        "TRADEWIND_TLS_CERTIFICATE_FILE and TRADEWIND_TLS_KEY_FILE",
    )
    authority = named("TRADEWIND_TLS_CLIENT_CA_FILE", settings.tls_client_ca_file)
    if own is None:
        if authority is not None:
            raise StartupError(
                "TRADEWIND_TLS_CLIENT_CA_FILE asks for client certificates, which needs TLS: "
                "set TRADEWIND_TLS_CERTIFICATE_FILE and TRADEWIND_TLS_KEY_FILE"
            )
        return None
    tls = ServingTls(own, authority)
    tls.check()
    return tls
