"""What a spectator sees while the day goes by: a live panel on a terminal, a line per hour elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.day import Hour, Tally

_BARS = "▁▂▃▄▅▆▇█"
_COLOURS = ("green", "yellow", "magenta")
"""Smallest, middle and largest."""


@dataclass
class View:
    """Shows hours and tallies; the same calls on a terminal and in a log."""

    console: Console
    title: str
    """What is replayed; a synthetic day says so here."""
    sizes: Sequence[str]
    """Variants from the smallest to the largest."""
    tally: Tally
    hours: list[Hour] = field(default_factory=list)
    _live: Live | None = None
    _told: datetime | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._panel(), console=self.console, refresh_per_second=8, transient=False)
            self._live.__enter__()
        else:
            self.console.print(self.title)
            head = f"{'time':16} {'g/kWh':>6} {'range':9} {'variant':14}"
            self.console.print(f"{head} {'requests':>8} {'error %':>7} {'J':>7} {'mg':>7}", soft_wrap=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._panel())
            self._live.__exit__(kind, error, trace)

    def show(self, hour: Hour) -> None:
        """A new reading, and the variant that serves from now on."""
        if self.hours and self.hours[-1].recorded_at == hour.recorded_at:
            # Decided once more: the newest word on a half-hour is the one that serves.
            self.hours[-1] = hour
            return
        self.hours.append(hour)
        if self._live is None and (self._told is None or hour.recorded_at.hour != self._told.hour):
            self._told = hour.recorded_at
            self.console.print(_line(hour, self.tally), soft_wrap=True)

    def refresh(self) -> None:
        """Newer tallies."""
        if self._live is not None:
            self._live.update(self._panel())

    def _panel(self) -> Panel:
        body = Group(self._now(), Text(), self._curve(), Text(), self._table())
        return Panel(body, title=self.title, title_align="left", border_style="cyan", padding=(1, 2), width=92)

    def _now(self) -> Text:
        if not self.hours:
            return Text("the clean and the dirty hours of the last day are being learnt …", style="dim")
        hour = self.hours[-1]
        text = Text()
        text.append(f"{hour.recorded_at:%a %d %b %H:%M}", style="bold")
        text.append(f"   {hour.intensity_g_per_kwh:5.0f} g/kWh", style="bold")
        text.append(f"   range {hour.low_g_per_kwh:.0f} to {hour.high_g_per_kwh:.0f}   ")
        text.append(hour.variant, style=f"bold {self._colour(hour.variant)}")
        return text

    def _curve(self) -> Text:
        """One bar per half-hour: as high as the intensity, in the colour of the variant that served."""
        text = Text()
        if self.hours:
            top = max(1.0, *(hour.intensity_g_per_kwh for hour in self.hours))
            for hour in self.hours[-48:]:
                step = min(int(hour.intensity_g_per_kwh / top * len(_BARS)), len(_BARS) - 1)
                text.append(_BARS[step], style=self._colour(hour.variant))
        text.append("\n")
        for size in self.sizes:
            text.append("█ ", style=self._colour(size))
            text.append(f"{size}   ", style="dim")
        return text

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("variant")
        for heading in ("requests", "observed error"):
            table.add_column(heading, justify="right")
        for size in self.sizes:
            requests, wrong = self.tally.requests[size], self.tally.wrong[size]
            error = f"{100 * wrong / requests:.2f} %" if requests else "none yet"
            table.add_row(Text(size, style=self._colour(size)), f"{requests}", error)
        table.add_section()
        table.add_row("all", f"{self.tally.served}", _percent(self.tally.observed_error_pct), style="bold")
        table.caption = f"{self.tally.energy_uj / 1e6:.1f} J (estimated)   {self.tally.grams * 1e3:.3f} mg CO₂eq"
        table.caption_justify = "left"
        return table

    def _colour(self, variant: str) -> str:
        if variant not in self.sizes:
            return "white"
        place = self.sizes.index(variant)
        return _COLOURS[0] if place == 0 else _COLOURS[2] if place == len(self.sizes) - 1 else _COLOURS[1]


def _percent(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.2f} %"


def _line(hour: Hour, tally: Tally) -> str:
    error = "-" if tally.observed_error_pct is None else f"{tally.observed_error_pct:.2f}"
    return (
        f"{hour.recorded_at:%Y-%m-%d %H:%M} {hour.intensity_g_per_kwh:6.0f} "
        f"{hour.low_g_per_kwh:4.0f}-{hour.high_g_per_kwh:<4.0f} {hour.variant:14} "
        f"{tally.served:8d} {error:>7} {tally.energy_uj / 1e6:7.1f} {tally.grams * 1e3:7.3f}"
    )
