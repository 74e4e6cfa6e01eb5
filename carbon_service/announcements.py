"""What the bus has to hear: announcements in order, one per topic and entry, the newest taking the older's place."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tradewind import topics
from tradewind.database import microseconds
from tradewind.readings import Reading, to_json, to_mapping


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message that the bus has to hear."""

    id: int
    """Its place in the order; 0 where the store does not keep it (it only repeats what was announced)."""
    topic: str
    entry: str
    """What it is about within its topic: an interval on `…/revisions`, nothing on retained topics."""
    payload: str
    retain: bool
    expires_at: datetime | None

    @property
    def slot(self) -> tuple[str, str]:
        """Where a newer announcement takes this one's place."""
        return self.topic, self.entry

    def numbered(self, number: int) -> "Announcement":
        """The same, with its place in the order."""
        return replace(self, id=number)


def current_announcement(reading: Reading, grace: timedelta) -> Announcement:
    """The current reading of a zone, retained until it and the grace have passed."""
    topic = topics.intensity(reading.zone)
    return Announcement(0, topic, "", to_json(reading), True, reading.valid_to + grace)


def revision_announcement(reading: Reading) -> Announcement:
    """A reading of an interval that is not the current one: restated, or come late."""
    entry = f"{reading.signal.value}/{microseconds(reading.valid_from)}"
    return Announcement(0, topics.revisions(reading.zone), entry, to_json(reading), False, None)


def forecast_announcement(zone: str, readings: list[Reading], grace: timedelta) -> Announcement:
    """The forecast of a zone, retained until its last interval and the grace have passed."""
    payload = json.dumps([to_mapping(reading) for reading in readings], separators=(",", ":"))
    expires_at = max((reading.valid_to for reading in readings), default=None)
    return Announcement(0, topics.forecast(zone), "", payload, True, None if expires_at is None else expires_at + grace)
