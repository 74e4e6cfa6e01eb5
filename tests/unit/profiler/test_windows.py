"""What was measured survives an interruption, and only under the same conditions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from profiler.windows import Window, WindowFile

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = Window("a", 1, 0.5, 20.0, 0.25, (1.0, 2.0), 0.1)
BAD = Window("a", 1, refused="the counter was reset")


def started(path: Path, conditions: dict[str, object]) -> WindowFile:
    file = WindowFile(path, conditions)
    assert file.resume(NOW) == []
    file.add(GOOD)
    file.add(BAD)
    return file


def test_windows_come_back(tmp_path: Path) -> None:
    started(tmp_path / "w", {"meter": "x", "variants": {"a": ["m", "1"]}})
    again = WindowFile(tmp_path / "w", {"meter": "x", "variants": {"a": ("m", "1")}})
    assert again.resume(NOW + timedelta(hours=1)) == [GOOD, BAD]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    started(tmp_path / "w", {})
    with (tmp_path / "w").open("a") as file:
        file.write('{"variant": "a", "ba')
    again = WindowFile(tmp_path / "w", {})
    assert again.resume(NOW) == [GOOD, BAD]
    again.add(GOOD)
    assert WindowFile(tmp_path / "w", {}).resume(NOW) == [GOOD, BAD, GOOD]


def test_other_conditions_begin_anew(tmp_path: Path) -> None:
    started(tmp_path / "w", {"meter": "x"})
    assert WindowFile(tmp_path / "w", {"meter": "y"}).resume(NOW) == []
    assert WindowFile(tmp_path / "w", {"meter": "y"}).resume(NOW) == []


def test_yesterdays_windows_begin_anew(tmp_path: Path) -> None:
    started(tmp_path / "w", {})
    assert WindowFile(tmp_path / "w", {}).resume(NOW + timedelta(hours=13)) == []


def test_a_file_of_something_else_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("not a file of windows\n[1, 2]\n")
    assert WindowFile(tmp_path / "w", {}).resume(NOW) == []


def test_it_can_be_removed_twice(tmp_path: Path) -> None:
    file = started(tmp_path / "w", {})
    file.remove()
    file.remove()
    assert not (tmp_path / "w").exists()
