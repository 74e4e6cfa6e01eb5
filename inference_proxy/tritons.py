"""Which Triton answers a call that is about no family: one that has the model, every one, or all of them together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from inference_proxy.endpoints import Endpoint, having, least_loaded
from inference_proxy.refusals import no_server
from inference_proxy.relaying import Context, abort_like, forwarded, never_reached, pass_metadata, refuse, relay_unary
from inference_proxy.sequences import SequencePlaces
from inference_proxy.summed_messages import summed_statistics
from inference_proxy.wire import InferRequest, parameters_of
from inference_proxy.wishes import sequence_of

EVERYWHERE = frozenset(
    {
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
        "LogSettings",
    }
)
"""What is set on one Triton is set on all: a request may go to any of them."""


class Tritons:
    """All the Tritons as one; with a single one behind it, it passes everything on as it is."""

    def __init__(self, endpoints: tuple[Endpoint, ...], places: SequencePlaces) -> None:
        self.endpoints, self.places = endpoints, places

    async def ask(
        self, method: str, request: bytes, context: Context, where: tuple[Endpoint, ...] | None = None
    ) -> bytes:
        """The answer of the first that is there; `where` says who comes into question, best first."""
        candidates = where or having(self.endpoints, "")
        for endpoint in candidates[:-1]:
            outgoing = _begin(endpoint, method, request, context)
            try:
                response: bytes = await outgoing
            except grpc.aio.AioRpcError as error:
                if never_reached(error):
                    _note(endpoint, error)
                    continue
                await abort_like(error, context)
            await pass_metadata(outgoing, context)
            return response
        return await relay_unary(candidates[-1].calls[method], request, context)

    def having(self, model: str) -> tuple[Endpoint, ...]:
        """Whom to ask about a model, best first."""
        return having(self.endpoints, model)

    def place(self, read: InferRequest | None) -> Endpoint | None:
        """Where an inference goes whose name has no route; None where its sequence, or everybody, is away."""
        if len(self.endpoints) == 1 or read is None:
            return having(self.endpoints, "")[0]
        model = read.model_name.decode(errors="replace")
        there = tuple(each for each in self.endpoints if each.closed) or self.endpoints
        ready = tuple(each for each in there if each.models is None or model in each.models)
        wishes = sequence_of(parameters_of(read)) if read.parameters is not None else None
        return self.places.endpoint(model, ready or there, wishes)

    async def infer(self, request: bytes, read: InferRequest | None, context: Context) -> bytes:
        """A ModelInfer whose name has no route: balanced, tried once more where it reached nobody."""
        if len(self.endpoints) == 1:
            return await relay_unary(self.endpoints[0].calls["ModelInfer"], request, context)
        first = self.place(read)
        if first is None:
            await refuse(no_server(), context)
        sequence = read is not None and read.parameters is not None and sequence_of(parameters_of(read)) is not None
        others = tuple(each for each in self.endpoints if each is not first and each.closed)
        second = None if sequence else least_loaded(others)
        first.in_flight += 1
        first.served += 1
        try:
            return await self.ask("ModelInfer", request, context, (first, second) if second is not None else (first,))
        finally:
            first.in_flight -= 1

    async def tell(self, method: str, request: bytes, context: Context, *, any_will_do: bool = False) -> bytes:
        """Tells every one that answers; the first refusal is the answer, or the first success where any will do."""
        if len(self.endpoints) == 1:
            return await relay_unary(self.endpoints[0].calls[method], request, context)
        answers, errors = await self._all(method, request, context)
        if errors and not (any_will_do and answers):
            await abort_like(errors[0], context)
        return answers[0]

    async def index(self, request: bytes, context: Context) -> bytes:
        """The repository indexes as one; a model that is ready anywhere is ready."""
        return await self._together("RepositoryIndex", request, context, _one_index)

    async def statistics(self, request: bytes, context: Context) -> bytes:
        """The statistics of all, summed by model and version."""
        return await self._together("ModelStatistics", request, context, _one_statistics)

    async def _together(
        self, method: str, request: bytes, context: Context, join: Callable[[list[bytes]], bytes]
    ) -> bytes:
        if len(self.endpoints) == 1:
            return await relay_unary(self.endpoints[0].calls[method], request, context)
        answers, errors = await self._all(method, request, context)
        if not answers:
            await abort_like(errors[0], context)
        return answers[0] if len(answers) == 1 else join(answers)

    async def _all(
        self, method: str, request: bytes, context: Context
    ) -> tuple[list[bytes], list[grpc.aio.AioRpcError]]:
        """What those say who answer; where nobody does, why not."""
        asked = tuple(each for each in self.endpoints if each.closed) or self.endpoints
        found = await asyncio.gather(*(_outcome(_begin(each, method, request, context)) for each in asked))
        answers = [each for each in found if isinstance(each, bytes)]
        errors = [each for each in found if not isinstance(each, bytes)]
        away = [each for each in errors if each.code() is grpc.StatusCode.UNAVAILABLE]
        there = [each for each in errors if each not in away]
        return answers, there or ([] if answers else away)


def _begin(endpoint: Endpoint, method: str, request: bytes, context: Context) -> Any:
    metadata = forwarded(context.invocation_metadata())
    return endpoint.calls[method](request, timeout=context.time_remaining(), metadata=metadata)


async def _outcome(outgoing: Awaitable[bytes]) -> bytes | grpc.aio.AioRpcError:
    try:
        return await outgoing
    except grpc.aio.AioRpcError as error:
        return error


def _note(endpoint: Endpoint, error: grpc.aio.AioRpcError) -> None:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        endpoint.failed()


def _one_index(answers: list[bytes]) -> bytes:
    models: dict[tuple[str, str], service_pb2.RepositoryIndexResponse.ModelIndex] = {}
    for answer in answers:
        for model in service_pb2.RepositoryIndexResponse.FromString(answer).models:
            known = models.get((model.name, model.version))
            if known is None or (known.state != "READY" and model.state == "READY"):
                models[model.name, model.version] = model
    # One that is ready somewhere is not listed once more as it stands elsewhere, where it has no version.
    ready = {name for (name, _), model in models.items() if model.state == "READY"}
    kept = [each for each in models.values() if each.version or each.name not in ready]
    kept.sort(key=lambda model: (model.name, model.version))
    return bytes(service_pb2.RepositoryIndexResponse(models=kept).SerializeToString())


def _one_statistics(answers: list[bytes]) -> bytes:
    rows: dict[tuple[str, str], list[service_pb2.ModelStatistics]] = {}
    for answer in answers:
        for row in service_pb2.ModelStatisticsResponse.FromString(answer).model_stats:
            rows.setdefault((row.name, row.version), []).append(row)
    summed = [each[0] if len(each) == 1 else summed_statistics(*place, each) for place, each in rows.items()]
    return bytes(service_pb2.ModelStatisticsResponse(model_stats=summed).SerializeToString())
