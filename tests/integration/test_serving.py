"""How every service serves: health, reflection, rich errors, a listening line and a drain."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from tradewind.errors import InvalidInput, NotFound, NotPermitted, NotReady, StartupError, TradewindError
from tradewind.rpc.v1 import carbon_pb2, carbon_pb2_grpc
from tradewind.serving import Server

NAMES = [carbon_pb2.DESCRIPTOR.services_by_name["Carbon"].full_name]
ERRORS: dict[str, Exception] = {
    "invalid": InvalidInput("zone is wrong"),
    "unknown": NotFound("no such zone"),
    "early": NotReady("not yet"),
    "stranger": NotPermitted("not yours"),
    "bug": ValueError("secret detail"),
}


class Fake:
    """Two of Carbon's calls: they fail as they are told to, and wait as they are told to."""

    def __init__(self) -> None:
        self.entered, self.proceed = asyncio.Event(), asyncio.Event()
        self.cancelled = asyncio.Event()

    async def GetIntensity(self, request: Any, context: Any) -> carbon_pb2.GetIntensityResponse:  # noqa: N802
        """Fails, waits or answers, as the zone says."""
        if request.zone in ERRORS:
            raise ERRORS[request.zone]
        if request.zone == "abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "as it is")
        if request.zone == "slow":
            self.entered.set()
            await self.proceed.wait()
        return carbon_pb2.GetIntensityResponse(stale=True)

    async def WatchIntensity(  # noqa: N802
        self, request: Any, _context: Any
    ) -> AsyncIterator[carbon_pb2.WatchIntensityResponse]:
        """Says one thing, then fails where zones are named, and waits where none is."""
        yield carbon_pb2.WatchIntensityResponse(restates=True)
        if request.zones:
            raise NotReady("too slow")
        self.entered.set()
        try:
            await self.proceed.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, Fake, grpc.aio.Channel]]:
    server, fake = Server("test_service"), Fake()
    handlers = {
        "GetIntensity": grpc.unary_unary_rpc_method_handler(
            fake.GetIntensity,
            request_deserializer=carbon_pb2.GetIntensityRequest.FromString,
            response_serializer=carbon_pb2.GetIntensityResponse.SerializeToString,
        ),
        "WatchIntensity": grpc.unary_stream_rpc_method_handler(
            fake.WatchIntensity,
            request_deserializer=carbon_pb2.WatchIntensityRequest.FromString,
            response_serializer=carbon_pb2.WatchIntensityResponse.SerializeToString,
        ),
    }
    server.grpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAMES[0], handlers)])
    port = await server.start("127.0.0.1:0", NAMES)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield server, fake, channel
    finally:
        await server.drain(NAMES, 0)


async def ask(channel: grpc.aio.Channel, zone: str) -> Any:
    stub = carbon_pb2_grpc.CarbonStub(channel)
    return await stub.GetIntensity(carbon_pb2.GetIntensityRequest(zone=zone), timeout=10)


@pytest.mark.parametrize(
    ("zone", "code"),
    [
        ("invalid", grpc.StatusCode.INVALID_ARGUMENT),
        ("unknown", grpc.StatusCode.NOT_FOUND),
        ("early", grpc.StatusCode.UNAVAILABLE),
        ("stranger", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_our_errors_are_statuses_with_a_reason_for_machines(zone: str, code: grpc.StatusCode) -> None:
    async with serving() as (_, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, zone)
    error = ERRORS[zone]
    assert isinstance(error, TradewindError)
    assert (caught.value.code(), caught.value.details()) == (code, str(error))
    status = rpc_status.from_call(cast("grpc.Call", caught.value))
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (error.reason, "tradewind")


async def test_a_bug_is_internal_and_keeps_its_text() -> None:
    async with serving() as (_, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "bug")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())


async def test_an_abort_of_the_servicer_passes() -> None:
    async with serving() as (_, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "abort")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "as it is")


async def test_a_stream_ends_in_our_error_after_what_it_said() -> None:
    async with serving() as (_, _, channel):
        call = carbon_pb2_grpc.CarbonStub(channel).WatchIntensity(carbon_pb2.WatchIntensityRequest(zones=["x"]))
        assert await call.read() == carbon_pb2.WatchIntensityResponse(restates=True)
        with pytest.raises(grpc.aio.AioRpcError, match="too slow"):
            await call.read()


async def test_a_client_that_leaves_cancels_its_stream() -> None:
    async with serving() as (_, fake, channel):
        call = carbon_pb2_grpc.CarbonStub(channel).WatchIntensity(carbon_pb2.WatchIntensityRequest())
        await call.read()
        async with asyncio.timeout(10):
            await fake.entered.wait()
            call.cancel()
            await fake.cancelled.wait()


async def test_health_and_reflection() -> None:
    async with serving() as (_, _, channel):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *NAMES):
            response = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        async for response in call:
            listed = {each.name for each in response.list_services_response.service}
            break
    assert {*NAMES, "grpc.health.v1.Health"} <= listed


async def test_a_drain_lets_the_calls_in_flight_end() -> None:
    async with serving() as (server, fake, channel):
        call = asyncio.create_task(ask(channel, "slow"))
        async with asyncio.timeout(10):
            await fake.entered.wait()
            drain = asyncio.create_task(server.drain(NAMES, 5))
            await asyncio.sleep(0)
            fake.proceed.set()
            assert (await call).stale
            await drain


async def test_health_says_that_a_drain_has_begun() -> None:
    async with serving() as (server, fake, channel):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = asyncio.create_task(ask(channel, "slow"))
        async with asyncio.timeout(10):
            await fake.entered.wait()
            drain = asyncio.create_task(server.drain(NAMES, 5))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            fake.proceed.set()
            await call
            await drain


async def test_a_port_in_use_is_one_sentence() -> None:
    async with serving() as (server, _, _):
        other = Server("other_service")
        with pytest.raises(StartupError, match=f"other_service cannot listen on 127.0.0.1:{server.port}"):
            await other.start(f"127.0.0.1:{server.port}", NAMES)
        await other.grpc.stop(None)


async def test_the_listening_line(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as (server, _, _):
        assert capfd.readouterr().out == f"test_service listening on 127.0.0.1:{server.port}\n"


def test_a_service_that_cannot_start_says_so_in_one_line_and_ends_with_2() -> None:
    program = (
        "from tradewind.serving import run_service\n"
        "from tradewind.errors import StartupError\n"
        "async def main():\n    raise StartupError('the sky is down: put it back')\n"
        "run_service('test_service', main)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "test_service: the sky is down: put it back\n"
