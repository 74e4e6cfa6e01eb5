"""Reads the ledger: energy times the newest intensity of its interval, computed when asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    Engine,
    FromClause,
    RowMapping,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from inference_proxy.store import intensities, ledger, unattributed
from inference_proxy.targets import CALIBRATED
from tradewind.database import from_microseconds, microseconds, reading
from tradewind.errors import InvalidInput
from tradewind.readings import format_time
from tradewind.units import UJ_PER_KWH

GROUPS = ("minute", "hour", "day", "family", "variant", "zone", "tenant")
_HOUR_US = 3_600_000_000
_SUMMED = ("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj", "calibrated_uj")
_PERIODS_US = {"minute": 60_000_000, "hour": _HOUR_US, "day": 24 * _HOUR_US}


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue says of a variant."""

    error: float | None = None
    """None outside families."""
    energy_provenance: str | None = None
    error_metric: str = ""
    """What the error is an error of: figures of different metrics have no mean."""


KnownOf = Callable[[str, str], Known | None]
"""What the catalogue says of (family, variant), where it says anything."""


@dataclass
class Sums:
    """What a set of inferences adds up to; grams are of the priced ones alone."""

    inferences: int = 0
    energy_uj: int = 0
    unpriced_energy_uj: int = 0
    calibrated_energy_uj: int = 0
    priced_inferences: int = 0
    emissions_g: float = 0.0
    smallest_g: float = 0.0
    largest_g: float = 0.0
    as_decided_g: float = 0.0
    """What they would have emitted on the variants that were decided for them."""
    restated_inferences: int = 0
    errors: float = 0.0
    with_error: int = 0
    decided_errors: float = 0.0
    with_decided_error: int = 0
    deviating_inferences: int = 0
    """Those that another variant served than was decided."""
    device_hours: float = 0.0
    """The part of the device's reserved time that falls to them, where it was asked for."""
    energy_provenances: frozenset[str] = frozenset()
    error_metrics: frozenset[str] = frozenset()

    def add(self, other: "Sums") -> None:
        """Adds another set."""
        for name in self.__dataclass_fields__:
            mine, others = getattr(self, name), getattr(other, name)
            setattr(self, name, mine | others if isinstance(mine, frozenset) else mine + others)

    @property
    def mean_error(self) -> float | None:
        """Request-weighted; None when no inference was a family's, or when families differ in what they count."""
        return self.errors / self.with_error if self.with_error and len(self.error_metrics) == 1 else None

    @property
    def decided_error(self) -> float | None:
        """The mean error that the decided variants would have had; None where the catalogue lacks one of them."""
        known = self.with_decided_error == self.with_error and self.mean_error is not None
        return self.decided_errors / self.with_decided_error if known else None


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of the ledger; absent ends are open."""

    begins: datetime | None = None
    ends: datetime | None = None
    family: str = ""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The time for which the device was there for inference, busy or idle; half-open."""

    begins: datetime
    ends: datetime

    @property
    def hours(self) -> float:
        """Its length."""
        return (microseconds(self.ends) - microseconds(self.begins)) / _HOUR_US


@dataclass
class Report:
    """Rows by group, and everything together."""

    rows: dict[tuple[str, ...], Sums] = field(default_factory=dict)
    total: Sums = field(default_factory=Sums)
    idle_hours: float = 0.0
    """The part of the reserved time in hours in which nothing was served; it is in no row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger, priced."""

    bucket_from: datetime
    family: str
    variant: str
    zone: str
    tenant: str
    inferences: int
    energy_uj: int
    intensity_g_per_kwh: float | None
    calibrated_energy_uj: int = 0


def check_groups(groups: Sequence[str]) -> tuple[str, ...]:
    """The groups; InvalidInput names one that does not exist."""
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise InvalidInput(f"group_by {unknown[0][:40]!r} is unknown: use any of {', '.join(GROUPS)}")
    return tuple(groups)


def read_report(
    engine: Engine, span: Span, groups: Sequence[str], known_of: KnownOf, reserved: Reserved | None = None
) -> Report:
    """The sums of a span, grouped; rows in the order of their groups.

    Where a time is reserved, each hour of it is divided among what was served in that hour in proportion to energy, so
    that a row has the same hours whatever else is asked for.
    """
    report = Report()
    # The variants are always told apart, because errors are the catalogue's.
    names = tuple(dict.fromkeys((*check_groups(groups), "family", "variant", "decided")))
    with reading(engine) as connection:
        for found in connection.execute(_sums_query(span, names, reserved)).mappings():
            served, decided = (known_of(found["family"], found[name]) or Known() for name in ("variant", "decided"))
            sums = _sums_of(found, served, decided)
            group = tuple(_group_text(name, found[name]) for name in groups)
            report.rows.setdefault(group, Sums()).add(sums)
            report.total.add(sums)
        if reserved is not None:
            report.idle_hours = reserved.hours - _busy_hours(connection, span, reserved)
    report.rows = dict(sorted(report.rows.items()))
    return report


def reserved_within(engine: Engine, span: Span, now: datetime) -> Reserved | None:
    """The part of a span from the ledger's first record to now; None where there is none."""
    firsts = (
        select(func.min(table.c[name])) for table, name in ((ledger, "bucket_from"), (unattributed, "second_from"))
    )
    with reading(engine) as connection:
        found = [first for query in firsts if (first := connection.execute(query).scalar_one()) is not None]
    if not found:
        return None
    begins = max(min(found), span.begins or min(found))
    ends = min(now, span.ends or now)
    return Reserved(begins, ends) if begins < ends else None


def read_rows(engine: Engine, span: Span, at_most: int, offset: int) -> list[Row]:
    """The ledger's rows, oldest first."""
    priced = _priced()
    query = (
        select(priced)
        .where(*_within(priced, span))
        .order_by(*(priced.c[name] for name in ("moment", "zone", "family", "variant", "decided", "tenant")))
        .limit(at_most)
        .offset(offset)
    )
    with reading(engine) as connection:
        return [
            Row(
                from_microseconds(found["moment"]),
                found["family"],
                found["variant"],
                found["zone"],
                found["tenant"],
                found["inferences"],
                found["energy_uj"],
                found["intensity"],
                found["calibrated_uj"],
            )
            for found in connection.execute(query).mappings()
        ]


def _priced() -> FromClause:
    """Every row with the intensity of its interval; null where none is known."""
    by_interval = select(
        type_coerce(ledger.c.bucket_from, BigInteger).label("moment"),
        *(ledger.c[name] for name in ("family", "variant", "decided", "zone", "tenant")),
        *(ledger.c[name] for name in _SUMMED),
        intensities.c.intensity_g_per_kwh.label("intensity"),
        intensities.c.charged_g_per_kwh.label("charged"),
    ).outerjoin_from(
        ledger,
        intensities,
        and_(intensities.c.zone == ledger.c.zone, intensities.c.valid_from == ledger.c.interval_from),
    )
    # Of intervals that overlap the one that began last holds, as it does when a request is charged.
    holding = (
        select(intensities.c.intensity_g_per_kwh)
        .where(
            intensities.c.zone == unattributed.c.zone,
            intensities.c.valid_from <= unattributed.c.second_from,
            intensities.c.valid_to > unattributed.c.second_from,
        )
        .order_by(intensities.c.valid_from.desc())
        .limit(1)
        .scalar_subquery()
    )
    by_second = select(
        type_coerce(unattributed.c.second_from, BigInteger).label("moment"),
        *(unattributed.c[name] for name in ("family", "variant", "decided", "zone", "tenant")),
        *(unattributed.c[name] for name in _SUMMED),
        holding.label("intensity"),
        # Nothing was said when it was served, so nothing is restated.
        cast(null(), intensities.c.charged_g_per_kwh.type).label("charged"),
    )
    return union_all(by_interval, by_second).cte("priced")


def _within(priced: FromClause, span: Span) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if span.begins is not None:
        conditions.append(priced.c.moment >= microseconds(span.begins))
    if span.ends is not None:
        conditions.append(priced.c.moment < microseconds(span.ends))
    if span.family:
        conditions.append(priced.c.family == span.family)
    return conditions


def _sums_query(span: Span, names: Sequence[str], reserved: Reserved | None) -> Any:
    priced = _priced() if reserved is None else _beside_its_hour(span)
    columns = priced.c
    grouping = [
        (_period(columns.moment, _PERIODS_US[name]) if name in _PERIODS_US else columns[name]).label(name)
        for name in names
    ]
    known = columns.intensity.is_not(None)

    def grams(energy: ColumnElement[int]) -> ColumnElement[Any]:
        return func.sum(columns.intensity * energy) / float(UJ_PER_KWH)

    restated = and_(columns.charged.is_not(None), columns.charged != columns.intensity)
    return (
        select(
            *grouping,
            _whole(func.sum(columns.inferences)).label("inferences"),
            _whole(func.sum(columns.energy_uj)).label("energy_uj"),
            _whole(func.sum(case((known, 0), else_=columns.energy_uj))).label("unpriced_energy_uj"),
            _whole(func.sum(columns.calibrated_uj)).label("calibrated_energy_uj"),
            _whole(func.sum(case((known, columns.inferences), else_=0))).label("priced_inferences"),
            grams(columns.energy_uj).label("emissions_g"),
            grams(columns.smallest_uj).label("smallest_g"),
            grams(columns.largest_uj).label("largest_g"),
            grams(columns.decided_uj).label("as_decided_g"),
            _whole(func.sum(case((restated, columns.inferences), else_=0))).label("restated_inferences"),
            (literal(0.0) if reserved is None else _device_hours(columns, reserved)).label("device_hours"),
        )
        .where(*_within(priced, span))
        .group_by(*grouping)
    )


def _period(moment: ColumnElement[int], length_us: int) -> ColumnElement[int]:
    return moment - moment % literal(length_us, BigInteger)


def _beside_its_hour(span: Span) -> FromClause:
    """Every row of a span beside the energy of its whole hour, all families together."""
    priced = _priced()
    hour = _period(priced.c.moment, _HOUR_US)
    of_the_hour = func.sum(priced.c.energy_uj).over(partition_by=hour).label("hour_energy_uj")
    return select(priced, of_the_hour).where(*_within(priced, Span(span.begins, span.ends))).subquery("shared")


def _device_hours(columns: Any, reserved: Reserved) -> ColumnElement[Any]:
    hour = _period(columns.moment, _HOUR_US)
    begins, ends = (literal(microseconds(moment), BigInteger) for moment in (reserved.begins, reserved.ends))
    first = case((hour < begins, begins), else_=hour)
    last = case((hour + _HOUR_US > ends, ends), else_=hour + _HOUR_US)
    length = case((last > first, last - first), else_=0)
    share = cast(columns.energy_uj, Double) / func.nullif(cast(columns.hour_energy_uj, Double), 0.0)
    return func.sum(share * length) / float(_HOUR_US)


def _busy_hours(connection: Connection, span: Span, reserved: Reserved) -> float:
    """The part of the reserved time in hours in which anything was served."""
    priced = _priced()
    hour = _period(priced.c.moment, _HOUR_US).label("hour")
    found = select(hour).where(*_within(priced, Span(span.begins, span.ends)), priced.c.energy_uj > 0).distinct()
    begins, ends = microseconds(reserved.begins), microseconds(reserved.ends)
    lengths = (min(first + _HOUR_US, ends) - max(first, begins) for (first,) in connection.execute(found))
    return sum(max(length, 0) for length in lengths) / _HOUR_US


def _whole(total: ColumnElement[Any]) -> ColumnElement[int]:
    # Postgres sums bigint to numeric.
    return cast(total, BigInteger)


def _sums_of(found: RowMapping, known: Known, decided: Known) -> Sums:
    inferences, error = int(found["inferences"]), known.error
    energy, calibrated = int(found["energy_uj"]), int(found["calibrated_energy_uj"])
    provenances = {CALIBRATED} if calibrated else set()
    if known.energy_provenance and (calibrated < energy or not calibrated):
        provenances.add(known.energy_provenance)
    return Sums(
        inferences=inferences,
        energy_uj=energy,
        calibrated_energy_uj=calibrated,
        unpriced_energy_uj=int(found["unpriced_energy_uj"]),
        priced_inferences=int(found["priced_inferences"]),
        emissions_g=float(found["emissions_g"] or 0.0),
        smallest_g=float(found["smallest_g"] or 0.0),
        largest_g=float(found["largest_g"] or 0.0),
        as_decided_g=float(found["as_decided_g"] or 0.0),
        restated_inferences=int(found["restated_inferences"]),
        errors=error * inferences if error is not None else 0.0,
        with_error=inferences if error is not None else 0,
        decided_errors=decided.error * inferences if decided.error is not None else 0.0,
        with_decided_error=inferences if decided.error is not None else 0,
        deviating_inferences=inferences if found["decided"] != found["variant"] else 0,
        device_hours=float(found["device_hours"] or 0.0),
        energy_provenances=frozenset(provenances),
        error_metrics=frozenset({known.error_metric}) if error is not None else frozenset(),
    )


def _group_text(name: str, value: Any) -> str:
    return format_time(from_microseconds(value)) if name in _PERIODS_US else str(value)
