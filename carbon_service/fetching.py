"""A provider's history as a CSV file: `tradewind fetch`. Interrupted, it goes on where it was."""

import asyncio
import csv
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import stamina.instrumentation
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from carbon_service.settings import CarbonSettings
from carbon_service.sources.http import Refused
from carbon_service.sources.registry import open_source
from carbon_service.sources.source import Source, SourceError
from tradewind.errors import InvalidInput, NotReady, TradewindError
from tradewind.readings import Reading, check_zone, format_time, parse_time
from tradewind.settings import read_settings

COLUMNS = ("valid_from", "valid_to", "intensity_g_per_kwh", "kind", "source")
MOST_FAILURES = 5
LONGEST_PAUSE_S = 60.0


async def fetch(
    source: Source,
    zone: str,
    start: datetime,
    end: datetime,
    path: Path,
    progress: Callable[[datetime], None] = lambda _moment: None,
    pause_s: float = 2.0,
) -> int:
    """Writes the readings of [start, end) to `path`, by way of `path.part`; how many rows the file has."""
    part = path.with_name(path.name + ".part")
    moment = resumed_at(part, start, source.name)
    rows = _count_rows(part)
    with part.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if rows == 0 and file.tell() == 0:
            writer.writerow(COLUMNS)
        while moment < end:
            until = min(moment + source.traits.longest_request, end)
            readings = await _patiently(source, zone, moment, until, pause_s)
            rows += _write(writer, readings, moment)
            file.flush()
            os.fsync(file.fileno())
            moment = until
            progress(moment)
    if rows == 0:
        part.unlink()
        raise NotReady(f"{source.name} has no readings of {zone} between {format_time(start)} and {format_time(end)}")
    part.replace(path)
    return rows


def resumed_at(part: Path, start: datetime, source: str) -> datetime:
    """Where an interrupted fetch goes on: after its last whole row. A row that was cut is taken off.

    InvalidInput when it is the beginning of another fetch: two areas, or two spans, are not to be one history.
    """
    if not part.exists():
        return start
    content = part.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        part.write_bytes(whole)
    lines = whole.decode("utf-8").splitlines()
    if not lines:
        return start
    if lines[0] != ",".join(COLUMNS):
        raise InvalidInput(f"{part}: is not the beginning of a fetch; move it away")
    if len(lines) == 1:
        return start
    first, last = next(csv.DictReader(lines)), lines[-1]
    if not f"{first['source']}:".startswith(f"{source}:") or parse_time(first["valid_from"], str(part)) < start:
        raise InvalidInput(
            f"{part}: is the beginning of another fetch, from {first['source']} since {first['valid_from']}; "
            f"move it away, or ask for the same again"
        )
    return max(start, parse_time(last.split(",")[1], f"{part}: valid_to"))


async def _patiently(source: Source, zone: str, start: datetime, end: datetime, pause_s: float) -> list[Reading]:
    for failures in range(1, MOST_FAILURES + 1):
        try:
            return await source.history(zone, start, end)
        except Refused as error:
            raise NotReady(str(error)) from error
        except SourceError as error:
            if failures == MOST_FAILURES:
                raise NotReady(f"{error}; what there is so far is kept: run the same command again to go on") from error
            wanted = timedelta(0) if error.retry_after is None else error.retry_after
            await asyncio.sleep(min(max(wanted.total_seconds(), pause_s * 2 ** (failures - 1)), LONGEST_PAUSE_S))
    raise AssertionError  # The last failure is raised.


def _write(writer: Any, readings: Iterable[Reading], not_before: datetime) -> int:
    rows = 0
    for each in sorted(readings, key=lambda reading: reading.valid_from):
        if each.valid_from >= not_before:
            value = repr(each.intensity_g_per_kwh)
            writer.writerow(
                (format_time(each.valid_from), format_time(each.valid_to), value, each.kind.value, each.source)
            )
            rows += 1
    return rows


def _count_rows(part: Path) -> int:
    return max(0, part.read_bytes().count(b"\n") - 1) if part.exists() else 0


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(name="tradewind fetch")
def command(
    zone: Annotated[str, typer.Option(help="The zone, for example GB-SWE.")],
    start: Annotated[str, typer.Option("--from", help="First day or time, UTC: 2023-06-01.")],
    end: Annotated[str, typer.Option("--to", help="The first that is no longer wanted.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The CSV file to write.")],
    source: Annotated[str, typer.Option(help="neso, electricity_maps or watttime.")] = "neso",
    area: Annotated[str | None, typer.Option(help="What the provider calls the zone, where that is not known.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the provider answers, if not at its public address.")] = None,
) -> None:
    """Writes a provider's history of a zone to a CSV file that `tradewind simulate` and the replay read."""
    span = day_or_time(start, "--from"), day_or_time(end, "--to")
    if span[1] <= span[0]:
        raise InvalidInput("--to is not after --from: swap them")
    if output.exists():
        raise InvalidInput(f"{output} is there already: name another file, or move it away")
    if not output.parent.is_dir():
        raise InvalidInput(f"{output.parent} is not a folder: make it, or name another file")
    stamina.instrumentation.set_on_retry_hooks([])
    rows = asyncio.run(_fetch_with_progress(source, check_zone(zone), area, url, span, output))
    Console(stderr=True).print(f"{output}: {rows} readings of {zone}", soft_wrap=True)


async def _fetch_with_progress(
    provider: str, zone: str, area: str | None, url: str | None, span: tuple[datetime, datetime], output: Path
) -> int:
    start, end = span
    source = open_source(provider, zone, area, url, read_settings(CarbonSettings).keys())
    deepest = source.traits.deepest_history
    if deepest is not None and start < datetime.now(UTC) - deepest:
        hours = deepest.total_seconds() / 3600
        raise InvalidInput(f"--from: {source.name} gives only the last {hours:g} hours of history")
    columns = TextColumn(zone), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn()
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(zone, total=(end - start).total_seconds())
            return await fetch(
                source,
                zone,
                start,
                end,
                output,
                lambda moment: bar.update(task, completed=(moment - start).total_seconds()),
            )
    finally:
        await source.close()


def day_or_time(text: str, option: str) -> datetime:
    """A UTC day or a time with a zone."""
    if len(text) == len("2023-06-01"):
        text += "T00:00:00Z"
    return parse_time(text, option)


def main() -> int:
    """Runs the command; what a user can mend is one sentence on stderr and exit code 2."""
    try:
        app()
    except TradewindError as error:
        print(f"tradewind: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
