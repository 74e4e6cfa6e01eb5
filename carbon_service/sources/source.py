"""What every provider is to the rest of the service, and how it says that it cannot answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tradewind.readings import Reading, Signal


class SourceError(Exception):
    """The provider did not answer with readings; the text is a sentence for people, without keys or payloads."""

    def __init__(self, text: str, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        """How long the provider wants to be left alone, where it says so."""


@dataclass(frozen=True, slots=True)
class SourceTraits:
    """What is particular to a provider."""

    poll_every: timedelta
    """How often it has something new."""
    longest_request: timedelta
    """The longest span of history that one request may ask for."""
    deepest_history: timedelta | None = None
    """How far back its history goes; None: as far as one likes."""


class Source(Protocol):
    """One provider, for one area of its."""

    @property
    def name(self) -> str:
        """What its readings name as their source."""
        ...

    @property
    def signal(self) -> Signal:
        """Average or marginal."""
        ...

    @property
    def traits(self) -> SourceTraits:
        """What is particular to it."""
        ...

    async def history(self, zone: str, start: datetime, end: datetime) -> list[Reading]:
        """The readings of [start, end), at most `longest_request` of them; SourceError when it has none to give."""
        ...

    async def forecast(self, zone: str) -> list[Reading]:
        """The forecast from now on; empty where the provider has none."""
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...
