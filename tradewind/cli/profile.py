"""`tradewind profile`: measures a family on a live Triton and writes its catalogue."""

from pathlib import Path
from typing import Annotated

import typer

from tradewind.calling import Way
from tradewind.cli.reaching import reaching_triton


@reaching_triton
def profile(
    *,
    triton_grpc: Annotated[str, typer.Option(help="HOST:PORT of Triton's gRPC.")],
    family: Annotated[str, typer.Option(help="The family the variants belong to.")],
    variants: Annotated[str, typer.Option(help="NAME, NAME=MODEL or NAME=MODEL:VERSION, separated by commas.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The catalogue to write or to update.")],
    inputs: Annotated[Path | None, typer.Option(help=".npz with arrays named as the models' inputs.")] = None,
    labels: Annotated[Path | None, typer.Option(help=".npy, .npz (`labels`) or one class number a line.")] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas; 1 is always measured.")] = "1",
    shape: Annotated[list[str] | None, typer.Option(help="INPUT:3,224,224 for open dimensions.")] = None,
    scores: Annotated[str, typer.Option(help="The output that holds the class scores; the first if not said.")] = "",
    error_metric: Annotated[str, typer.Option(help="topK_error_pct.")] = "top1_error_pct",
    top_k: Annotated[int, typer.Option(min=1, help="A further k to report beside it.")] = 5,
    error: Annotated[list[str] | None, typer.Option(help="VARIANT=PERCENT: a published error.")] = None,
    error_source: Annotated[str, typer.Option(help="Where the --error figures are published.")] = "",
    meter: Annotated[str, typer.Option(help="auto, nvml, rapl, triton-metrics or cpu-time.")] = "auto",
    gpu: Annotated[list[str] | None, typer.Option(help="GPU index (nvml) or UUID (triton-metrics).")] = None,
    triton_metrics: Annotated[str, typer.Option(help="URL of Triton's /metrics.")] = "",
    triton_pid: Annotated[int | None, typer.Option(help="Triton's process; found by its port if not said.")] = None,
    watts_per_core: Annotated[float, typer.Option(min=0.01, help="For cpu-time: an assumption.")] = 10.0,
    hardware: Annotated[str, typer.Option(help="The device's name, where the meter cannot tell.")] = "",
    precision: Annotated[float, typer.Option(min=0.001, max=1, help="Half the own interval / mean: enough.")] = 0.03,
    limit: Annotated[float, typer.Option(min=0.001, max=1, help="Half the own interval / mean: refused.")] = 0.10,
    between_runs: Annotated[
        float | None, typer.Option(min=0, max=1, help="Deviation between runs / mean; the meter's if not said.")
    ] = None,
    budget: Annotated[float, typer.Option(min=1, help="Seconds of measuring at most.")] = 120.0,
    spread: Annotated[float, typer.Option(min=0, help="Seconds to spread it over at least, where it fits.")] = 60.0,
    window: Annotated[float | None, typer.Option(min=0.1, help="Seconds per window; the meter's if not said.")] = None,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of load before measuring, per cell.")] = 0.5,
    concurrency: Annotated[int, typer.Option(min=1, help="Clients that each wait for their answer.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="PNG of energy against error; beside the catalogue.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an interrupted run had measured.")] = False,
    way: Way,
) -> None:
    """Energy, latency, throughput and error of every variant; refuses figures it cannot stand behind."""
    from profiler.ahead import plot_of
    from profiler.command import run_profile
    from profiler.meter_offers import Metering
    from profiler.options import parse_numbers, parse_pairs, parse_percentages, parse_variants
    from profiler.plan import Goal
    from profiler.profile import Wish

    wish = Wish(
        address=triton_grpc,
        family=family,
        variants=parse_variants(variants),
        output=output,
        batches=parse_numbers("--batch", batch),
        inputs=inputs,
        labels=labels,
        shapes={name: parse_numbers("--shape", text) for name, text in parse_pairs("--shape", shape or []).items()},
        scores=scores,
        error_metric=error_metric,
        top_k=top_k,
        told_errors=parse_percentages("--error", error or []),
        told_source=error_source,
        goal=Goal(precision=precision, limit=max(limit, precision), between_runs=between_runs, spread_s=spread),
        budget_s=budget,
        window_s=window,
        warm_up_s=warm_up,
        concurrency=concurrency,
        fresh=fresh,
        way=way,
    )
    picture = plot_of(plot, output, family)
    metering = Metering(meter, tuple(gpu or ()), triton_metrics, triton_pid, watts_per_core, hardware)
    try:
        whole = run_profile(wish, metering, picture)
    except KeyboardInterrupt:
        typer.echo("tradewind: interrupted; the same command goes on from here, with --fresh from the start", err=True)
        raise typer.Exit(130) from None
    if not whole:
        raise typer.Exit(1)
