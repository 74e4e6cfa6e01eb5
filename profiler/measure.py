"""Carries out the plan: warms up, measures window after window, keeps what was found."""

import time
from collections.abc import Callable, Mapping, Sequence

from profiler.findings import energies_by_cell
from profiler.load import Load, answered_between
from profiler.meters.meter import Meter, MeterError
from profiler.meters.process_tree import HostTime, host_time, other_work, own_pids
from profiler.meters.watch import Watch
from profiler.plan import IDLE, Cell, Goal, next_round, pause_s
from profiler.windows import Window

_OTHERS_MAY_TAKE = 0.10
"""A meter of the whole host measures others' work too: with more than this share of it, a window is refused."""

Progress = Callable[[int, Cell, Sequence[Window]], None]


class Measurement:
    """Windows of every cell, taken in turns until they are enough or the budget is spent."""

    def __init__(
        self,
        loads: Mapping[Cell, Load],
        meter: Meter,
        *,
        goal: Goal,
        window_s: float | None = None,
        triton_pid: int | None = None,
        known: Sequence[Window] = (),
        keep: Callable[[Window], None] = lambda _window: None,
    ) -> None:
        self._loads = loads
        self._meter = meter
        self._goal = goal
        plate = meter.nameplate
        self._window_s = plate.window_s if window_s is None else max(window_s, plate.steps_s)
        self._triton_pid = triton_pid
        self._keep = keep
        self.cells = (*loads, IDLE)
        self.windows = list(known)

    def warm_up(self, seconds: float, begun: Callable[[Cell], None] = lambda _cell: None) -> None:
        """Every cell under load once, unmeasured: caches, clocks, memory and the backends' lazy parts."""
        for cell, load in self._loads.items():
            begun(cell)
            load.run(seconds, at_least=3)

    def run(self, budget_s: float, progress: Progress = lambda _round, _cell, _windows: None) -> bool:
        """Measures; True when every cell is known well enough, False when the budget ended it."""
        begin = time.monotonic()
        end = begin + budget_s
        number = 0
        while order := next_round(self.cells, energies_by_cell(self.windows), self._goal, number):
            elapsed_s = time.monotonic() - begin
            # What a budget does not allow for is not waited for.
            time.sleep(min(pause_s(number, elapsed_s, self._goal), max(0.0, budget_s / 2 - elapsed_s)))
            for cell in order:
                if time.monotonic() >= end:
                    return False
                window = self._measure(cell)
                self.windows.append(window)
                self._keep(window)
                progress(number, cell, self.windows)
            number += 1
            if self._hopeless():
                return False
        return True

    def _hopeless(self) -> bool:
        """A meter that fails in window after window will not get better by waiting."""
        tail = self.windows[-2 * len(self.cells) :]
        return len(tail) >= 2 * len(self.cells) and all(window.refused for window in tail)

    def _measure(self, cell: Cell) -> Window:
        if cell != IDLE:
            self._loads[cell].connect_again()
        begun, before = time.time(), self._host()
        watch = Watch(self._meter)
        with watch:
            if cell == IDLE:
                time.sleep(self._window_s)
                answered = []
            else:
                answered = self._loads[cell].run(self._window_s)
        after = self._host()
        others = other_work(before, after) if before is not None and after is not None else None
        try:
            metered = watch.energy()
        except MeterError as error:
            return Window(cell.variant, cell.batch, begun=begun, other_work=others, refused=str(error))
        if self._meter.nameplate.whole_host and (others is None or others > _OTHERS_MAY_TAKE):
            taken = "an unknown part" if others is None else f"{100 * others:.0f} %"
            why = f"{self._meter.nameplate.name}: other work took {taken} of the machine, and the counter holds it too"
            return Window(cell.variant, cell.batch, begun=begun, other_work=others, refused=why)
        return Window(
            cell.variant,
            cell.batch,
            begun=begun,
            seconds=metered.seconds,
            inferences=cell.batch * answered_between(answered, metered.from_s, metered.to_s),
            joules=metered.joules,
            latencies_ms=tuple(round(one.latency_ms, 4) for one in answered),
            other_work=others,
        )

    def _host(self) -> HostTime | None:
        return host_time(own_pids(self._triton_pid)) if self._triton_pid is not None else None
