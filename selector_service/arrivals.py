"""What the bus brings: messages to readings; what is no reading is counted and never stops anything."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from tradewind import readings, topics
from tradewind.bus import Message
from tradewind.errors import InvalidInput
from tradewind.logs import get_logger
from tradewind.readings import Reading

log = get_logger(__name__)

LONGEST_INTERVAL = timedelta(days=31)
LONGEST_SOURCE = 256
MOST_REVISIONS = 2**31 - 1
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MOST_TOPICS_LOGGED = 1_000


def subscriptions(zones: Iterable[str]) -> tuple[str, ...]:
    """The topics that bring the readings of these zones; of every zone where none is named."""
    named = tuple(
        topic for zone in zones for topic in (topics.intensity(zone), topics.revisions(zone), topics.forecast(zone))
    )
    return named or (topics.INTENSITIES, topics.REVISIONS, topics.FORECASTS)


class Arrivals:
    """Reads messages; logs the first bad one of each topic, without its payload."""

    def __init__(self, count_refused: Callable[[], None]) -> None:
        self._count_refused = count_refused
        self._logged: set[str] = set()

    def readings(self, messages: Iterable[Message]) -> list[Reading]:
        """The readings in these messages, in order of arrival."""
        arrived: list[Reading] = []
        for message in messages:
            try:
                arrived += parse(message.topic, message.payload)
            except (InvalidInput, ValueError, ArithmeticError, RecursionError) as error:
                self._refuse(message.topic, error)
        return arrived

    def _refuse(self, topic: str, error: Exception) -> None:
        self._count_refused()
        if topic in self._logged or len(self._logged) >= MOST_TOPICS_LOGGED:
            return
        self._logged.add(topic)
        why = str(error) if isinstance(error, InvalidInput) else "it is not a reading"
        log.warning("a message was refused; later ones of this topic are only counted", topic=topic, why=why)


def parse(topic: str, payload: bytes) -> list[Reading]:
    """The readings of one message; InvalidInput says what is wrong."""
    if not payload:
        return []  # A retained message that was taken back.
    zone = topics.level(topic, 3)
    if topic.endswith("/forecast"):
        items = json.loads(payload)
        if not isinstance(items, list):
            raise InvalidInput("the payload is not a list of readings")
        return [_of_zone(readings.from_mapping(item), zone) for item in items]
    return [_of_zone(readings.from_json(payload), zone)]


def _of_zone(reading: Reading, zone: str) -> Reading:
    if reading.zone != zone:
        raise InvalidInput("the reading is of another zone than its topic")
    return check_reading(reading)


def check_reading(reading: Reading) -> Reading:
    """The reading itself; InvalidInput when it is one that cannot be kept or reckoned with."""
    if not EARLIEST <= reading.valid_from < reading.valid_to <= LATEST:
        raise InvalidInput("valid_from must come before valid_to, both between 1990 and 2200")
    if len(reading.source) > LONGEST_SOURCE or not reading.source.isprintable():
        # No database stores every text: one odd name must not keep the rest from being stored.
        raise InvalidInput(f"source is not a name of at most {LONGEST_SOURCE} printable characters")
    if reading.revision > MOST_REVISIONS:
        raise InvalidInput("revision is not a plausible count")
    if reading.valid_to - reading.valid_from > LONGEST_INTERVAL:
        raise InvalidInput("the interval is longer than 31 days")
    return reading
