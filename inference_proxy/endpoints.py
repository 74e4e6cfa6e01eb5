"""The Tritons behind the proxy: each with its connections, its health and what it has in flight."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from inference_proxy.direct_calls import UnaryCall, unary_call
from inference_proxy.relaying import CHANNEL_OPTIONS, SERVICE
from inference_proxy.settings import listed
from tradewind.calling import PLAIN, Way, dressed

_FAILURES_TO_OPEN = 3
_CONNECT_S = 2.0


def triton_calls(channel: grpc.aio.Channel) -> dict[str, Any]:
    """Triton's callables by method name, without serializers; streaming ones take streams."""
    raw: Any = channel  # The stubs demand the serializers that raw bytes do without.
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    return {
        method.name: (raw.stream_stream if method.server_streaming else raw.unary_unary)(f"/{SERVICE}/{method.name}")
        for method in methods
    }


@dataclass(slots=True, eq=False)
class Endpoint:
    """One Triton. After some refused connections in a row its circuit is open until the next healthy look."""

    grpc_address: str
    http_address: str
    way: Way = PLAIN
    channel: Any = field(init=False)
    calls: dict[str, Any] = field(init=False)
    infer: UnaryCall = field(init=False)
    in_flight: int = 0
    served: int = 0
    answers: bool | None = None
    """Whether the last look got an answer; None before the first."""
    models: frozenset[str] | None = None
    """The names that it has ready; None where it was not asked, or does not say."""
    _failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Opens the channel; inside a running event loop."""
        if self.http_address:
            self.way.check(self.http_address)
        bare, dress = self.way.bare_channel(self.grpc_address, CHANNEL_OPTIONS), self.way.dress
        self.channel = dressed(bare, dress)
        self.calls = triton_calls(self.channel)
        self.infer = unary_call(bare, f"/{SERVICE}/ModelInfer", dress)

    @property
    def closed(self) -> bool:
        """Whether its circuit is closed, so that requests may go to it."""
        return self._failures < _FAILURES_TO_OPEN

    async def takes_connections(self) -> bool:
        """Whether there is a connection, or one is made at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                while (state := self.channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        return False
                    await self.channel.wait_for_state_change(state)
                return True
        return False

    def failed(self) -> None:
        """A request found nobody there."""
        self._failures += 1

    def answered(self) -> None:
        """It gave an answer, whatever the answer was."""
        self._failures = 0


def parse_endpoints(grpc_addresses: str, http_addresses: str, way: Way = PLAIN) -> tuple[Endpoint, ...]:
    """The endpoints of two comma-separated lists in the same order; HTTP may be left out."""
    ours, theirs = listed(grpc_addresses), listed(http_addresses)
    return tuple(Endpoint(each, theirs[index] if index < len(theirs) else "", way) for index, each in enumerate(ours))


def least_loaded(endpoints: tuple[Endpoint, ...]) -> Endpoint | None:
    """The endpoint with the least in flight, then the least served, of those whose circuit is closed; None of none."""
    if len(endpoints) == 1:
        return endpoints[0] if endpoints[0].closed else None
    best: Endpoint | None = None
    for endpoint in endpoints:
        if endpoint.closed and (best is None or (endpoint.in_flight, endpoint.served) < (best.in_flight, best.served)):
            best = endpoint
    return best


def having(endpoints: tuple[Endpoint, ...], model: str) -> tuple[Endpoint, ...]:
    """Where to ask about a model, best first: the Tritons that have it ready, then those that answer, then the rest."""
    if len(endpoints) == 1:
        return endpoints
    return tuple(sorted(endpoints, key=lambda each: (not each.closed, each.models is None or model not in each.models)))
