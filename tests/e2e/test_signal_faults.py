"""Faults while observations pour in change neither store nor bus; the whole of it is `python -m bench.faults`."""

from pathlib import Path

from bench.faults import run


async def test_kills_duplicates_and_reordering_change_nothing(tmp_path: Path) -> None:
    result = await run(tmp_path, readings=2_000, faults=8, seed=11)
    assert result.faults == {"broker": 2, "service": 2, "duplicate": 2, "reorder": 2}
    assert (result.lost, result.strange, result.bus_differs) == (0, 0, 0)
