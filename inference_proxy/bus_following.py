"""Follows decisions from the bus, for proxies that have no path to the selector: `follow: mqtt`."""

from collections.abc import Iterable

from inference_proxy.following import Following
from tradewind import topics
from tradewind.bus import BrokerAddress, Bus, Message
from tradewind.decisions import decision_from_json
from tradewind.errors import InvalidInput
from tradewind.logs import get_logger
from tradewind.readings import from_json

log = get_logger(__name__)


class BusFollowing:
    """Takes retained decisions and readings of one zone into force; without the broker the last ones stand."""

    def __init__(
        self, following: Following, zone: str, families: Iterable[str], broker: BrokerAddress, client_id: str
    ) -> None:
        """`client_id` is this proxy's alone: a broker hangs up on the second of two."""
        self._following, self._broker, self._client_id = following, broker, client_id
        # By name, not by wildcard: not every broker brings retained messages for a filter that ends in one.
        self._decisions = frozenset(topics.decision(zone, family) for family in families)
        self._readings = (topics.intensity(zone), topics.revisions(zone))

    async def follow(self) -> None:
        """Listens for ever, through the broker's absences."""
        bus = Bus(self._broker, self._client_id, subscriptions=(*self._readings, *sorted(self._decisions)))
        bus.start()
        try:
            while True:
                messages = await bus.messages()
                for message in messages:
                    self._take(message)
                self._following.remember()
                bus.done(messages)
        finally:
            await bus.stop()

    def _take(self, message: Message) -> None:
        if not message.payload:
            return  # How a retained message is taken back: what was decided stands.
        try:
            if message.topic in self._decisions:
                self._following.decide(decision_from_json(message.payload))
            else:
                self._following.learn([from_json(message.payload)])
        except InvalidInput as error:
            log.warning("a message on the bus is not understood and left out", topic=message.topic, error=str(error))
