"""Hours in which nothing is degraded, written like `mon-fri 08:00-18:00, 20:00-21:30`; all in UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tradewind.errors import InvalidInput

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class OptOutWindow:
    """From one minute of the day to another (half-open, over midnight if it ends before it begins) on some weekdays."""

    weekdays: frozenset[int]
    """The days on which the window begins; Monday is 0."""
    begins: int
    ends: int
    text: str

    def holds_at(self, moment: datetime) -> bool:
        """True when the moment is inside."""
        utc = moment.astimezone(UTC)
        minute, weekday = utc.hour * 60 + utc.minute, utc.weekday()
        if self.begins < self.ends:
            return weekday in self.weekdays and self.begins <= minute < self.ends
        yesterday = (weekday - 1) % 7
        return (weekday in self.weekdays and minute >= self.begins) or (
            yesterday in self.weekdays and minute < self.ends
        )


def parse_windows(text: str) -> tuple[OptOutWindow, ...]:
    """The windows of a list separated by commas or semicolons; InvalidInput shows how to write them."""
    return tuple(_parse(part.strip().lower()) for part in re.split("[,;]", text) if part.strip())


def _parse(part: str) -> OptOutWindow:
    match = _WINDOW.fullmatch(part)
    wrong = InvalidInput(f"opt-out window {part[:40]!r} is not understood: write it like 'mon-fri 08:00-18:00'")
    if not match or any(day not in _DAYS for day in (match[1], match[2]) if day):
        raise wrong
    begins, ends = (int(match[i]) * 60 + int(match[i + 1]) for i in (3, 5))
    if begins >= 1440 or ends > 1440 or int(match[4]) > 59 or int(match[6]) > 59 or begins == ends:
        raise wrong
    first = _DAYS.index(match[1]) if match[1] else 0
    last = _DAYS.index(match[2]) if match[2] else (first if match[1] else 6)
    days = frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
    return OptOutWindow(days, begins, ends, part)
