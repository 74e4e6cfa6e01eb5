"""RAPL: the CPU packages' and memory's energy counters in /sys/class/powercap, wrap-around unrolled.

The files are read directly: they need no library, and no process of their own to watch for wrap-around.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from profiler.meters.cpu_time import cpu_hardware
from profiler.meters.meter import MeterError, Nameplate, Sample
from tradewind.catalogue import Provenance

POWERCAP = Path("/sys/class/powercap")
_FALLBACK_WATTS = 500.0


@dataclass
class _Zone:
    """One counter of µJ that begins again at zero after `range_uj`."""

    path: Path
    range_uj: int
    max_watts: float
    last_uj: int = -1
    last_s: float = 0.0
    base_uj: int = field(default=0)

    def joules(self, at_s: float) -> float:
        """Joules since an arbitrary zero; a wrap-around is unrolled where the elapsed time can explain it."""
        now_uj = _number(self.path / "energy_uj")
        if self.last_uj > now_uj:
            through_the_top = self.range_uj - self.last_uj + now_uj
            if through_the_top <= self.max_watts * 1e6 * max(at_s - self.last_s, 0.001):
                self.base_uj += self.range_uj
        self.last_uj, self.last_s = now_uj, at_s
        return (self.base_uj + now_uj) / 1e6


class RaplMeter:
    """All CPU packages of this host, and their memory where it is counted."""

    def __init__(
        self,
        powercap: Path = POWERCAP,
        *,
        clock: Callable[[], float] = time.monotonic,
        hardware: str | None = None,
    ) -> None:
        self._clock = clock
        self._zones = [_zone(path) for path in _zone_paths(powercap)]
        if not self._zones:
            raise MeterError(f"rapl: {powercap} has no intel-rapl package; a virtual machine is usually given none")
        for zone in self._zones:
            zone.joules(clock())
        self.nameplate = Nameplate(
            name="rapl",
            provenance=Provenance.MEASURED,
            hardware=hardware or cpu_hardware(),
            driver="powercap intel-rapl",
            max_watts=tuple(zone.max_watts for zone in self._zones),
            step_s=0.001,
            whole_host=True,
            method=f"RAPL {', '.join(_name(zone.path) for zone in self._zones)}, the whole host",
        )

    def read(self) -> Sample:
        """The counters of all zones."""
        now = self._clock()
        return Sample(now, tuple(zone.joules(now) for zone in self._zones))

    def disturbance(self) -> str | None:
        """Other work on the host is judged from /proc by whoever measures; RAPL itself cannot tell."""
        return None


def _zone_paths(powercap: Path) -> list[Path]:
    """Packages and the memory inside them; cores are part of their package, psys of nothing comparable."""
    if not powercap.is_dir():
        return []
    return sorted(
        path
        for path in powercap.iterdir()
        if path.name.startswith("intel-rapl:") and (_name(path).startswith("package") or _name(path) == "dram")
    )


def _zone(path: Path) -> _Zone:
    limit = path / "constraint_0_power_limit_uw"
    watts = _number(limit) / 1e6 if limit.exists() else 0.0
    # Boost goes well beyond the long-term limit; twice it is still far below what a broken counter shows.
    return _Zone(path, _number(path / "max_energy_range_uj"), 2 * watts or _FALLBACK_WATTS)


def _name(path: Path) -> str:
    name = path / "name"
    return name.read_text(encoding="ascii", errors="replace").strip() if name.exists() else ""


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError as error:
        raise MeterError(f"rapl: {path} may be read by root only; run `chmod a+r` on it, or measure as root") from error
    except (OSError, ValueError) as error:
        raise MeterError(f"rapl: {path} cannot be read; the counter disappeared or is broken") from error
