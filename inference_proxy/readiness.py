"""Which variants Triton has ready, asked in the background so that no request waits for the answer."""

import asyncio
from collections.abc import Iterable, Sequence

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.endpoints import Endpoint
from inference_proxy.targets import Target
from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_TIMEOUT_S = 5.0


class Readiness:
    """Keeps every target's `ready`, endpoints and batch size; a Triton that is away leaves them as they were."""

    def __init__(self, endpoints: Sequence[Endpoint], families: dict[str, tuple[Target, ...]]) -> None:
        self._endpoints = [
            (endpoint, service_pb2_grpc.GRPCInferenceServiceStub(endpoint.channel)) for endpoint in endpoints
        ]
        self._families = families

    async def start(self) -> None:
        """The first look; StartupError when Triton answers and cannot serve this catalogue."""
        await self.look()
        await self._require_models()
        for name, targets in self._families.items():
            difference = disagreement(targets)
            if difference:
                raise StartupError(
                    f"family {name}: its variants disagree: {difference}; take one of them out of the pool"
                )

    async def watch(self, interval_s: float) -> None:
        """Looks again and again."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()

    async def look(self) -> None:
        """Asks every Triton about every model once."""
        models = {(target.model, target.version) for targets in self._families.values() for target in targets}
        found = await asyncio.gather(*(self._ready_on(endpoint, stub, models) for endpoint, stub in self._endpoints))
        for targets in self._families.values():
            for target in targets:
                await self._settle(target, targets, found)

    async def _ready_on(
        self, endpoint: Endpoint, stub: service_pb2_grpc.GRPCInferenceServiceStub, models: Iterable[tuple[str, str]]
    ) -> set[tuple[str, str]] | None:
        """The models that one Triton has ready; None when it does not answer."""
        asked = list(models)
        try:
            answers = await asyncio.gather(
                *(
                    stub.ModelReady(service_pb2.ModelReadyRequest(name=name, version=version), timeout=_TIMEOUT_S)
                    for name, version in asked
                )
            )
        except grpc.aio.AioRpcError as error:
            if endpoint.answers is not False:
                log.warning(
                    "Triton does not answer; waiting for it", address=endpoint.grpc_address, code=error.code().name
                )
            endpoint.answers = False
            endpoint.failed()
            return None
        if endpoint.answers is False:
            log.info("Triton answers", address=endpoint.grpc_address)
        endpoint.answers = True
        endpoint.answered()
        if len(self._endpoints) > 1:
            endpoint.models = await _models_on(stub)
        return {model for model, answer in zip(asked, answers, strict=True) if answer.ready}

    async def _settle(
        self, target: Target, fellows: tuple[Target, ...], found: Sequence[set[tuple[str, str]] | None]
    ) -> None:
        known = [
            (endpoint, stub, (target.model, target.version) in ready)
            for (endpoint, stub), ready in zip(self._endpoints, found, strict=True)
            if ready is not None
        ]
        if not known:
            return
        ready_on = tuple(endpoint for endpoint, _, ready in known if ready)
        if not ready_on:
            if target.permitted and target.ready is not False:
                log.warning("a variant is not ready", variant=target.variant, model=target.model)
            target.ready = False
            return
        if target.ready is not True:
            stub = next(stub for _, stub, ready in known if ready)
            if not await self._learn(target, fellows, stub):
                target.ready = False
                return
        target.ready, target.endpoints = True, ready_on

    async def _learn(
        self, target: Target, fellows: tuple[Target, ...], stub: service_pb2_grpc.GRPCInferenceServiceStub
    ) -> bool:
        """Takes in what changes only when a model is loaded anew; False if it cannot serve."""
        try:
            config = await stub.ModelConfig(
                service_pb2.ModelConfigRequest(name=target.model, version=target.version), timeout=_TIMEOUT_S
            )
            metadata = await stub.ModelMetadata(
                service_pb2.ModelMetadataRequest(name=target.model, version=target.version), timeout=_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return False  # It went away between two questions: the next look asks again.
        target.max_batch_size = config.config.max_batch_size
        target.decoupled = config.config.model_transaction_policy.decoupled
        before, target.signature = target.signature, signature(metadata)
        difference = disagreement(fellows) if target.permitted else None
        if difference and target.signature != before:
            log.error("a variant disagrees with its family and does not serve", difference=difference)
        return difference is None

    async def _require_models(self) -> None:
        indexes = await asyncio.gather(
            *(
                stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=_TIMEOUT_S)
                for endpoint, stub in self._endpoints
                if endpoint.answers
            ),
            return_exceptions=True,
        )
        # An operator may have closed the index, and a Triton that is away may have the model: readiness then tells.
        answered = [each for each in indexes if not isinstance(each, BaseException)]
        if len(answered) < len(self._endpoints):
            return
        models = {model.name for index in answered for model in index.models}
        missing = [
            f"{target.model} (variant {target.variant} of family {name})"
            for name, targets in self._families.items()
            for target in targets
            if target.permitted and target.model not in models
        ]
        if missing:
            where = ", ".join(endpoint.grpc_address for endpoint, _ in self._endpoints)
            raise StartupError(
                f"Triton at {where} does not have {', '.join(missing)}: add the model to its repository, "
                f"or take the variant out of the catalogue's pool"
            )


async def _models_on(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> frozenset[str] | None:
    """The names that a Triton has ready; None where an operator closed its index, or it went away."""
    try:
        index = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return None
    return frozenset(model.name for model in index.models)


def signature(metadata: service_pb2.ModelMetadataResponse) -> tuple[str, ...]:
    """The inputs and outputs of a model, one sentence part each, in an order of their own."""
    tensors = [("input", each) for each in metadata.inputs] + [("output", each) for each in metadata.outputs]
    return tuple(sorted(f"{way} {each.name} {each.datatype} {list(each.shape)}" for way, each in tensors))


def disagreement(targets: Sequence[Target]) -> str | None:
    """How permitted variants differ in what they take and give, as far as Triton has said; None when they agree."""
    known = [target for target in targets if target.permitted and target.signature is not None]
    for target in known[1:]:
        difference = _difference(known[0], target)
        if difference:
            return difference
    return None


def _difference(one: Target, other: Target) -> str | None:
    ours, theirs = set(one.signature or ()), set(other.signature or ())
    if ours == theirs:
        return None
    only_ours, only_theirs = (", ".join(sorted(each)) or "nothing" for each in (ours - theirs, theirs - ours))
    return f"{one.variant} has {only_ours} where {other.variant} has {only_theirs}"
