"""The RAPL meter on a powercap tree: wrap-around unrolled, resets and missing permission said."""

from pathlib import Path

import pytest

from profiler.meters.judge import energy_of
from profiler.meters.meter import MeterError, Sample
from profiler.meters.rapl import RaplMeter

RANGE_UJ = 262_143_328_850


class Clock:
    """A time that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def zone(root: Path, name: str, label: str, energy_uj: int, *, watts: int = 100) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "name").write_text(f"{label}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "constraint_0_power_limit_uw").write_text(f"{watts * 1_000_000}\n")
    return path


def readings(meter: RaplMeter, path: Path, clock: Clock, values_uj: list[int]) -> list[Sample]:
    samples = []
    for value in values_uj:
        clock.now += 0.1
        (path / "energy_uj").write_text(f"{value % RANGE_UJ}\n")
        samples.append(meter.read())
    return samples


def test_packages_and_memory_count_but_not_what_is_inside_a_package(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 900_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    meter = RaplMeter(tmp_path, hardware="cpu")
    assert meter.read().counters == (1.0, 2.0)
    assert meter.nameplate.whole_host


@pytest.mark.parametrize("start_uj", [0, RANGE_UJ - 25_000_000, RANGE_UJ - 1])
def test_a_wrap_around_is_unrolled(tmp_path: Path, start_uj: int) -> None:
    path, clock = zone(tmp_path, "intel-rapl:0", "package-0", start_uj), Clock()
    meter = RaplMeter(tmp_path, clock=clock, hardware="cpu")
    samples = readings(meter, path, clock, [start_uj + i * 5_000_000 for i in range(11)])
    metered = energy_of(samples, meter.nameplate)
    assert metered.joules / metered.seconds == pytest.approx(50)


def test_a_reset_is_not_taken_for_a_wrap_around(tmp_path: Path) -> None:
    path, clock = zone(tmp_path, "intel-rapl:0", "package-0", 50_000_000_000), Clock()
    meter = RaplMeter(tmp_path, clock=clock, hardware="cpu")
    values = [50_000_000_000 + i * 5_000_000 for i in range(5)] + [i * 5_000_000 for i in range(5)]
    with pytest.raises(MeterError, match="went back"):
        energy_of(readings(meter, path, clock, values), meter.nameplate)


def test_no_package_is_said(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="virtual machine"):
        RaplMeter(tmp_path / "missing", hardware="cpu")


def test_a_counter_that_disappears_is_said(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = RaplMeter(tmp_path, hardware="cpu")
    (path / "energy_uj").unlink()
    with pytest.raises(MeterError, match="disappeared"):
        meter.read()


def test_missing_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the kernel's refusal is simulated where the file is opened.
    zone(tmp_path, "intel-rapl:0", "package-0", 1)

    def refused(self: Path, *_args: object, **_options: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    meter = RaplMeter(tmp_path, hardware="cpu")
    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(MeterError, match="root only"):
        meter.read()
