"""`make measure`: where its plot goes."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo import measure_digits


def test_the_plot_is_there_after_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def profiled(_wish: object, _metering: object, plot: Path) -> bool:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.touch()
        drawn.append(plot)
        return True

    def triton(_folder: Path) -> Any:
        def nothing() -> None: ...

        return SimpleNamespace(grpc="127.0.0.1:1", child=SimpleNamespace(pid=1), start=nothing, stop=nothing)

    drawn: list[Path] = []
    monkeypatch.setattr(measure_digits, "Triton", triton)
    monkeypatch.setattr(measure_digits, "run_profile", profiled)
    monkeypatch.setattr(sys, "argv", ["measure_digits"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        measure_digits.main()
    assert ended.value.code == 0
    assert [plot.resolve() for plot in drawn] == list(tmp_path.rglob("*.png"))
