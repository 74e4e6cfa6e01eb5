"""The carbon service's settings, read once in `__main__` from TRADEWIND_… variables."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator

from carbon_service.rules import Rules, ZonesFile, read_zones_file
from carbon_service.sources.registry import Keys
from tradewind.plausibility import GateLimits
from tradewind.readings import ZONE_PATTERN
from tradewind.settings import CommonSettings, Duration, Listen

_GATE = GateLimits()


class CarbonSettings(CommonSettings):
    """What the carbon service needs to know."""

    carbon_listen: Listen = "127.0.0.1:9101"
    """host:port of the gRPC server; port 0 takes a free one."""
    carbon_metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of the Prometheus endpoint on `carbon_metrics_host`; 0 takes a free one; absent: none."""
    carbon_metrics_host: str = "127.0.0.1"
    carbon_client_id: str = "carbon-service"
    """Names the service's session at the broker: keep it, or what was said while it was away is lost."""

    carbon_zones_file: Path | None = None
    """YAML with the zones, their sources and gates, and the publishers that may speak for them."""
    carbon_max_zones: Annotated[int, Field(ge=1)] = 2_000
    carbon_edge_validity: Duration = timedelta(hours=1)
    """How long a bare number of an edge publisher holds, unless another one comes."""
    carbon_grace: Duration = timedelta(minutes=10)
    """How long after its interval a retained reading stays on the broker."""
    carbon_retention: Duration = timedelta(days=400)
    carbon_quarantine_rows: Annotated[int, Field(ge=1)] = 100_000

    carbon_backfill: Duration = timedelta(days=7)
    """History that is asked of the providers at first start, and at most after a gap."""
    carbon_electricity_maps_key: SecretStr | None = None
    carbon_watttime_user: str | None = None
    carbon_watttime_password: SecretStr | None = None

    carbon_lowest_g_per_kwh: float = _GATE.lowest_g_per_kwh
    carbon_highest_g_per_kwh: float = _GATE.highest_g_per_kwh
    carbon_clock_skew: Duration = _GATE.clock_skew
    carbon_persist_periods: Annotated[int, Field(ge=0)] = _GATE.persist_periods

    carbon_replay_file: Path | None = None
    """A CSV of intensities to replay; absent: no replay."""
    carbon_replay_zone: str = "DEMO"
    carbon_replay_speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Trace time per real time: at 1440 a half-hour lasts 1.25 s."""
    carbon_replay_backfill: Duration = timedelta(hours=24)
    """How much trace time lies before the start: history, so that the window is full at once."""
    carbon_replay_time_column: str | None = None
    carbon_replay_value_column: str | None = None

    @field_validator("carbon_replay_zone")
    @classmethod
    def _is_zone(cls, value: Any) -> Any:
        if not ZONE_PATTERN.fullmatch(value):
            raise ValueError("use 1 to 64 letters, digits, '_', '.' or '-'")
        return value

    def keys(self) -> Keys:
        """What the providers want to be shown."""
        return Keys(
            _revealed(self.carbon_electricity_maps_key),
            self.carbon_watttime_user,
            _revealed(self.carbon_watttime_password),
        )

    def rules(self) -> Rules:
        """What holds for every zone; StartupError where the zones file is wrong."""
        file = read_zones_file(self.carbon_zones_file) if self.carbon_zones_file else ZonesFile()
        return Rules(
            limits=GateLimits(
                lowest_g_per_kwh=self.carbon_lowest_g_per_kwh,
                highest_g_per_kwh=self.carbon_highest_g_per_kwh,
                clock_skew=self.carbon_clock_skew,
                oldest=self.carbon_retention,
                persist_periods=self.carbon_persist_periods,
            ),
            edge_validity=self.carbon_edge_validity,
            grace=self.carbon_grace,
            max_zones=self.carbon_max_zones,
            file=file,
            replay_zone=self.carbon_replay_zone if self.carbon_replay_file else None,
            replay_speed=self.carbon_replay_speed,
        )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
