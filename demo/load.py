"""Clients of the demo: an unmodified tritonclient that sends test digits, more by day than by night."""

import asyncio
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton_grpc
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from demo.day import Clock, Tally
from demo.digits import Digits

NIGHTLY_PER_S, DAILY_PER_S = 15.0, 60.0
"""Requests per second at the quietest and at the busiest time of day."""

_IN_FLIGHT = 32
_TIMEOUT_S = 20


def requests_per_s(hour: float) -> float:
    """Smooth, quietest at 03:00 and busiest at 15:00."""
    share = 0.5 - 0.5 * math.cos(2 * math.pi * (hour - 3) / 24)
    return NIGHTLY_PER_S + (DAILY_PER_S - NIGHTLY_PER_S) * share


class Load:
    """Sends one digit per request, every digit of the test part in turn, and tallies the answers."""

    def __init__(self, proxy: str, family: str, digits: Digits, tally: Tally) -> None:
        self._proxy, self._family, self._digits, self._tally = proxy, family, digits, tally
        # In an order of its own: the labels of the test part must not follow the hours.
        order = np.random.default_rng(1).permutation(len(digits))
        self._order: Iterator[int] = cycle(int(number) for number in order)

    async def run(self, clock: Clock, until: datetime) -> None:
        """Sends until a real time, and waits for the answers to what it sent."""
        free = asyncio.Semaphore(_IN_FLIGHT)
        async with triton_grpc.InferenceServerClient(self._proxy) as client, asyncio.TaskGroup() as answers:
            due = datetime.now(UTC)
            while due < until:
                if (wait_s := (due - datetime.now(UTC)).total_seconds()) > 0:
                    await asyncio.sleep(wait_s)
                # A full house slows the clients down: none of them is dropped, and none piles up.
                await free.acquire()
                answers.create_task(self._ask(client, free))
                moment = clock.recorded(datetime.now(UTC))
                due = max(due, datetime.now(UTC) - timedelta(seconds=1))
                due += timedelta(seconds=1 / requests_per_s(moment.hour + moment.minute / 60))

    async def _ask(self, client: triton_grpc.InferenceServerClient, free: asyncio.Semaphore) -> None:
        number = next(self._order)
        pixels = InferInput("pixels", [1, self._digits.pixels.shape[1]], "FP32")
        pixels.set_data_from_numpy(self._digits.pixels[number : number + 1])
        try:
            answer = await client.infer(self._family, [pixels], client_timeout=_TIMEOUT_S)
        except InferenceServerException:
            self._tally.failed += 1
        else:
            self._note(answer, int(self._digits.labels[number]))
        finally:
            free.release()

    def _note(self, answer: Any, label: int) -> None:
        receipt = answer.get_response().parameters
        priced = "carbon_emissions_ng" in receipt
        self._tally.add(
            receipt["carbon_variant"].string_param,
            wrong=int(answer.as_numpy("scores").argmax()) != label,
            energy_uj=receipt["carbon_energy_uj"].int64_param,
            emissions_ng=receipt["carbon_emissions_ng"].int64_param if priced else None,
        )
