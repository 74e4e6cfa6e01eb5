"""What Envoy shows and asks for on its connections: the counterpart of certificates.py, of the same files.

The files are named in secrets, which are pushed like routes. Envoy reads them again after every push, so a certificate
that was renewed holds for the connections after, and one that is wrong leaves the one before.
"""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inference_proxy.envoy.api import TYPE
from inference_proxy.envoy.names import is_ip
from inference_proxy.envoy.places import Places
from tradewind.certificates import CallingTls, Identity, ServingTls
from tradewind.errors import StartupError

_SOCKET = "envoy.transport_sockets.tls"
_CONTEXTS = f"{TYPE}.extensions.transport_sockets.tls.v3"
_CLIENTS, _CLIENTS_AUTHORITY, _TRITON, _TRITON_AUTHORITY = "clients", "clients-authority", "triton", "triton-authority"


def towards_clients(tls: ServingTls | None, places: Places) -> dict[str, Any]:
    """The part of a filter chain that makes it take TLS; nothing without TLS."""
    if tls is None:
        return {}
    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_certificate_sds_secret_configs": [_told(_CLIENTS, places)],
    }
    if tls.client_authority is not None:
        context["validation_context_sds_secret_config"] = _told(_CLIENTS_AUTHORITY, places)
    return _socket("DownstreamTlsContext", context, require_client_certificate=tls.client_authority is not None)


def towards_triton(tls: CallingTls | None, hosts: Iterable[str], places: Places) -> dict[str, Any]:
    """The part of a cluster that makes it use TLS, for endpoints at these hosts; nothing without TLS."""
    if tls is None:
        return {}
    # Envoy compares no names unless it is told them.
    names = {"match_typed_subject_alt_names": [_name(host) for host in sorted(set(hosts))]}
    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "combined_validation_context": {
            "default_validation_context": names,
            "validation_context_sds_secret_config": _told(_TRITON_AUTHORITY, places),
        },
    }
    if tls.own is not None:
        context["tls_certificate_sds_secret_configs"] = [_told(_TRITON, places)]
    return _socket("UpstreamTlsContext", context, auto_host_sni=True)


def pushed_secrets(clients: ServingTls | None, triton: CallingTls | None, places: Places) -> dict[Path, Any]:
    """The files of the secrets: each names a certificate and its key, or an authority."""
    found = {}
    if clients is not None:
        found[_CLIENTS] = _certificate(clients.own, places)
        if clients.client_authority is not None:
            found[_CLIENTS_AUTHORITY] = _authority(clients.client_authority.path, places)
    if triton is not None:
        found[_TRITON_AUTHORITY] = _authority(
            _known_authorities() if triton.authority is None else triton.authority.path, places
        )
        if triton.own is not None:
            found[_TRITON] = _certificate(triton.own, places)
    return {
        places.secret(name): {"resources": [{"@type": f"{_CONTEXTS}.Secret", "name": name, **secret}]}
        for name, secret in found.items()
    }


def _told(secret: str, places: Places) -> Any:
    return {"name": secret, "sds_config": places.source(places.secret(secret))}


def _socket(kind: str, context: Any, **options: Any) -> dict[str, Any]:
    config = {"@type": f"{_CONTEXTS}.{kind}", "common_tls_context": context, **options}
    return {"transport_socket": {"name": _SOCKET, "typed_config": config}}


def _certificate(own: Identity, places: Places) -> Any:
    chain, key = _file(own.certificate.path), _file(own.key.path)
    return {"tls_certificate": {"certificate_chain": chain, "private_key": key, **_read_again(places)}}


def _authority(path: Path, places: Places) -> Any:
    return {"validation_context": {"trusted_ca": _file(path), **_read_again(places)}}


def _read_again(places: Places) -> Any:
    """Envoy looks whether files have changed when something is moved into a directory: with us, at every push."""
    return {"watched_directory": {"path": str(places.pushed)}}


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
