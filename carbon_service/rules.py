"""What holds for a zone: its gate, its signal, its sources, and who may speak for it. From the zones file, if any."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tradewind.errors import InvalidInput, StartupError
from tradewind.plausibility import GateLimits
from tradewind.readings import ZONE_PATTERN, Signal
from tradewind.settings import Duration

Name = Annotated[str, StringConstraints(pattern=f"^{ZONE_PATTERN.pattern}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GateEntry(_Strict):
    """What of the gate a zone sets for itself; the rest is as everywhere."""

    lowest_g_per_kwh: float | None = None
    highest_g_per_kwh: float | None = None
    clock_skew: Duration | None = None
    forecast_horizon: Duration | None = None
    longest_interval: Duration | None = None
    oldest: Duration | None = None
    recent: Duration | None = None
    history: Duration | None = None
    least_factor: float | None = None
    largest_factor: float | None = None
    least_step: float | None = None
    step_margin: float | None = None
    unsettled_factor: float | None = None
    settled_after: int | None = None
    persist_periods: int | None = None

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        self.applied_to(GateLimits())
        return self

    def applied_to(self, limits: GateLimits) -> GateLimits:
        """The limits, with what the zone sets for itself; InvalidInput when they make no sense together."""
        own = {name: value for name, value in self.model_dump().items() if value is not None}
        try:
            return replace(limits, **own)
        except InvalidInput as error:
            raise ValueError(str(error)) from error


class SourceEntry(_Strict):
    """One source of a zone: the provider, and what the provider calls the zone."""

    provider: Literal["neso", "electricity_maps", "watttime"]
    area: str | None = None
    """NESO: the region's number (1 to 17), absent for national. Others: the provider's name of the zone."""
    forecast: bool = True
    url: str | None = None
    """Where the provider answers, when that is not its public address."""


class ZoneEntry(_Strict):
    """One zone of the zones file."""

    signal: Signal = Signal.AVERAGE
    sources: tuple[SourceEntry, ...] = ()
    gate: GateEntry = GateEntry()
    edge_validity: Duration | None = None


class PublisherEntry(_Strict):
    """One publisher: the zones it may speak for, and the SHA-256 of its token for gRPC."""

    zones: Annotated[tuple[Name, ...], Field(min_length=1)]
    token_sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None


class ZonesFile(_Strict):
    """The zones file, as YAML."""

    zones: dict[Name, ZoneEntry] = {}
    publishers: dict[Name, PublisherEntry] = {}


@dataclass(frozen=True)
class Rules:
    """What holds for every zone, asked by name."""

    limits: GateLimits = field(default_factory=GateLimits)
    edge_validity: timedelta = timedelta(hours=1)
    grace: timedelta = timedelta(minutes=10)
    max_zones: int = 2_000
    file: ZonesFile = field(default_factory=ZonesFile)
    replay_zone: str | None = None
    replay_speed: float = 1.0

    def gate_limits(self, zone: str) -> GateLimits:
        """The gate of a zone; in a replayed zone time is as compressed as its trace."""
        entry = self.file.zones.get(zone)
        limits = self.limits
        if entry is not None:
            limits = entry.gate.applied_to(limits)
        return limits.compressed(self.replay_speed) if zone == self.replay_zone else limits

    def signal(self, zone: str) -> Signal:
        """The signal that the zone announces; the other is kept beside it."""
        entry = self.file.zones.get(zone)
        return Signal.AVERAGE if entry is None else entry.signal

    def validity(self, zone: str) -> timedelta:
        """How long a bare number of an edge publisher holds, unless another one comes."""
        entry = self.file.zones.get(zone)
        return self.edge_validity if entry is None or entry.edge_validity is None else entry.edge_validity

    def may_publish(self, publisher: str, zone: str) -> bool:
        """True when the publisher may speak for the zone; without a list of publishers the broker's ACL decides."""
        if not self.file.publishers:
            return True
        entry = self.file.publishers.get(publisher)
        return entry is not None and zone in entry.zones


def read_zones_file(path: Path) -> ZonesFile:
    """The zones file; StartupError names the file, the place in it and what is wrong."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path}: cannot be read; give the path of a YAML file") from error
    except yaml.YAMLError as error:
        raise StartupError(f"{path}: is not YAML; see the example in docs/signal.md") from error
    try:
        return ZonesFile.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StartupError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
