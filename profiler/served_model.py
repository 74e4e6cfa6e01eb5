"""What Triton says of a model: the tensors it takes and gives, its largest batch, and where it runs."""

from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as triton
from tritonclient.grpc import InferenceServerClientPlugin
from tritonclient.utils import InferenceServerException

from tradewind.calling import AUTHORIZATION, PLAIN, Way
from tradewind.errors import InvalidInput, NotReady
from tradewind.tokens import OwnToken


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output, its shape without the batch; -1 where the model leaves a dimension open."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model as it is loaded now."""

    name: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int
    """1 for a model that takes no batches: its tensors have no batch dimension."""
    batched: bool
    on_gpu: bool
    runtime: str
    random_weights: bool
    """The model says of itself, in its configuration, that it was never trained."""


def open_client(address: str, way: Way) -> triton.InferenceServerClient:
    """A client that shows what Triton is to see."""
    way.check(address)
    client = triton.InferenceServerClient(address, creds=None if way.tls is None else way.tls.for_grpc())
    if way.token is not None:
        client.register_plugin(_Signing(way.token))
    return client


class _Signing(InferenceServerClientPlugin):  # type: ignore[misc] # tritonclient has no types
    """Puts the token on every request."""

    def __init__(self, token: OwnToken) -> None:
        self._token = token

    def __call__(self, request: Any) -> None:
        request.headers[AUTHORIZATION] = self._token.authorization


def connect(address: str, way: Way = PLAIN) -> triton.InferenceServerClient:
    """A client of a live Triton; NotReady when it does not answer."""
    try:
        client = open_client(address, way)
        if not client.is_server_ready():
            raise NotReady(f"Triton at {address} is not ready; look at its log")
    except InferenceServerException as error:
        raise NotReady(f"no Triton answers gRPC at {address}; check host and port, or start it") from error
    return client


def describe_model(client: triton.InferenceServerClient, name: str, version: str = "") -> ServedModel:
    """The model as loaded; InvalidInput names those that are when it is not."""
    try:
        metadata = client.get_model_metadata(name, version, as_json=True)
        config = client.get_model_config(name, version, as_json=True)["config"]
        server = client.get_server_metadata(as_json=True)
    except InferenceServerException as error:
        raise InvalidInput(
            f"Triton does not serve a model {name[:80]!r} that is ready; it has {', '.join(_ready(client)) or 'none'}"
        ) from error
    max_batch = int(config.get("max_batch_size", 0))
    kinds = {group.get("kind", "KIND_AUTO") for group in config.get("instance_group", [])}
    parameters = config.get("parameters", {})
    return ServedModel(
        name=name,
        version=version or str(metadata["versions"][-1]),
        inputs=tuple(_tensor(item, batched=max_batch > 0) for item in metadata.get("inputs", [])),
        outputs=tuple(_tensor(item, batched=max_batch > 0) for item in metadata.get("outputs", [])),
        max_batch=max(1, max_batch),
        batched=max_batch > 0,
        on_gpu="KIND_GPU" in kinds,
        runtime=f"Triton {server.get('version', '?')}, {config.get('backend') or config.get('platform', '?')} backend",
        random_weights=parameters.get("weights", {}).get("string_value") == "random",
    )


def runs_on_gpu(client: triton.InferenceServerClient) -> bool:
    """Whether any ready model runs on a GPU."""
    return any(describe_model(client, name).on_gpu for name in _ready(client))


def _tensor(item: dict[str, Any], *, batched: bool) -> Tensor:
    shape = tuple(int(size) for size in item.get("shape", ()))
    return Tensor(item["name"], item["datatype"], shape[1:] if batched else shape)


def _ready(client: triton.InferenceServerClient) -> list[str]:
    index = client.get_model_repository_index(as_json=True)
    return sorted({model["name"] for model in index.get("models", []) if model.get("state") == "READY"})
