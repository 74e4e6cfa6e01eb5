"""Who may say a reading over gRPC: the same publishers as on the bus, known by token or by client certificate."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import grpc

from carbon_service.rules import Rules
from carbon_service.settings import CarbonSettings
from tradewind.errors import InvalidInput, NotPermitted, StartupError
from tradewind.readings import ZONE_PATTERN

_BEARER = "bearer "


class Credentials:
    """Checks who calls, and for whom they may speak."""

    def __init__(self, rules: Rules, *, open_publishing: bool) -> None:
        self._rules = rules
        self._open = open_publishing

    def publisher_of(self, claimed: str, zone: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The publisher that the caller is; NotPermitted says which right is missing."""
        if not ZONE_PATTERN.fullmatch(claimed):
            raise InvalidInput("publisher: use 1 to 64 letters, digits, '_', '.' or '-'")
        if not self._open and not self._is(claimed, context):
            raise NotPermitted(
                f"the caller is not known as publisher {claimed}: send its token as metadata "
                f"`authorization: Bearer TOKEN`, or use its client certificate"
            )
        if not self._rules.may_publish(claimed, zone):
            raise NotPermitted(f"publisher {claimed} may not speak for zone {zone}: name it in the zones file")
        return claimed

    def _is(self, claimed: str, context: grpc.aio.ServicerContext[Any, Any]) -> bool:
        entry = self._rules.file.publishers.get(claimed)
        if entry is None:
            return False
        names = context.auth_context().get("x509_common_name", ())
        if any(name.decode(errors="replace") == claimed for name in names):
            return True
        if entry.token_sha256 is None:
            return False
        digest = hashlib.sha256(_token(context).encode()).hexdigest()
        return hmac.compare_digest(digest, entry.token_sha256)


def tls_credentials(settings: CarbonSettings) -> grpc.ServerCredentials:
    """What the TLS port shows, and whose certificates it knows; StartupError names the file that is missing."""
    key = _file("TRADEWIND_CARBON_TLS_KEY_FILE", settings.carbon_tls_key_file)
    certificate = _file("TRADEWIND_CARBON_TLS_CERTIFICATE_FILE", settings.carbon_tls_certificate_file)
    authority = settings.carbon_tls_client_ca_file
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=None if authority is None else _file("TRADEWIND_CARBON_TLS_CLIENT_CA_FILE", authority),
        require_client_auth=authority is not None,
    )


def _file(variable: str, path: Path | None) -> bytes:
    if path is None:
        raise StartupError(f"{variable} is not set: a port with TLS needs a certificate and its key")
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{variable}: {path} cannot be read") from error


def _token(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    for name, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else value.decode(errors="replace")
        if name == "authorization" and text.lower().startswith(_BEARER):
            return text[len(_BEARER) :]
    return ""
