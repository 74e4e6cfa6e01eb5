"""What Envoy shows and asks for on its connections: the counterpart of certificates.py, of the same files."""

import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inference_proxy.envoy.api import TYPE
from inference_proxy.envoy.names import is_ip
from tradewind.certificates import CallingTls, Identity, NamedFile, ServingTls
from tradewind.errors import StartupError

_SOCKET = "envoy.transport_sockets.tls"
_CONTEXTS = f"{TYPE}.extensions.transport_sockets.tls.v3"


def towards_clients(tls: ServingTls | None) -> dict[str, Any]:
    """The part of a filter chain that makes it take TLS; nothing without TLS."""
    if tls is None:
        return {}
    context: dict[str, Any] = {"alpn_protocols": ["h2"], "tls_certificates": [_certificate(tls.own)]}
    if tls.client_authority is not None:
        context["validation_context"] = {"trusted_ca": _file(tls.client_authority.path)}
    return _socket("DownstreamTlsContext", context, require_client_certificate=tls.client_authority is not None)


def towards_triton(tls: CallingTls | None, hosts: Iterable[str]) -> dict[str, Any]:
    """The part of a cluster that makes it use TLS, for endpoints at these hosts; nothing without TLS."""
    if tls is None:
        return {}
    names = sorted(set(hosts))
    authority = _known_authorities() if tls.authority is None else tls.authority.path
    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "validation_context": {
            "trusted_ca": _file(authority),
            # Envoy compares no names unless it is told them.
            "match_typed_subject_alt_names": [_name(host) for host in names],
        },
    }
    if tls.own is not None:
        context["tls_certificates"] = [_certificate(tls.own)]
    return _socket("UpstreamTlsContext", context, auto_host_sni=True)


def fingerprint(clients: ServingTls | None, triton: CallingTls | None) -> str:
    """Changes when a certificate does: Envoy reads the files when it starts, and has to be started anew then."""
    files: list[NamedFile | None] = []
    if clients is not None:
        files += [clients.own.certificate, clients.client_authority]
    if triton is not None:
        files += [triton.authority, triton.own.certificate if triton.own is not None else None]
    known = hashlib.sha256()
    for file in files:
        known.update(file.content() if file is not None else b"")
    return known.hexdigest()


def _socket(kind: str, context: Any, **options: Any) -> dict[str, Any]:
    config = {"@type": f"{_CONTEXTS}.{kind}", "common_tls_context": context, **options}
    return {"transport_socket": {"name": _SOCKET, "typed_config": config}}


def _certificate(own: Identity) -> Any:
    return {"certificate_chain": _file(own.certificate.path), "private_key": _file(own.key.path)}


def _file(path: Path) -> Any:
    return {"filename": str(path.absolute())}


def _name(host: str) -> Any:
    return {"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}


def _known_authorities() -> Path:
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile):
        if path and Path(path).is_file():
            return Path(path)
    raise StartupError(
        "TRADEWIND_PROXY_TRITON_CA_FILE is not set, and this machine has no authorities for Envoy: set it"
    )
