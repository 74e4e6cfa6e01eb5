"""The soak benchmark's load: every way of asking the proxy, as fast as it answers or at a pace."""

import asyncio
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import grpc
from tritonclient.grpc import service_pb2

FAMILY, TENANT_KEY = "ident", "x-tenant"

_CALIBRATION_S, _BURST_S, _TICK_S = 5.0, 5.0, 0.02
_IN_FLIGHT, _OUTSTANDING = 16, 400
_TENANTS = 40


@dataclass
class Count:
    """What became of the load."""

    sent: int = 0
    answered: int = 0
    inferences: int = 0
    skipped: int = 0
    """Requests that were due and not sent, because too many were outstanding."""
    outstanding: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Clients:
    """Every way of asking, over a few connections; open it inside the running event loop."""

    def __init__(self, grpc_address: str, http_address: str) -> None:
        # The stubs demand the serializers that raw bytes do without.
        self._raw: Any = cast("Any", grpc.aio.insecure_channel(grpc_address))
        self._infer: Any = self._raw.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        self._session = aiohttp.ClientSession(f"http://{http_address}")
        request = service_pb2.ModelInferRequest(model_name=FAMILY, id="1")
        request.inputs.add(name="INPUT", datatype="FP32", shape=[1, 8])
        request.raw_input_contents.append(bytes(32))
        self._plain = request.SerializeToString()
        tensor = {"name": "INPUT", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        self._json = json.dumps({"inputs": [tensor]})

    async def close(self) -> None:
        """Ends the connections."""
        await self._raw.close()
        await self._session.close()

    async def ask(self, number: int) -> int:
        """Of ten requests seven are plain; one has a requirement, one is a stream, one comes over HTTP."""
        kind = number % 10
        if kind == 3:
            return await self._with_requirement(number)
        if kind == 6:
            return await self._streamed()
        if kind == 9:
            return await self._over_http()
        await self._infer(self._plain, timeout=20, metadata=((TENANT_KEY, f"t{number % _TENANTS}"),))
        return 1

    async def _with_requirement(self, number: int) -> int:
        request = service_pb2.ModelInferRequest.FromString(self._plain)
        request.parameters["carbon_pin_variant"].string_param = ("small", "medium", "large")[number % 3]
        await self._infer(request.SerializeToString(), timeout=20)
        return 1

    async def _streamed(self) -> int:
        call = self._raw.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(timeout=20)
        for _ in range(2):
            await call.write(self._plain)
        await call.done_writing()
        return len([answer async for answer in call])

    async def _over_http(self) -> int:
        async with self._session.post(f"/v2/models/{FAMILY}/infer", data=self._json) as answer:
            await answer.read()
            if answer.status != 200:
                raise aiohttp.ClientResponseError(answer.request_info, (), status=answer.status)
        return 1


async def capacity(clients: Clients, count: Count) -> float:
    """Answers per second when a few clients ask as fast as they can."""
    return await _flat_out(clients, count, _IN_FLIGHT, _CALIBRATION_S)


async def burst(clients: Clients, count: Count) -> None:
    """As many outstanding at once as `pace` ever lets there be.

    A busy machine brings that about at any moment, and what it takes is kept by every allocator. It belongs to the
    warm-up, so that what memory does afterwards is growth and not the luck of when the largest backlog was.
    """
    await _flat_out(clients, count, _OUTSTANDING, _BURST_S)


async def _flat_out(clients: Clients, count: Count, in_flight: int, seconds: float) -> float:
    begun, before = time.monotonic(), count.answered
    numbers = itertools.count()

    async def ask() -> None:
        while time.monotonic() < begun + seconds:
            await _send(clients, next(numbers), count)

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return (count.answered - before) / (time.monotonic() - begun)


async def _send(clients: Clients, number: int, count: Count) -> None:
    count.sent += 1
    count.outstanding += 1
    try:
        worth = await clients.ask(number)
        count.inferences += worth
        count.answered += 1
    except grpc.aio.AioRpcError as error:
        count.errors[error.code().name] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        count.errors[type(error).__name__] += 1
    finally:
        count.outstanding -= 1


async def pace(clients: Clients, rate: float, until_s: float, count: Count) -> None:
    """So many requests a second, whatever becomes of them."""
    begun, due, numbers, sending = time.monotonic(), 0, itertools.count(), set[asyncio.Task[None]]()
    while (now := time.monotonic()) < until_s:
        while due < (now - begun) * rate:
            due += 1
            if count.outstanding >= _OUTSTANDING:
                count.skipped += 1
                continue
            task = asyncio.create_task(_send(clients, next(numbers), count))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await asyncio.sleep(_TICK_S)
    await asyncio.gather(*sending)
