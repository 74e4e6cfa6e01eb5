"""The gRPC front: Triton's service, every method of it, as raw bytes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from inference_proxy.inferring import Inferring
from inference_proxy.relaying import SERVICE, Context, relay_stream
from inference_proxy.streaming import Streaming
from inference_proxy.tritons import EVERYWHERE, Tritons
from inference_proxy.virtual_models import VirtualModels

Call = Callable[[bytes, Context], Any]


class Front(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """Finds the handler of a method: our own, or the relay."""

    def __init__(
        self,
        tritons: Tritons,
        inferring: Inferring,
        streaming: Streaming,
        models: VirtualModels,
    ) -> None:
        self._tritons = tritons
        own: dict[str, Call] = {
            "ModelInfer": inferring.infer,
            "ModelReady": models.model_ready,
            "ModelMetadata": models.model_metadata,
            "ModelConfig": models.model_config,
            "ModelStatistics": models.model_statistics,
            "RepositoryIndex": models.repository_index,
            "RepositoryModelLoad": models.load,
            "RepositoryModelUnload": models.unload,
            "TraceSetting": models.trace_setting,
        }
        self._handlers = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(own[name])
            if name in own
            else _relay(name, tritons)
            for name in tritons.endpoints[0].calls
        }

        self._handlers[f"/{SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(streaming.infer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler; methods that Triton may know and we do not are relayed as streams, which fits them all."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None and method.startswith(f"/{SERVICE}/"):
            handler = _relay_as_stream(method, self._tritons)
        return handler


def _relay(name: str, tritons: Tritons) -> Any:
    async def ask(request: bytes, context: Context) -> bytes:
        return await tritons.ask(name, request, context)

    async def tell(request: bytes, context: Context) -> bytes:
        return await tritons.tell(name, request, context)

    return grpc.unary_unary_rpc_method_handler(tell if name in EVERYWHERE else ask)


def _relay_as_stream(method: str, tritons: Tritons) -> Any:
    async def relay(requests: AsyncIterator[bytes], context: Context) -> None:
        channel: Any = tritons.having("")[0].channel
        await relay_stream(channel.stream_stream(method), requests, context)

    return grpc.stream_stream_rpc_method_handler(relay)
