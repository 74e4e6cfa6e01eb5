"""What edge publishers say on the bus: taken in a persistent session, acknowledged once stored or in quarantine."""

import time
from collections.abc import Callable
from datetime import datetime

from carbon_service.intake import Intake
from carbon_service.observations import parse_observation
from carbon_service.rules import Rules
from tradewind import topics
from tradewind.bus import Bus

LONGEST_LINGER_S = 0.02


async def take_observations(bus: Bus, intake: Intake, rules: Rules, clock: Callable[[], datetime]) -> None:
    """Takes observations until cancelled; no message stops it."""
    expected, within_s = 1, 0.0
    while True:
        # As many as last time share the next transaction: under load they grow, not their number.
        messages = await bus.messages(expected=expected, within_s=within_s)
        began, now = time.monotonic(), clock()
        claims = [
            parse_observation(
                message.topic, message.payload, message.retained, now, rules.validity(topics.level(message.topic, 4))
            )
            for message in messages
        ]
        await intake.take(claims)
        bus.done(messages)
        expected, within_s = len(messages), min(LONGEST_LINGER_S, time.monotonic() - began)
