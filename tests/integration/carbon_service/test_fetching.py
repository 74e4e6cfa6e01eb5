"""`tradewind fetch`: a whole history, in portions, and again after an interruption."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carbon_service.fetching import COLUMNS, command, day_or_time, fetch, resumed_at
from carbon_service.sources.http import HttpLimits
from carbon_service.sources.neso import Neso
from tradewind.errors import InvalidInput, NotReady
from tradewind.traces import read_trace

START, END = datetime(2023, 6, 1, tzinfo=UTC), datetime(2023, 7, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
QUICK = HttpLimits(connect_s=2, read_s=2, whole_s=5, attempts=1)


def june(asked: Any) -> dict[str, Any]:
    """NESO's regional answer for the span that is asked for."""
    _, _, _, start, end, *_ = asked.path.split("/")
    begin, until = (datetime.strptime(each, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) for each in (start, end))
    begin -= HALF_HOUR  # It answers with the half-hour before as well.
    entries = []
    while begin < until:
        value = 100 + begin.day + begin.hour
        times = {"from": begin.strftime("%Y-%m-%dT%H:%MZ"), "to": (begin + HALF_HOUR).strftime("%Y-%m-%dT%H:%MZ")}
        entries.append(times | {"intensity": {"forecast": value, "index": "low"}})
        begin += HALF_HOUR
    return {"data": {"regionid": 11, "data": entries}}


def names(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


async def test_a_month_in_portions(provider: Any, answers: Any, tmp_path: Path) -> None:
    provider.answer = lambda asked: answers(june(asked))
    seen: list[datetime] = []
    path = tmp_path / "june.csv"
    source = Neso(11, provider.url, QUICK)
    assert await fetch(source, "GB-SWE", START, END, path, seen.append) == 30 * 48
    await source.close()
    assert len(provider.asked) == 3
    assert seen[-1] == END
    trace = read_trace(path)
    assert (len(trace), trace.moment(0), trace.interval_s) == (30 * 48, START, 1800)
    assert trace.value(0) == 101
    assert names(tmp_path) == ["june.csv"]


async def test_an_interrupted_fetch_goes_on_where_it_was(provider: Any, answers: Any, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.csv", tmp_path / "june.csv"
    source = Neso(11, provider.url, QUICK)
    provider.answer = lambda asked: answers(june(asked))
    await fetch(source, "GB-SWE", START, END, whole)
    asked = len(provider.asked)
    provider.answer = lambda each: answers(june(each)) if len(provider.asked) == asked + 1 else answers(status=503)
    with pytest.raises(NotReady, match="run the same command again"):
        await fetch(source, "GB-SWE", START, END, path, pause_s=0.001)
    part = tmp_path / "june.csv.part"
    with part.open("a") as file:
        file.write("2023-06-14T00:00:00Z,2023-06-")  # A row that a power cut left unfinished.
    asked = len(provider.asked)
    provider.answer = lambda each: answers(june(each))
    assert await fetch(source, "GB-SWE", START, END, path) == 30 * 48
    await source.close()
    assert len(provider.asked) == asked + 2, "what was there was not asked for again"
    assert path.read_bytes() == whole.read_bytes()


async def test_a_span_without_readings_leaves_no_file(provider: Any, answers: Any, tmp_path: Path) -> None:
    provider.answer = lambda _asked: answers({"data": {"data": []}})
    source = Neso(11, provider.url, QUICK)
    with pytest.raises(NotReady, match="has no readings of GB-SWE"):
        await fetch(source, "GB-SWE", START, START + HALF_HOUR, tmp_path / "june.csv")
    await source.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses the key"), (404, "check the zone's area"), (301, "give its new address")]
)
async def test_what_is_refused_is_not_asked_for_again(
    provider: Any, answers: Any, tmp_path: Path, status: int, words: str
) -> None:
    provider.answer = lambda _asked: answers({}, status=status)
    source = Neso(11, provider.url, QUICK)
    with pytest.raises(NotReady, match=words) as raised:
        await fetch(source, "GB-SWE", START, END, tmp_path / "june.csv")
    assert "run the same command again" not in str(raised.value)
    assert len(provider.asked) == 1
    await source.close()


def test_somebody_elses_file_is_not_continued(tmp_path: Path) -> None:
    part = tmp_path / "june.csv.part"
    part.write_text("something else\n")
    with pytest.raises(InvalidInput, match="not the beginning of a fetch"):
        resumed_at(part, START, "neso:11")
    header = ",".join(COLUMNS) + "\n"
    part.write_text(header)
    assert resumed_at(part, START, "neso:11") == START
    part.write_text(f"{header}2023-06-01T00:00:00Z,2023-06-01T00:30:00Z,101.0,forecast,neso:11\n")
    assert resumed_at(part, START, "neso:11") == START + HALF_HOUR
    for start, source in ((START, "neso:1"), (START, "neso:12"), (START + HALF_HOUR, "neso:11")):
        with pytest.raises(InvalidInput, match="beginning of another fetch, from neso:11 since 2023-06-01"):
            resumed_at(part, start, source)


def test_days_and_times() -> None:
    assert day_or_time("2023-06-01", "--from") == START
    assert day_or_time("2023-06-01T02:00:00+02:00", "--from") == START
    with pytest.raises(InvalidInput, match="--from"):
        day_or_time("June", "--from")


async def tradewind(*arguments: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from tradewind.cli import main; main()", "fetch", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_command(provider: Any, answers: Any, tmp_path: Path) -> None:
    provider.answer = lambda asked: answers(june(asked))
    path = tmp_path / "june.csv"
    arguments = [
        "--zone",
        "GB-SWE",
        "--from",
        "2023-06-01",
        "--to",
        "2023-06-03",
        "-o",
        str(path),
        "--url",
        provider.url,
    ]
    code, output = await tradewind(*arguments)
    assert (code, len(path.read_text().splitlines())) == (0, 97)
    assert "96 readings of GB-SWE" in output
    with pytest.raises(InvalidInput, match="is there already"):
        command("GB-SWE", "2023-06-01", "2023-06-03", path)
    with pytest.raises(InvalidInput, match="is not a folder: make it"):
        command("GB-SWE", "2023-06-01", "2023-06-03", tmp_path / "nowhere" / "june.csv")
    with pytest.raises(InvalidInput, match="swap them"):
        command("GB-SWE", "2023-06-03", "2023-06-01", tmp_path / "other.csv")
