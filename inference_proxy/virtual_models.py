"""Families as Triton would show them if they were models: ready, with metadata and config under their own name."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from inference_proxy.refusals import (
    VERSION,
    no_statistics_of_version,
    no_version_ready,
    not_available,
    not_loadable,
    unknown_version,
)
from inference_proxy.relaying import Context, refuse
from inference_proxy.routes import FamilyRoute
from inference_proxy.summed_messages import summed_statistics
from inference_proxy.targets import Target
from inference_proxy.tritons import Tritons
from inference_proxy.wire import as_triton_reads

MessageT = TypeVar("MessageT", bound=Message)


class VirtualModels:
    """Answers the calls about one model, for families; calls about other names go through as they are."""

    def __init__(self, families: Mapping[str, FamilyRoute], tritons: Tritons) -> None:
        self._families, self._tritons = families, tritons

    async def model_ready(self, request: bytes, context: Context) -> bytes:
        """Ready when any permitted variant is."""
        asked = _parse(service_pb2.ModelReadyRequest, request)
        family = self._family(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await self._about("ModelReady", asked.name if asked is not None else "", request, context)
        refusal = unknown_version(family.name, asked.version)
        if refusal is not None and refusal.code is grpc.StatusCode.INVALID_ARGUMENT:
            await refuse(refusal, context)
        ready = refusal is None and any(target.serves for target in family.targets)
        return bytes(service_pb2.ModelReadyResponse(ready=ready).SerializeToString())

    async def model_metadata(self, request: bytes, context: Context) -> bytes:
        """A variant's metadata under the family's name: load tools take the name from here and then ask for it."""
        asked = _parse(service_pb2.ModelMetadataRequest, request)
        family = self._family(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await self._about("ModelMetadata", asked.name if asked is not None else "", request, context)
        target = await _spokesman(family, asked.version, context)
        about = service_pb2.ModelMetadataRequest(name=target.model, version=target.version)
        answer = service_pb2.ModelMetadataResponse.FromString(
            await self._tritons.ask("ModelMetadata", about.SerializeToString(), context, target.endpoints)
        )
        answer.name = family.name
        answer.versions[:] = [VERSION]
        return bytes(answer.SerializeToString())

    async def model_config(self, request: bytes, context: Context) -> bytes:
        """A variant's config under the family's name, with the largest batch that every ready variant takes."""
        asked = _parse(service_pb2.ModelConfigRequest, request)
        family = self._family(asked.name) if asked is not None else None
        if asked is None or family is None:
            return await self._about("ModelConfig", asked.name if asked is not None else "", request, context)
        target = await _spokesman(family, asked.version, context)
        about = service_pb2.ModelConfigRequest(name=target.model, version=target.version)
        answer = service_pb2.ModelConfigResponse.FromString(
            await self._tritons.ask("ModelConfig", about.SerializeToString(), context, target.endpoints)
        )
        answer.config.name = family.name
        answer.config.max_batch_size = min(
            (each.max_batch_size for each in family.targets if each.ready and each.max_batch_size is not None),
            default=answer.config.max_batch_size,
        )
        return bytes(answer.SerializeToString())

    async def model_statistics(self, request: bytes, context: Context) -> bytes:
        """The variants' statistics in one row; a list of all models has the families in it."""
        asked = _parse(service_pb2.ModelStatisticsRequest, request)
        family = self._family(asked.name) if asked is not None else None
        if asked is None or (asked.name and family is None):
            return await self._tritons.statistics(request, context)
        if family is not None:
            refusal = unknown_version(family.name, asked.version)
            if refusal is not None:
                invalid = refusal.code is grpc.StatusCode.INVALID_ARGUMENT
                await refuse(refusal if invalid else no_statistics_of_version(family.name), context)
            # A model that Triton does not have loaded has no statistics, and asking for them is an error.
            request = service_pb2.ModelStatisticsRequest().SerializeToString()
        everything = service_pb2.ModelStatisticsResponse.FromString(await self._tritons.statistics(request, context))
        summed = {
            each.name: summed_statistics(each.name, VERSION, rows)
            for each in ([family] if family is not None else self._families.values())
            if (rows := _rows_of(each, everything.model_stats))
        }
        if family is None:
            everything.model_stats.extend(summed.values())
            return bytes(everything.SerializeToString())
        if family.name not in summed:
            await refuse(not_available(family.name), context)
        return bytes(service_pb2.ModelStatisticsResponse(model_stats=[summed[family.name]]).SerializeToString())

    async def repository_index(self, request: bytes, context: Context) -> bytes:
        """Triton's index with the families in it, in order of name as Triton has them."""
        asked = _parse(service_pb2.RepositoryIndexRequest, request)
        answer = await self._tritons.index(request, context)
        if asked is None:
            return answer
        index = _parse(service_pb2.RepositoryIndexResponse, answer)
        if index is None:
            return answer
        for name, family in self._families.items():
            if any(target.serves for target in family.targets):
                index.models.add(name=name, version=VERSION, state="READY")
            elif not asked.ready:
                index.models.add(name=name, version=VERSION, state="UNAVAILABLE", reason="no variant is ready")
        index.models.sort(key=lambda model: model.name)
        return bytes(index.SerializeToString())

    async def load(self, request: bytes, context: Context) -> bytes:
        """A family is not loaded; any model is."""
        asked = _parse(service_pb2.RepositoryModelLoadRequest, request)
        await self._refuse_families(asked.model_name if asked is not None else "", "load", context)
        return await self._tritons.tell("RepositoryModelLoad", request, context, any_will_do=True)

    async def unload(self, request: bytes, context: Context) -> bytes:
        """A family is not unloaded; any model is."""
        asked = _parse(service_pb2.RepositoryModelUnloadRequest, request)
        await self._refuse_families(asked.model_name if asked is not None else "", "unload", context)
        return await self._tritons.tell("RepositoryModelUnload", request, context, any_will_do=True)

    async def trace_setting(self, request: bytes, context: Context) -> bytes:
        """Of a family: read from its first variant, set on every one."""
        asked = _parse(service_pb2.TraceSettingRequest, request)
        family = self._family(asked.model_name) if asked is not None else None
        if asked is None or family is None:
            return await self._tritons.tell("TraceSetting", request, context)
        answers = []
        for target in family.targets:
            asked.model_name = target.model
            answers.append(await self._tritons.tell("TraceSetting", asked.SerializeToString(), context))
        return answers[0]

    def _family(self, name: str) -> FamilyRoute | None:
        return self._families.get(as_triton_reads(name.encode()).decode())

    async def _about(self, method: str, model: str, request: bytes, context: Context) -> bytes:
        return await self._tritons.ask(method, request, context, self._tritons.having(model))

    async def _refuse_families(self, name: str, action: str, context: Context) -> None:
        family = self._family(name)
        if family is not None:
            await refuse(not_loadable(name, action, [target.model for target in family.targets]), context)


def _rows_of(family: FamilyRoute, rows: Iterable[service_pb2.ModelStatistics]) -> list[service_pb2.ModelStatistics]:
    models = {(target.model, target.version) for target in family.targets}
    return [row for row in rows if (row.name, row.version) in models or (row.name, "") in models]


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
