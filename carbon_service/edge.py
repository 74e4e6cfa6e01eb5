"""What edge publishers say on the bus: taken in a persistent session, acknowledged once stored or in quarantine."""

from collections.abc import Callable
from datetime import datetime

from carbon_service.intake import Intake
from carbon_service.observations import parse_observation
from carbon_service.rules import Rules
from tradewind import topics
from tradewind.bus import Bus


async def take_observations(bus: Bus, intake: Intake, rules: Rules, clock: Callable[[], datetime]) -> None:
    """Takes observations until cancelled; no message stops it."""
    while True:
        messages = await bus.messages()
        now = clock()
        claims = [
            parse_observation(
                message.topic, message.payload, message.retained, now, rules.validity(topics.level(message.topic, 4))
            )
            for message in messages
        ]
        await intake.take(claims)
        bus.done(messages)
