"""Envoy's configuration: the bootstrap that it is started with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_proxy.envoy.api import BUFFER, LUA, MARK, NAMESPACE, PROXY, TYPE
from inference_proxy.envoy.names import is_ip
from inference_proxy.envoy.places import Places
from inference_proxy.envoy.pushed import address_of, assignment, host_of
from inference_proxy.envoy.script import script
from inference_proxy.envoy.tls import towards_clients, towards_triton
from inference_proxy.refusals import no_server, too_much
from tradewind.calling import PLAIN, Way
from tradewind.certificates import ServingTls

_LARGEST_MESSAGE = 2**31 - 1 + 5
_NO_LIMIT = 2**32 - 1
_CONNECT_TIMEOUT = "1s"
_PROXY_AWAY = "the proxy's own process does not answer: try again when it is back"


@dataclass(frozen=True)
class Doors:
    """How clients come in, and how Triton is reached."""

    clients: ServingTls | None = None
    triton: Way = PLAIN


def bootstrap(
    places: Places,
    host: str,
    port: int,
    clusters: Mapping[str, Sequence[str]],
    at_most: int | None,
    doors: Doors,
) -> Any:
    """The configuration that Envoy is started with; `clusters` are Triton's addresses by cluster."""
    pushed = any(len(addresses) > 1 for addresses in clusters.values())
    return {
        "node": {"id": "tradewind", "cluster": "tradewind"},
        "admin": {"address": {"pipe": {"path": str(places.admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(places, host, port, at_most, doors)],
            "clusters": [
                *(
                    _triton(places, name, addresses, at_most, doors.triton, pushed=pushed)
                    for name, addresses in clusters.items()
                ),
                _proxy(places),
                _either(next(iter(clusters))),
            ],
        },
    }


def _listener(places: Places, host: str, port: int, at_most: int | None, doors: Doors) -> Any:
    return {
        "name": "public",
        "address": address_of(f"{host}:{port}"),
        # Otherwise a port in use is shared in silence.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(places, at_most) | _seen_certificate(doors.clients),
                    }
                ],
                **towards_clients(doors.clients, places),
            }
        ],
    }


def _connection_manager(places: Places, at_most: int | None) -> Any:
    return {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": False},
        # Streams may be quiet for as long as their client likes; deadlines are the client's own.
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "max_request_headers_kb": 96,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "skip_xff_append": True,
        "local_reply_config": {"mappers": _local_replies(at_most)},
        "rds": {
            "route_config_name": "decisions",
            "config_source": places.source(places.routes),
        },
        "http_filters": [
            {
                "name": LUA,
                "typed_config": {
                    "@type": f"{TYPE}.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script()},
                    # The script says itself when another route has to be found.
                    "clear_route_cache": False,
                },
            },
            # Holds a request until the Lua has read it, because the route depends on what is in it.
            {
                "name": BUFFER,
                "typed_config": {
                    "@type": f"{TYPE}.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": _LARGEST_MESSAGE,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }


def _seen_certificate(tls: ServingTls | None) -> Any:
    """Tells this process whose certificate a client has shown; what the client itself says of one is always dropped."""
    if tls is None or tls.client_authority is None:
        return {}  # Which Envoy takes for: drop it.
    return {"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"subject": True}}


def _local_replies(at_most: int | None) -> list[Any]:
    """What Envoy says by itself, in words for a caller."""
    straight = {
        "metadata_filter": {
            "matcher": {
                "filter": NAMESPACE,
                "path": [{"key": MARK}],
                "value": {"string_match": {"safe_regex": {"regex": ".*"}}},
            },
            "match_if_key_not_found": False,
        }
    }
    unavailable = {
        "status_code_filter": {
            "comparison": {"op": "EQ", "value": {"default_value": 503, "runtime_key": "tradewind.unavailable"}}
        }
    }
    overflow = {"response_flag_filter": {"flags": ["UO"]}}
    return [
        *([{"filter": overflow, "body": {"inline_string": too_much(at_most).text}}] if at_most else []),
        {"filter": {"and_filter": {"filters": [unavailable, straight]}}, "body": {"inline_string": no_server().text}},
        {"filter": unavailable, "body": {"inline_string": _PROXY_AWAY}},
    ]


def _triton(places: Places, name: str, addresses: Sequence[str], at_most: int | None, way: Way, *, pushed: bool) -> Any:
    cluster: dict[str, Any] = {
        "name": name,
        "connect_timeout": _CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "typed_extension_protocol_options": _http2(),
        "circuit_breakers": {"thresholds": [_thresholds(at_most)]},
        **towards_triton(way.tls, [host_of(address) for address in addresses], places),
    }
    if pushed:
        cluster |= {"type": "EDS", "eds_cluster_config": {"eds_config": places.source(places.endpoints(name))}}
    else:
        # A name that has both is more often than not served on IPv4 alone, as `localhost` is.
        family = {"dns_lookup_family": "V4_PREFERRED"}
        cluster |= {"type": _kind(addresses), "load_assignment": assignment(name, addresses), **family}
    if pushed or len(addresses) > 1:
        # One that is down is left out; a single one is tried all the same.
        cluster["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                # Where Triton asks for a token, Envoy looks whether it is there: this process asks the rest.
                **({"grpc_health_check": {}} if way.token is None else {"tcp_health_check": {}}),
            }
        ]
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    return cluster


def _proxy(places: Places) -> Any:
    return {
        "name": PROXY,
        "connect_timeout": _CONNECT_TIMEOUT,
        "typed_extension_protocol_options": _http2(),
        "circuit_breakers": {"thresholds": [_thresholds(None)]},
        "load_assignment": {
            "cluster_name": PROXY,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(places.proxy)}}}}]}],
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "tcp_health_check": {},
            }
        ],
    }


def _either(triton: str) -> Any:
    return {
        "name": "either",
        "connect_timeout": _CONNECT_TIMEOUT,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": f"{TYPE}.extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": [PROXY, triton],
            },
        },
    }


def _thresholds(at_most: int | None) -> Any:
    return {
        "max_connections": _NO_LIMIT,
        "max_pending_requests": _NO_LIMIT,
        "max_requests": at_most or _NO_LIMIT,
        "max_retries": _NO_LIMIT,
    }


def _http2() -> Any:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
            "common_http_protocol_options": {"idle_timeout": "0s"},
        }
    }


def _kind(addresses: Sequence[str]) -> str:
    return "STATIC" if all(is_ip(host_of(address)) for address in addresses) else "STRICT_DNS"
