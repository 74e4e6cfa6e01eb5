"""Which variants Triton has ready, asked in the background so that no request waits for the answer."""

import asyncio
from collections.abc import Sequence

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.targets import Target
from tradewind.errors import StartupError
from tradewind.logs import get_logger

log = get_logger(__name__)

_TIMEOUT_S = 5.0


class Readiness:
    """Keeps every target's `ready` and batch size; a Triton that does not answer leaves them as they were."""

    def __init__(self, channel: grpc.aio.Channel, families: dict[str, tuple[Target, ...]], address: str) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._families = families
        self._fellows = [(target, targets) for targets in families.values() for target in targets]
        self._address = address
        self._away = False

    async def start(self) -> None:
        """The first look; StartupError when Triton answers and cannot serve this catalogue."""
        await self.look()
        if not self._away:
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
        """Asks Triton about every target once."""
        try:
            await asyncio.gather(*(self._look_at(*each) for each in self._fellows))
        except grpc.aio.AioRpcError as error:
            if not self._away:
                log.warning("Triton does not answer; waiting for it", address=self._address, code=error.code().name)
            self._away = True
            return
        if self._away:
            log.info("Triton answers", address=self._address)
        self._away = False

    async def _look_at(self, target: Target, fellows: tuple[Target, ...]) -> None:
        about = service_pb2.ModelReadyRequest(name=target.model, version=target.version)
        answer = await self._stub.ModelReady(about, timeout=_TIMEOUT_S)
        if answer.ready == target.ready:
            return
        if answer.ready:
            await self._learn(target, fellows)
        elif target.permitted:
            log.warning("a variant is not ready", variant=target.variant)
        target.ready = answer.ready

    async def _learn(self, target: Target, fellows: tuple[Target, ...]) -> None:
        """Batch size and signature; both may change only when the model is loaded anew."""
        config = await self._stub.ModelConfig(
            service_pb2.ModelConfigRequest(name=target.model, version=target.version), timeout=_TIMEOUT_S
        )
        target.max_batch_size = config.config.max_batch_size
        metadata = await self._stub.ModelMetadata(
            service_pb2.ModelMetadataRequest(name=target.model, version=target.version), timeout=_TIMEOUT_S
        )
        target.signature = signature(metadata)
        if difference := disagreement(fellows):
            log.error("variants of one family disagree on inputs or outputs", difference=difference)

    async def _require_models(self) -> None:
        try:
            index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return  # An operator may have closed the index; readiness then tells.
        models = {model.name for model in index.models}
        missing = [
            f"{target.model} (variant {target.variant} of family {name})"
            for name, targets in self._families.items()
            for target in targets
            if target.permitted and target.model not in models
        ]
        if missing:
            raise StartupError(
                f"Triton at {self._address} does not have {', '.join(missing)}: add the model to its repository, "
                f"or take the variant out of the catalogue's pool"
            )


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
