"""torchvision's networks as ONNX files, with trained weights where they can be fetched, or random ones."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from profiler.ahead import check_folder
from profiler.models.repository import Backend, write_model
from tradewind.errors import InvalidInput, NotReady

_SIDE = 224
_SEED = 0


def export_models(
    names: Sequence[str],
    repository: Path,
    *,
    random_weights: bool,
    backend: Backend,
    max_batch: int,
    threads: int = 0,
    done: Callable[[str, Path], None] = lambda _name, _folder: None,
) -> None:
    """Every named network into the repository, one after the other."""
    torchvision = _torchvision()
    known = torchvision.models.list_models(module=torchvision.models)
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(f"torchvision has no classifier {', '.join(unknown)}; it has {', '.join(known)}")
    check_folder("--to", repository, repository)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            network = Path(folder) / "model.onnx"
            _export(_network(torchvision, name, random_weights=random_weights), network, max_batch)
            written = write_model(
                repository,
                name,
                network,
                backend=backend,
                max_batch=max_batch,
                random_weights=random_weights,
                threads=threads,
            )
        done(name, written)


def _torchvision() -> Any:
    try:
        import onnxscript  # noqa: F401 -- torch's exporter needs it and says so late
        import torchvision
    except ImportError as error:
        raise InvalidInput(
            f"exporting needs {error.name}, which is not installed: install Tradewind with its extra `models`"
        ) from error
    return torchvision


def _network(torchvision: Any, name: str, *, random_weights: bool) -> Any:
    import torch

    torch.manual_seed(_SEED)
    if random_weights:
        return torchvision.models.get_model(name, weights=None).eval()
    try:
        return torchvision.models.get_model(name, weights="DEFAULT").eval()
    except (OSError, RuntimeError) as error:
        raise NotReady(
            f"the trained weights of {name} could not be fetched; go online, or export with --random-weights "
            f"(energy and latency are real then, the error is not)"
        ) from error


def _export(network: Any, path: Path, max_batch: int) -> None:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch", min=1, max=max(2, max_batch))
    with warnings.catch_warnings():
        # The exporter warns of its own deprecations, which nobody who exports a model can mend.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, _SIDE, _SIDE),),
            str(path),
            input_names=["pixels"],
            output_names=["scores"],
            dynamic_shapes=({0: batch},),
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
