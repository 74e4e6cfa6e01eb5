"""`tradewind models`: networks for a Triton repository, exported from torchvision or quantised."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Write models into a Triton repository (needs the extra `models`).")

ForBackend = Annotated[str, typer.Option(help="onnxruntime (a stock Triton) or python (ONNX Runtime inside it).")]
MaxBatch = Annotated[int, typer.Option(min=1, help="The largest batch Triton may form.")]


@app.command()
def export(
    names: Annotated[list[str], typer.Argument(help="torchvision's names: resnet34 resnet50 resnet101 …")],
    to: Annotated[Path, typer.Option(help="The repository's folder.")],
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Where trained ones cannot be fetched: the error is not real then.")
    ] = False,
    backend: ForBackend = "onnxruntime",
    max_batch: MaxBatch = 64,
    threads: Annotated[int, typer.Option(min=0, help="Cores one run may take in the Python backend; 0: all.")] = 0,
) -> None:
    """Exports torchvision's networks to ONNX, ready for Triton to load."""
    from profiler.models.export import export_models
    from profiler.options import parse_backend

    export_models(
        names,
        to,
        random_weights=random_weights,
        backend=parse_backend(backend),
        max_batch=max_batch,
        threads=threads,
        done=lambda name, folder: typer.echo(f"{name}: {folder}"),
    )


@app.command()
def quantise(
    model: Annotated[str, typer.Argument(help="A model of the repository that has an ONNX network.")],
    to: Annotated[Path, typer.Option(help="The repository's folder.")],
    inputs: Annotated[Path, typer.Option(help=".npz with real inputs, to take ranges from (not the test set).")],
    name: Annotated[str, typer.Option(help="The new model's name; MODEL-int8 if not said.")] = "",
    backend: ForBackend = "onnxruntime",
    max_batch: MaxBatch = 64,
) -> None:
    """Writes the same network in int8 beside the original: another variant, with inputs and outputs unchanged."""
    from profiler.models.quantise import quantise_model
    from profiler.options import parse_backend

    folder = quantise_model(
        to, model, name or f"{model}-int8", inputs, backend=parse_backend(backend), max_batch=max_batch
    )
    typer.echo(f"{folder.name}: {folder}")
