"""Families as Triton would show them if they were models: ready, with metadata and config under their own name."""

from collections.abc import Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from inference_proxy.refusals import VERSION, no_version_ready, unknown_version
from inference_proxy.relaying import Context, refuse, relay_unary
from inference_proxy.routes import FamilyRoute
from inference_proxy.targets import Target

MessageT = TypeVar("MessageT", bound=Message)


class VirtualModels:
    """Answers the calls about one model, for families; calls about other names go through as they are."""

    def __init__(self, families: Mapping[str, FamilyRoute], calls: Mapping[str, Any]) -> None:
        """`calls` are Triton's unary callables by method name, without serializers."""
        self._families, self._calls = families, calls

    async def model_ready(self, request: bytes, context: Context) -> bytes:
        """Ready when any permitted variant is."""
        asked = _parse(service_pb2.ModelReadyRequest, request)
        family = self._families.get(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await relay_unary(self._calls["ModelReady"], request, context)
        refusal = unknown_version(family.name, asked.version)
        if refusal is not None and refusal.code is grpc.StatusCode.INVALID_ARGUMENT:
            await refuse(refusal, context)
        ready = refusal is None and any(target.ready for target in family.targets)
        return bytes(service_pb2.ModelReadyResponse(ready=ready).SerializeToString())

    async def model_metadata(self, request: bytes, context: Context) -> bytes:
        """A variant's metadata under the family's name: load tools take the name from here and then ask for it."""
        asked = _parse(service_pb2.ModelMetadataRequest, request)
        family = self._families.get(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await relay_unary(self._calls["ModelMetadata"], request, context)
        target = await _spokesman(family, asked.version, context)
        about = service_pb2.ModelMetadataRequest(name=target.model, version=target.version)
        answer = service_pb2.ModelMetadataResponse.FromString(
            await relay_unary(self._calls["ModelMetadata"], about.SerializeToString(), context)
        )
        answer.name = family.name
        answer.versions[:] = [VERSION]
        return bytes(answer.SerializeToString())

    async def model_config(self, request: bytes, context: Context) -> bytes:
        """A variant's config under the family's name, with the largest batch that every ready variant takes."""
        asked = _parse(service_pb2.ModelConfigRequest, request)
        family = self._families.get(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await relay_unary(self._calls["ModelConfig"], request, context)
        target = await _spokesman(family, asked.version, context)
        about = service_pb2.ModelConfigRequest(name=target.model, version=target.version)
        answer = service_pb2.ModelConfigResponse.FromString(
            await relay_unary(self._calls["ModelConfig"], about.SerializeToString(), context)
        )
        answer.config.name = family.name
        answer.config.max_batch_size = min(
            (each.max_batch_size for each in family.targets if each.ready and each.max_batch_size is not None),
            default=answer.config.max_batch_size,
        )
        return bytes(answer.SerializeToString())


def _parse(kind: type[MessageT], request: bytes) -> MessageT | None:
    try:
        return kind.FromString(request)
    except DecodeError:
        return None  # Triton is the one to refuse it.


async def _spokesman(family: FamilyRoute, version: str, context: Context) -> Target:
    refusal = unknown_version(family.name, version)
    ready = [target for target in family.targets if target.ready]
    if refusal is not None or not ready:
        await refuse(refusal or no_version_ready(family.name), context)
    return ready[0]
