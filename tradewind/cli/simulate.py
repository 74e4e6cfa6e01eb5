"""`tradewind simulate`: replays intensity and request traces through the policies and compares what they come to."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulator.comparison import Comparison, Plan, compare
from simulator.notes import notes_on
from simulator.paper import rederive
from simulator.policy_words import entrants_of
from simulator.requests import Alignment, aligned_requests, flat_requests
from simulator.series import IntensitySeries, series_of
from simulator.synthetic import SYNTHETIC_NAME, synthetic_june
from simulator.tables import comparison_table, findings_table
from tradewind.catalogue import Catalogue, OperatingPoint, load_catalogue, operating_point
from tradewind.catalogues import published_catalogue
from tradewind.errors import InvalidInput
from tradewind.policies.options import parse_span
from tradewind.traces import read_trace
from tradewind.units import intensity_from_lb_per_mwh

app = typer.Typer(invoke_without_command=True, help="Compare policies on traces of intensity and requests.")

Files = Annotated[list[Path] | None, typer.Option("--intensity", help="CSV file of intensities; may be repeated.")]
Text = Annotated[str | None, typer.Option()]


@app.callback()
def simulate(
    context: typer.Context,
    intensity: Files = None,
    time_column: Annotated[str | None, typer.Option(help="Found by itself unless named.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Found by itself unless named.")] = None,
    forecast_column: Annotated[
        str | None, typer.Option(help="Forecasts of the same rows, for those who use them.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="g/kWh or lb/MWh; g/kWh when absent.")] = None,
    interval: Annotated[str | None, typer.Option(help="Between rows, where the file does not tell (1h).")] = None,
    requests: Annotated[Path | None, typer.Option(help="CSV file of request counts; flat load without one.")] = None,
    requests_column: Annotated[str | None, typer.Option(help="The column of counts.")] = None,
    requests_time_column: Annotated[str | None, typer.Option(help="Found by itself unless named.")] = None,
    align: Annotated[Alignment, typer.Option(help="Lay the requests over the intensity by time or by week.")] = (
        Alignment.ABSOLUTE
    ),
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue file; the published figures without one.")] = None,
    family: Annotated[str, typer.Option(help="The catalogue's family.")] = "resnet",
    variants: Annotated[
        str | None, typer.Option(help="The pool, separated by commas; the catalogue's without.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy, or policy:key=value,...; may be repeated. Default: proportional.")
    ] = None,
    window: Annotated[str, typer.Option(help="Trailing window of the range, like 24h; or whole.")] = "24h",
    warm_up: Annotated[str | None, typer.Option(help="Fed to the policies but not scored, like 28d.")] = None,
    baseline: Annotated[str | None, typer.Option(help="What extra grams are counted from; the least energy.")] = None,
    scale_extra: Annotated[
        str | None, typer.Option(help="variant=grams: scale all grams so that its extra is that.")
    ] = None,
    target_error: Annotated[str | None, typer.Option(help="For target-error and clairvoyant.")] = None,
    budget_g: Annotated[str | None, typer.Option(help="For carbon-budget: grams per period.")] = None,
    budget_share: Annotated[
        str | None, typer.Option(help="For carbon-budget: 0 to 1 between last period's least and most.")
    ] = None,
    budget_period: Annotated[str | None, typer.Option(help="For carbon-budget: day or month.")] = None,
    price: Annotated[str | None, typer.Option(help="For carbon-price: g per point and million inferences.")] = None,
    clover_weight: Annotated[str | None, typer.Option(help="For clover: lambda.")] = None,
    xi: Annotated[str | None, typer.Option(help="For quality-floor: how far the floor slides.")] = None,
    dwell: Annotated[str | None, typer.Option(help="Least time between switches.")] = None,
    relative_change: Annotated[str | None, typer.Option(help="Least change of intensity between switches.")] = None,
    opt_out: Annotated[str | None, typer.Option(help="Hours without degrading: 'mon-fri 08:00-18:00' (UTC).")] = None,
    stop_degrading_after: Annotated[str | None, typer.Option(help="Longest time without the best variant.")] = None,
    json_to: Annotated[str | None, typer.Option("--json", help="Write JSON to a file, or - for stdout.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page into this directory.")] = None,
) -> None:
    """Replay traces through policies; the fixed variants are always among them."""
    if context.invoked_subcommand is not None:
        return
    if not intensity:
        raise InvalidInput("simulate needs --intensity FILE (or use `tradewind simulate paper`)")
    step = parse_span(interval) if interval else None
    series = [_read_series(file, time_column, value_column, forecast_column, unit, step) for file in intensity]
    if requests is None and (requests_column or requests_time_column):
        raise InvalidInput(
            "requests-column and requests-time-column are of a request trace: give it by --requests FILE"
        )
    options = {
        "target_error": target_error,
        "budget_g": budget_g,
        "budget_share": budget_share,
        "period": budget_period,
        "price": price,
        "weight": clover_weight,
        "xi": xi,
        "dwell": dwell,
        "relative_change": relative_change,
        "opt_out": opt_out,
        "stop_degrading_after": stop_degrading_after,
    }
    words, shared = policy or ["proportional"], {key: text for key, text in options.items() if text}
    plan = Plan(
        pool=_pool(load_catalogue(catalogue) if catalogue else published_catalogue(), family, variants),
        entrants=entrants_of(words, shared),
        window=None if window == "whole" else parse_span(window),
        warm_up=_span_or_nothing(warm_up),
        baseline=baseline,
        scale_extra=_scale(scale_extra),
    )
    for note in notes_on(plan, words, shared):
        typer.echo(f"note: {note}", err=True)
    load = read_trace(requests, requests_time_column, requests_column) if requests else None
    comparisons = []
    with _progress(sum(each.used for each in series) * len(plan.entrants)) as advance:
        for each in series:
            counts = aligned_requests(each, load, align) if load is not None else flat_requests(each)
            comparisons.append(compare(each, counts, plan, advance))
    _show(comparisons, json_to, report)


@app.command()
def paper(
    intensity: Annotated[Path | None, typer.Option(help="CSV file of intensities; a synthetic June without.")] = None,
    time_column: Text = None,
    value_column: Text = None,
    json_to: Annotated[str | None, typer.Option("--json", help="Write JSON to a file, or - for stdout.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page into this directory.")] = None,
) -> None:
    """Derive the paper's numbers again, then evaluate its policy on a trace, scaled to ResNet101 = +2676 g."""
    catalogue = published_catalogue()
    points = {name: operating_point(name, variant) for name, variant in catalogue.family("resnet").variants.items()}
    findings = rederive(points)
    series = _read_series(intensity, time_column, value_column) if intensity else synthetic_june()
    plan = Plan(
        pool=catalogue.family("resnet").permitted,
        entrants=entrants_of(
            ["proportional", "as-printed", "target-error", "clairvoyant", "clover", "quality-floor"],
            {"target_error": "6.57"},
        ),
        scale_extra=("resnet101", 2676.0),
    )
    comparison = compare(series, flat_requests(series), plan)
    if json_to != "-":
        Console().print(findings_table(findings))
    content = {
        "paper": [
            {"what": each.what, "derived": each.derived, "published": each.published, "note": each.note}
            for each in findings
        ],
        "synthetic": series.name == SYNTHETIC_NAME,
    }
    _show([comparison], json_to, report, content)


_POUNDS = re.compile(r"(?<![a-z])(lbs?|pounds?)(?![a-z])", re.IGNORECASE)
"""In a column's name; taken for grams, pounds would be off by less than the gate can see."""


def _read_series(
    file: Path,
    time_column: str | None = None,
    value_column: str | None = None,
    forecast_column: str | None = None,
    unit: str | None = None,
    interval: timedelta | None = None,
) -> IntensitySeries:
    if unit not in (None, "g/kWh", "lb/MWh"):
        raise InvalidInput(f"unit {unit[:20]!r} is unknown: use g/kWh or lb/MWh")
    factor = intensity_from_lb_per_mwh(1.0) if unit == "lb/MWh" else 1.0
    trace = read_trace(file, time_column, value_column, interval)
    if unit is None and _POUNDS.search(trace.value_column):
        raise InvalidInput(
            f"{file}: column {trace.value_column} sounds like pounds: say --unit lb/MWh, or --unit g/kWh if it is not"
        )
    forecast = read_trace(file, time_column, forecast_column, interval) if forecast_column else None
    return series_of(
        replace(trace, values=trace.values * factor),
        forecast=None if forecast is None else replace(forecast, values=forecast.values * factor),
    )


def _pool(catalogue: Catalogue, family: str, variants: str | None) -> tuple[OperatingPoint, ...]:
    chosen = catalogue.family(family)
    if variants is None:
        return chosen.permitted
    names = list(dict.fromkeys(name.strip() for name in variants.split(",") if name.strip()))
    unknown = [name for name in names if name not in chosen.variants]
    if unknown or not names:
        known = ", ".join(chosen.variants)
        raise InvalidInput(
            f"variants: family {family} has no {', '.join(unknown) or 'variant of no name'}: use {known}"
        )
    return tuple(
        sorted(
            (operating_point(name, chosen.variants[name]) for name in names),
            key=lambda point: (point.energy_mj, point.variant),
        )
    )


def _span_or_nothing(text: str | None) -> timedelta:
    return timedelta(0) if text is None or text.strip().lower() in ("0", "0s", "0m", "0h", "0d") else parse_span(text)


def _scale(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    variant, _, grams = text.partition("=")
    wrong = InvalidInput(f"scale-extra {text[:40]!r}: write it as variant=grams, like resnet101=2676")
    try:
        scale = variant, float(grams)
    except ValueError as error:
        raise wrong from error
    if not math.isfinite(scale[1]):
        raise wrong
    return scale


@contextmanager
def _progress(intervals: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=intervals)
        yield lambda done: progress.advance(task, done)


@contextmanager
def _writing(option: str, path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        wanted = "a file in a directory that exists" if option == "json" else "a directory, or one to be made"
        raise InvalidInput(f"{option} {path}: cannot be written there; name {wanted}") from error


def _show(
    comparisons: list[Comparison], json_to: str | None, report: Path | None, more: dict[str, Any] | None = None
) -> None:
    """Tables, or JSON: one comparison's object, or a list of them under `comparisons` where there are several files."""
    contents = [comparison.to_json() for comparison in comparisons]
    content = {**(contents[0] if len(contents) == 1 else {"comparisons": contents}), **(more or {})}
    if json_to == "-":
        sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
    else:
        for comparison in comparisons:
            Console().print(comparison_table(comparison))
        if json_to is not None:
            with _writing("json", json_to):
                Path(json_to).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if report is not None:
        # Here, because drawing is slow to import and seldom wanted.
        from simulator.report import write_report

        with _writing("report", report):
            page = write_report(comparisons, report)
        Console(stderr=True).print(f"report: {page}")
