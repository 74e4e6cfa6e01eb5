"""How much a variant may have in flight before the excess spills: a limit that follows its latency.

The limit is on requests in flight, so a spill takes exactly the excess and ends by itself when there is none. Where a
latency is to be kept, the limit shrinks in proportion while the observed p95 is above it and grows by one request at
a time while the limit is what holds it back: additive up, multiplicative down, which settles instead of swinging.
"""

from dataclasses import dataclass, field

_WINDOW = 32
_SHRINK_AT_MOST = 0.5
_HEADROOM = 0.8
"""Below this share of the limit there is room to grow."""
_IDLE_S = 5.0
"""A variant that served nothing for so long is tried afresh."""


@dataclass(slots=True)
class Pressure:
    """One variant's requests in flight, and how many it may have."""

    latency_limit_s: float | None = None
    """The p95 to keep; None: latency does not limit."""
    most: int | None = None
    """The most in flight, whatever the latency; None: no such limit."""
    in_flight: int = 0
    _limit: float | None = field(default=None, init=False)
    _window: list[float] = field(default_factory=list, init=False)
    _held_back: bool = field(default=False, init=False)
    _last_s: float = field(default=0.0, init=False)

    @property
    def limit(self) -> int | None:
        """The most that may be in flight now; None: any number."""
        limits = [each for each in (self.most, None if self._limit is None else int(self._limit)) if each is not None]
        return min(limits) if limits else None

    def has_room(self, now_s: float) -> bool:
        """Whether one more may go to it."""
        if self._limit is None and self.most is None:
            return True
        if self._limit is not None and now_s - self._last_s > _IDLE_S:
            self._limit = None
        limit = self.limit
        if limit is None or self.in_flight < limit:
            return True
        self._held_back = True
        return False

    def finished(self, latency_s: float, now_s: float) -> None:
        """Learns from one request that was answered."""
        if self.latency_limit_s is None:
            return
        self._last_s = now_s
        self._window.append(latency_s)
        if len(self._window) >= _WINDOW:
            self._adapt(self.latency_limit_s)

    def _adapt(self, wanted_s: float) -> None:
        ordered = sorted(self._window)
        self._window.clear()
        p95_s = ordered[int(len(ordered) * 0.95)]
        held_back, self._held_back = self._held_back, False
        if p95_s > wanted_s:
            current = self._limit if self._limit is not None else float(max(self.in_flight, 1))
            self._limit = max(1.0, current * max(wanted_s / p95_s, _SHRINK_AT_MOST))
        elif self._limit is not None and p95_s < wanted_s * _HEADROOM and held_back:
            self._limit += 1.0
