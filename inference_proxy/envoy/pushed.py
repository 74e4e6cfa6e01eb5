"""What Envoy is told while it runs: the routes with the decisions in force, and which Tritons have a variant.

It travels by xDS over files in a watched directory, swapped by rename: each change is atomic, needs no restart, and is
still there when Envoy or this process begins anew without the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference_proxy.envoy.api import BUFFER, LUA, MARK, NAMESPACE, PROXY, TYPE
from inference_proxy.relaying import SERVICE
from tradewind.calling import AUTHORIZATION, PLAIN, Way

# What a load balancer asks may be answered by Triton while this process is away: requests are served all the same.
_ASKED_OF_EITHER = (
    "/grpc.health.v1.Health/Check",
    f"/{SERVICE}/ServerLive",
    f"/{SERVICE}/ServerReady",
)


@dataclass(frozen=True)
class Place:
    """One Triton's place in the net, and the host that it is known by, which its certificate may name."""

    host: str
    ip: str
    port: int


def _dressed(way: Way, *also_removed: str) -> Any:
    """The part of a route to Triton that makes of a request's headers what Triton is to see."""
    removed = [*also_removed, *sorted(way.drops)]
    parts: dict[str, Any] = {"request_headers_to_remove": removed} if removed else {}
    if way.token is not None:
        # A percent sign begins a command of Envoy's.
        header = {"key": AUTHORIZATION, "value": way.token.authorization.replace("%", "%%")}
        parts["request_headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return parts


def pushed_routes(clusters: Sequence[str], revision: str, told: Any, way: Way = PLAIN) -> Any:
    """The routes' file: marked requests to their cluster, all else to this process, and the table for the Lua."""
    infer = f"/{SERVICE}/ModelInfer"
    retry = {
        "retry_on": "connect-failure,refused-stream",
        "num_retries": 1,
        # Elsewhere, where there is an elsewhere.
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }
        ],
        # A pick is at random, and may fall on the same one again and again: with few tries some would end there.
        "host_selection_retry_max_attempts": 100,
    }
    # A deadline of the client's is kept; there is no other.
    unhurried = {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}
    # Envoy copies a route's metadata whenever it is read: what is read for every request is kept small.
    of_route = {"filter_metadata": {LUA: {"revision": revision}}}
    of_host = {"filter_metadata": {LUA: {"table": told}}}
    streaming = {
        BUFFER: {"@type": f"{TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True},
        LUA: {"@type": f"{TYPE}.extensions.filters.http.lua.v3.LuaPerRoute", "disabled": True},
    }
    straight = [
        {
            "match": {
                "path": infer,
                "dynamic_metadata": [
                    {
                        "filter": NAMESPACE,
                        "path": [{"key": MARK}],
                        "value": {"string_match": {"prefix": f"{cluster}|"}},
                    }
                ],
            },
            "route": {"cluster": cluster, "retry_policy": retry, **unhurried},
            # Its answers come as they are, so that each has room for its receipt.
            **_dressed(way, "grpc-accept-encoding"),
        }
        for cluster in clusters
    ]
    rest = {"cluster": PROXY, "retry_policy": retry, **unhurried}
    return {
        "version_info": revision,
        "resources": [
            {
                "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
                "name": "decisions",
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "metadata": of_host,
                        # What Envoy adds is not the client's metadata.
                        "request_headers_to_remove": ["x-forwarded-proto", "content-length"],
                        "response_headers_to_remove": ["date", "server"],
                        "routes": [
                            *straight,
                            {"match": {"path": infer}, "route": rest, "metadata": of_route},
                            *(
                                {
                                    "match": {"path": path},
                                    "route": {**rest, "cluster": "either"},
                                    "typed_per_filter_config": streaming,
                                    **_dressed(way),
                                }
                                for path in _ASKED_OF_EITHER
                            ),
                            {"match": {"prefix": "/"}, "route": rest, "typed_per_filter_config": streaming},
                        ],
                    }
                ],
            }
        ],
    }


def pushed_endpoints(name: str, places: Sequence[Place], revision: str) -> Any:
    """A cluster's file: where its variant is ready."""
    endpoints = [{"hostname": place.host, "address": _socket(place.ip, place.port)} for place in places]
    resource = {"@type": f"{TYPE}.config.endpoint.v3.ClusterLoadAssignment", **_assignment(name, endpoints)}
    return {"version_info": revision, "resources": [resource]}


def assignment(name: str, addresses: Sequence[str]) -> Any:
    """A cluster's endpoints, by `host:port`."""
    return _assignment(name, [{"address": address_of(address)} for address in addresses])


def _assignment(name: str, endpoints: Sequence[Any]) -> Any:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": each} for each in endpoints]}]}


def host_of(address: str) -> str:
    """The host of `host:port`."""
    return address.rpartition(":")[0].strip("[]")


def address_of(address: str) -> Any:
    """`host:port` as Envoy writes it."""
    return _socket(host_of(address), int(address.rpartition(":")[2]))


def _socket(host: str, port: int) -> Any:
    return {"socket_address": {"address": host, "port_value": port}}
