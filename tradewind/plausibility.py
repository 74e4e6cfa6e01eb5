"""Is a reading plausible? The gate that every observation passes before anyone believes it; pure, without a clock.

A value is judged against what its zone said within a day of it. How far beyond that it may go, and how large a step
may take it there, is learnt from how far accepted values of the last week went and from their steps; a jump beyond it
is held back and accepted, with all it held back, once it has lasted a number of periods. A value within what the zone
said that day widens no range, and passes however it got there. Zero and blanks never pass by lasting.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tradewind.errors import InvalidInput
from tradewind.readings import Reading, ReadingKind, Signal


class Verdict(StrEnum):
    """What the gate says; one word for machines, beside the sentence for people."""

    ACCEPTED = "accepted"
    NOT_FINITE = "not_finite"
    ZERO = "zero"
    OUT_OF_BOUNDS = "out_of_bounds"
    BAD_INTERVAL = "bad_interval"
    FROM_FUTURE = "from_future"
    TOO_OLD = "too_old"
    JUMP = "jump"


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a zone's gate lets through."""

    lowest_g_per_kwh: float = 1.0
    highest_g_per_kwh: float = 2_000.0
    clock_skew: timedelta = timedelta(seconds=5)
    """How far ahead of ours a publisher's clock may be."""
    forecast_horizon: timedelta = timedelta(days=7)
    longest_interval: timedelta = timedelta(days=2)
    oldest: timedelta = timedelta(days=400)
    recent: timedelta = timedelta(hours=24)
    """A value is compared with the accepted ones this near to it in time."""
    history: timedelta = timedelta(days=7)
    """How far back the gate remembers how far values went beyond the recent ones."""
    least_factor: float = 1.8
    """A value this many times beyond the recent ones always passes, however calm the history."""
    largest_factor: float = 12.0
    """A value this many times beyond the recent ones never passes at once, however wild the history."""
    least_step: float = 1.6
    """A step by this factor always passes, however small the zone's own steps."""
    step_margin: float = 1.25
    """How much larger than the largest step of the remembered history a step may be."""
    unsettled_factor: float = 4.0
    """The least factor while the zone has said too little to be known."""
    settled_after: int = 12
    persist_periods: int = 3
    """A jump that lasts this many intervals is a new level. 0: jumps are not looked for."""

    def __post_init__(self) -> None:
        if not 0.0 < self.lowest_g_per_kwh < self.highest_g_per_kwh:
            raise InvalidInput("lowest_g_per_kwh must be above 0 and below highest_g_per_kwh")
        if not 1.0 < self.least_factor <= self.largest_factor:
            raise InvalidInput("least_factor must be above 1 and at most largest_factor")
        if not self.least_step > 1.0 or not self.step_margin >= 1.0:
            raise InvalidInput("least_step must be above 1, and step_margin 1 or more")
        if self.persist_periods < 0 or self.settled_after < 0:
            raise InvalidInput("persist_periods and settled_after must be 0 or more")

    def compressed(self, speed: float) -> "GateLimits":
        """The limits of a replay that tells time `speed` times as fast."""
        return replace(self, recent=self.recent / speed, history=self.history / speed)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gate's answer for one reading."""

    verdict: Verdict
    explanation: str
    released: tuple[Reading, ...] = ()
    """Readings held back before, which this one shows to be a new level."""
    dropped: tuple[Reading, ...] = ()
    """Readings held back before, which this one shows to have been a glitch."""

    @property
    def accepted(self) -> bool:
        """True when the reading passes."""
        return self.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True)
class _Distance:
    """How far a value is from its neighbours, as logarithms of ratios."""

    excess: float = 0.0
    """Beyond the highest or below the lowest of the recent values; 0 between them."""
    bound: float = 0.0
    """The recent value that it passes."""
    step: float = 0.0
    """From the interval before, where there is one just before."""
    before: float = 0.0


_STEP_REACH = 3
"""A value this many intervals ago is still the one before: providers leave gaps."""
_SMALL = math.log(1.15)
"""Smaller steps teach nothing that `least_step` does not allow."""

PASSES = Judgement(Verdict.ACCEPTED, "")


def judge_alone(reading: Reading, now: datetime, limits: GateLimits) -> Judgement:
    """The part of the judgement that needs no history: the value, the interval and the clock."""
    value = reading.intensity_g_per_kwh
    if not math.isfinite(value):
        return Judgement(Verdict.NOT_FINITE, "the value is not a finite number")
    if value == 0:
        return Judgement(Verdict.ZERO, "0 g/kWh: a provider's way of saying nothing; missing is never zero")
    if not limits.lowest_g_per_kwh <= value <= limits.highest_g_per_kwh:
        return Judgement(
            Verdict.OUT_OF_BOUNDS,
            f"{value:g} g/kWh is outside {limits.lowest_g_per_kwh:g} to {limits.highest_g_per_kwh:g}: "
            f"is the unit g/kWh?",
        )
    return _judge_times(reading, now, limits)


def _judge_times(reading: Reading, now: datetime, limits: GateLimits) -> Judgement:
    length = reading.valid_to - reading.valid_from
    if length <= timedelta(0):
        return Judgement(Verdict.BAD_INTERVAL, "its interval ends at or before its beginning")
    if length > limits.longest_interval:
        return Judgement(
            Verdict.BAD_INTERVAL, f"an interval of {length} is longer than {limits.longest_interval}, the longest taken"
        )
    ahead = limits.forecast_horizon if reading.kind is ReadingKind.FORECAST else limits.clock_skew
    # Added to now, never taken from what was said: that may lie at an end of the calendar.
    if reading.valid_from > now + ahead or reading.published_at > now + limits.clock_skew:
        early = max(reading.valid_from, reading.published_at) - now
        return Judgement(
            Verdict.FROM_FUTURE, f"{early} ahead of our clock ({reading.kind.value}): is the publisher's clock right?"
        )
    if reading.valid_from < now - limits.oldest:
        return Judgement(Verdict.TOO_OLD, f"begins more than {limits.oldest} ago: older than what is kept")
    return PASSES


class Gate:
    """The gate of one zone and signal: remembers what passed, and what it holds back."""

    def __init__(self, limits: GateLimits) -> None:
        self.limits = limits
        self._times: list[float] = []
        self._values: dict[float, float] = {}
        self._forecasts: set[float] = set()
        """Moments of which nothing but a forecast has passed."""
        self._excesses: dict[float, float] = {}
        """Logarithm of how far an accepted value went beyond the recent ones, where it did."""
        self._steps: dict[float, float] = {}
        """Logarithm of an accepted step, where it was not small."""
        self._held: list[Reading] = []

    def judge(self, reading: Reading, now: datetime) -> Judgement:
        """Whether the reading passes; what passes is remembered, what jumps is held back."""
        judgement = judge_alone(reading, now, self.limits)
        if not judgement.accepted:
            return judgement
        distance = self._distance(reading)
        why = self._objection(reading, distance)
        if why:
            return self._hold(reading, why)
        dropped = self._drop_passed(reading)
        self._remember(reading, distance)
        return Judgement(Verdict.ACCEPTED, "", dropped=dropped) if dropped else PASSES

    def remember(self, reading: Reading) -> None:
        """Takes a reading that passed before: from the store, in order of time."""
        self._remember(reading, self._distance(reading))

    def hold(self, reading: Reading) -> None:
        """Takes a reading that was held back before: from the store, in order of time."""
        self._held.append(reading)

    def _distance(self, reading: Reading) -> _Distance:
        moment, reach = reading.valid_from.timestamp(), self.limits.recent.total_seconds()
        first, last = bisect_left(self._times, moment - reach), bisect_right(self._times, moment + reach)
        near = [self._values[each] for each in self._times[first:last] if each != moment]
        if not near:
            # Silent for long: anything the remembered history holds is no jump.
            near = [value for each, value in self._values.items() if each != moment]
        if not near:
            return _Distance()
        value, low, high = reading.intensity_g_per_kwh, min(near), max(near)
        excess, bound = (value / high, high) if value > high else (low / value, low)
        step, before = self._step(reading, moment)
        return _Distance(max(math.log(excess), 0.0), bound, step, before)

    def _step(self, reading: Reading, moment: float) -> tuple[float, float]:
        position = bisect_left(self._times, moment) - 1
        length = (reading.valid_to - reading.valid_from).total_seconds()
        if position < 0 or moment - self._times[position] > _STEP_REACH * length:
            return 0.0, 0.0
        before = self._values[self._times[position]]
        return abs(math.log(reading.intensity_g_per_kwh / before)), before

    def _objection(self, reading: Reading, distance: _Distance) -> str:
        """Why the value is a jump, in a sentence; nothing when it is none."""
        limits, value = self.limits, reading.intensity_g_per_kwh
        if not limits.persist_periods or distance.excess <= 0.0:
            return ""
        lasting = f", or {limits.persist_periods} intervals of it"
        side = "above" if value > distance.bound else "below"
        farthest = self._limit(limits.least_factor, 2.0 * max(self._excesses.values(), default=0.0))
        if distance.excess > math.log(farthest):
            return (
                f"{value:g} g/kWh is {math.exp(distance.excess):.1f} times {side} anything within "
                f"{_span(limits.recent)} of it ({distance.bound:g}); the zone's history makes {farthest:.1f} times "
                f"believable{lasting}"
            )
        largest = self._limit(limits.least_step, max(self._steps.values(), default=0.0) + math.log(limits.step_margin))
        if distance.step > math.log(largest):
            return (
                f"{value:g} g/kWh is {side} anything within {_span(limits.recent)} of it ({distance.bound:g}) by one "
                f"step from {distance.before:g}; the zone's history makes a step by {largest:.1f} times "
                f"believable{lasting}"
            )
        return ""

    def _limit(self, least: float, learnt: float) -> float:
        """The ratio that is believed: what history teaches (a logarithm), but within the limits."""
        if len(self._times) < self.limits.settled_after:
            least = max(least, self.limits.unsettled_factor)
        return min(max(least, math.exp(learnt)), self.limits.largest_factor)

    def _hold(self, reading: Reading, why: str) -> Judgement:
        agreeing, others = self._agreeing(reading)
        run = [*agreeing, reading]
        if len({each.valid_from for each in run}) >= self.limits.persist_periods:
            self._held = []
            for each in held_in_order(run):
                self._remember(each, self._distance(each))
            return Judgement(Verdict.ACCEPTED, "", released=tuple(agreeing), dropped=tuple(others))
        self._held = run
        return Judgement(Verdict.JUMP, why, dropped=tuple(others))

    def _agreeing(self, reading: Reading) -> tuple[list[Reading], list[Reading]]:
        """Held readings of other intervals near the new one in value and time, and those that are not.

        A provider that is asked again repeats its glitches alone, without the normal values between them: those are
        looked for, so that several glitches are not taken for one that lasts.
        """
        agreeing: list[Reading] = []
        others: list[Reading] = []
        value, reach = reading.intensity_g_per_kwh, self.limits.recent
        for held in self._held:
            if held.key == reading.key:
                continue
            near = abs(math.log(held.intensity_g_per_kwh / value)) <= math.log(self.limits.least_factor)
            soon = abs(held.valid_from - reading.valid_from) <= reach
            (agreeing if near and soon and not self._interrupted(held, reading) else others).append(held)
        return agreeing, others

    def _interrupted(self, held: Reading, reading: Reading) -> bool:
        """True when a value passed between the two, of a time that nothing held back speaks for."""
        first, last = sorted((held.valid_from.timestamp(), reading.valid_from.timestamp()))
        between = self._times[bisect_right(self._times, first) : bisect_left(self._times, last)]
        if held.kind is not ReadingKind.FORECAST:
            between = [moment for moment in between if moment not in self._forecasts]
        run = [(each.valid_from.timestamp(), each.valid_to.timestamp()) for each in (*self._held, reading)]
        return any(not any(begin <= moment < end for begin, end in run) for moment in between)

    def _drop_passed(self, reading: Reading) -> tuple[Reading, ...]:
        """A normal value after held ones ends their run: they did not last. What is forecast ends only a forecast's."""
        if not self._held:
            return ()
        measured = reading.kind is not ReadingKind.FORECAST
        dropped = tuple(
            held
            for held in self._held
            if held.valid_from <= reading.valid_from and (measured or held.kind is ReadingKind.FORECAST)
        )
        if dropped:
            self._held = [held for held in self._held if held not in dropped]
        return dropped

    def _remember(self, reading: Reading, distance: _Distance) -> None:
        moment = reading.valid_from.timestamp()
        if moment not in self._values:
            if self._times and moment < self._times[-1]:
                insort(self._times, moment)
            else:
                self._times.append(moment)
            if reading.kind is ReadingKind.FORECAST:
                self._forecasts.add(moment)
        elif reading.kind is not ReadingKind.FORECAST:
            self._forecasts.discard(moment)
        self._values[moment] = reading.intensity_g_per_kwh
        if len(self._times) >= self.limits.settled_after:
            if distance.excess > 0.0:
                self._excesses[moment] = distance.excess
            if distance.step > _SMALL:
                self._steps[moment] = distance.step
        self._forget(self._times[-1] - self.limits.history.total_seconds())

    def _forget(self, oldest: float) -> None:
        expired = bisect_left(self._times, oldest)
        if expired:
            for moment in self._times[:expired]:
                del self._values[moment]
                self._forecasts.discard(moment)
                self._excesses.pop(moment, None)
                self._steps.pop(moment, None)
            del self._times[:expired]


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One row of a trace that the gate does not let through."""

    valid_from: datetime
    value: float | None
    reason: str
    explanation: str


@dataclass(frozen=True, slots=True)
class TraceJudgement:
    """What the gate makes of a trace."""

    accepted: int
    quarantined: tuple[HeldBack, ...]


def judge_trace(
    rows: Sequence[tuple[datetime, float | None]], interval: timedelta, limits: GateLimits
) -> TraceJudgement:
    """What would be held back of a trace that is told row by row, each at the end of its interval."""
    gate = Gate(limits)
    held: dict[datetime, HeldBack] = {}
    for begin, value in rows:
        if value is None:
            held[begin] = HeldBack(begin, None, "blank", "the cell is empty: missing is not a value")
            continue
        reading = Reading("-", begin, begin + interval, value, ReadingKind.ACTUAL, Signal.AVERAGE, "trace", begin)
        judgement = gate.judge(reading, begin + interval)
        for released in judgement.released:
            held.pop(released.valid_from, None)
        if not judgement.accepted:
            held[begin] = HeldBack(begin, value, judgement.verdict.value, judgement.explanation)
    return TraceJudgement(len(rows) - len(held), tuple(held[begin] for begin in sorted(held)))


def held_in_order(readings: Sequence[Reading]) -> list[Reading]:
    """Readings in order of time, as a gate takes them."""
    return sorted(readings, key=lambda reading: (reading.valid_from, reading.published_at))


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:g} h" if hours >= 1 else f"{span.total_seconds():g} s"
