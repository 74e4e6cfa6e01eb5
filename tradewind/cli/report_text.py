"""A report as a table, as CSV and as JSON: the same figures in each, and what is not known is never zero."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from tradewind.messages import moment
from tradewind.readings import format_time, parse_time

_UJ_PER_J = 1_000_000
_MASS_UNITS = (("t", 1e-6), ("kg", 1e-3), ("g", 1.0), ("mg", 1e3), ("µg", 1e6), ("ng", 1e9))

_ANY_WIDTH = 1_000

_TIMES = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d"}
_HEADINGS = {name: f"{name}, UTC" for name in _TIMES}

SERVED, TOTAL, IDLE, PROXY, RECONCILED = "served", "total", "idle", "proxy", "reconciled"
"""What a line of the CSV is about."""

_FIGURES = ("inferences", "energy_j", "emissions_g", "mean_error", "always_smallest_g", "always_largest_g")
_DECIDED = ("as_decided_g", "decided_error", "deviating_inferences")
_BESIDE = ("unpriced_energy_j", "calibrated_energy_j", "restated_inferences", "overhead_g", "embodied_g")
_OWN = ("cpu_s", "watts_per_core")
_COMPARED = ("recorded", "executed", "failed_requests", "cached_requests", "restarts")


def row_mapping(row: Any, groups: list[str]) -> dict[str, Any]:
    """One row by name; what is not known is None, never zero."""
    return {
        **dict(zip(groups, row.group, strict=False)),
        "inferences": row.inferences,
        "energy_j": row.energy_uj / _UJ_PER_J,
        **_known(row, "emissions_g", "mean_error", "always_smallest_g", "always_largest_g"),
        **_known(row, "as_decided_g", "decided_error"),
        "deviating_inferences": row.deviating_inferences,
        "unpriced_energy_j": row.unpriced_energy_uj / _UJ_PER_J,
        "calibrated_energy_j": row.calibrated_energy_uj / _UJ_PER_J,
        "restated_inferences": row.restated_inferences,
        **_known(row, "overhead_g", "embodied_g"),
        "energy_provenance": list(row.energy_provenance),
    }


def as_mapping(answer: Any, groups: list[str]) -> dict[str, Any]:
    """The whole report for machines."""
    return {
        "group_by": groups,
        "rows": [row_mapping(row, groups) for row in answer.rows],
        "total": row_mapping(answer.total, []),
        "pending_inferences": answer.pending_inferences,
        "pue": {"value": answer.pue.value, "provenance": answer.pue.provenance} if answer.HasField("pue") else None,
        "embodied": _embodied(answer.embodied) if answer.HasField("embodied") else None,
        "own_use": _own_use(answer.own_use) if answer.HasField("own_use") else None,
        "reconciliation": _reconciliation(answer.reconciliation) if answer.HasField("reconciliation") else None,
    }


def _embodied(found: Any) -> dict[str, Any]:
    return {
        "device_kg": found.device_kg,
        "lifetime_years": found.lifetime_years,
        "share": found.share,
        "reserved_from": _time(found.reserved_from),
        "reserved_to": _time(found.reserved_to),
        "embodied_g": found.embodied_g,
        "idle_g": found.idle_g,
        "provenance": found.provenance,
    }


def _own_use(found: Any) -> dict[str, Any]:
    return {
        "cpu_s": found.cpu_s,
        "cpu_provenance": found.cpu_provenance,
        **_known(found, "watts_per_core"),
        "energy_j": _joules(found, "energy_uj"),
        **_known(found, "emissions_g"),
        "unpriced_energy_j": _joules(found, "unpriced_energy_uj"),
        **_known(found, "overhead_g"),
        "provenance": found.provenance,
    }


def _reconciliation(found: Any) -> dict[str, Any]:
    return {
        "from": _time(getattr(found, "from")),
        "to": _time(found.to),
        "rows": [
            {
                "variants": list(row.variants),
                "models": list(row.models),
                **{name: getattr(row, name) for name in _COMPARED},
                "difference": row.executed - row.recorded,
                "energy_j": _joules(row, "energy_uj"),
                **_known(row, "emissions_g"),
            }
            for row in found.rows
        ],
        "provenance": found.provenance,
    }


def as_csv(answer: Any, groups: list[str]) -> str:
    """Every line that the report has, told apart by the first column."""
    text = io.StringIO()
    names = ["line", *groups, *_FIGURES, *_DECIDED, *_BESIDE, "subject", *_OWN, *_COMPARED, "provenance"]
    writer = csv.DictWriter(text, fieldnames=names)
    writer.writeheader()
    writer.writerows(_csv_lines(answer, groups))
    return text.getvalue()


def _csv_lines(answer: Any, groups: list[str]) -> Iterator[dict[str, Any]]:
    told = as_mapping(answer, groups)
    for line, row in (*((SERVED, row) for row in told["rows"]), (TOTAL, told["total"])):
        provenance = " ".join(row["energy_provenance"])
        yield {
            "line": line,
            **{name: row[name] for name in row if name != "energy_provenance"},
            "provenance": provenance,
        }
    if (embodied := told["embodied"]) is not None:
        yield {"line": IDLE, "embodied_g": embodied["idle_g"], "provenance": embodied["provenance"]}
    if (own := told["own_use"]) is not None:
        yield {"line": PROXY, **{name: own[name] for name in own if name != "cpu_provenance"}}
    if (reconciliation := told["reconciliation"]) is not None:
        for row in reconciliation["rows"]:
            yield {
                "line": RECONCILED,
                "subject": " ".join(row["variants"] or row["models"]),
                "inferences": row["difference"],
                **{name: row[name] for name in ("energy_j", "emissions_g", *_COMPARED)},
                "provenance": reconciliation["provenance"],
            }


def print_table(answer: Any, groups: list[str]) -> None:
    """For people: the grams of serving first, what is beside them below."""
    console = Console()
    for title, table in (_served(answer, groups), _beside(answer), _compared(answer)):
        if table is not None:
            # Not the table's own title, which would be broken to the table's width.
            console.print(title, style="italic", soft_wrap=True)
            console.print(_fitted(table, console))
    for note in notes(answer):
        console.print(note, soft_wrap=True)


def _served(answer: Any, groups: list[str]) -> tuple[str, Table]:
    unit, per_gram = mass_unit(answer.total)
    table = _table()
    for group in groups:
        # A time that is broken in two is read as two.
        table.add_column(_HEADINGS.get(group, group), overflow="fold", no_wrap=group in _TIMES)
    for heading in ("served", "J", "error", unit, "smallest", "largest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in answer.rows:
        table.add_row(*map(_group_cell, groups, row.group), *_cells(row, per_gram))
    if groups:
        table.add_section()
        table.add_row("total", *[""] * (len(groups) - 1), *_cells(answer.total, per_gram), style="bold")
    return f"{unit} of CO₂eq, beside always the smallest and always the largest", table


def _beside(answer: Any) -> tuple[str, Table | None]:
    """What belongs to serving and is in no sum above."""
    title, lines = "Beside these, and in no sum above", list(_beside_lines(answer))
    if not lines:
        return title, None
    table = _table()
    table.add_column("what", overflow="fold")
    table.add_column("CO₂eq", justify="right", no_wrap=True)
    table.add_column("figures", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return title, table


def _beside_lines(answer: Any) -> Iterator[tuple[str, str, str]]:
    if answer.HasField("pue"):
        grams = _known(answer.total, "overhead_g")["overhead_g"]
        yield f"the data centre's overhead, at a PUE of {answer.pue.value:g}", mass(grams), answer.pue.provenance
    if answer.HasField("embodied"):
        found = answer.embodied
        reserved = moment(found.reserved_to) - moment(found.reserved_from)
        what = f"embodied: {found.share * 100:.4g} % of {found.device_kg:g} kg in {found.lifetime_years:g} years"
        yield f"{what}, for {_duration(reserved)}", mass(found.embodied_g), found.provenance
        yield "  of which in hours in which nothing was served", mass(found.idle_g), found.provenance
    if answer.HasField("own_use"):
        own = answer.own_use
        known = _known(own, "emissions_g", "overhead_g", "watts_per_core")
        what = f"the proxy's own CPU: {own.cpu_s:.4g} s"
        if known["watts_per_core"] is None:
            yield f"{what}; TRADEWIND_PROXY_WATTS_PER_CORE would price it", mass(None), own.cpu_provenance
            return
        joules = own.energy_uj / _UJ_PER_J
        yield f"{what} at {own.watts_per_core:g} W, {joules:.4g} J", mass(known["emissions_g"]), own.provenance
        if known["overhead_g"] is not None:
            yield f"  its overhead, at a PUE of {answer.pue.value:g}", mass(known["overhead_g"]), own.provenance


def _compared(answer: Any) -> tuple[str, Table | None]:
    """The ledger held against Triton's own counts."""
    if not answer.HasField("reconciliation"):
        return "", None
    found = answer.reconciliation
    begins, ends = (f"{moment(each):%Y-%m-%dT%H:%M:%SZ}" for each in (getattr(found, "from"), found.to))
    table = _table()
    table.add_column("variant", overflow="fold")
    for heading in ("recorded", "executed", "missing", "J", "CO₂eq"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("figures", no_wrap=True)
    for row in found.rows:
        missing = row.executed - row.recorded
        joules = _joules(row, "energy_uj")
        known = ("", "", "") if missing <= 0 else (_number(joules), mass(_known(row, "emissions_g")["emissions_g"]))
        table.add_row(
            ", ".join(row.variants) or f"{', '.join(row.models)} (not in the catalogue)",
            f"{row.recorded:,}",
            f"{row.executed:,}",
            f"{missing:,}",
            *known[:2],
            found.provenance if missing > 0 else "",
        )
    if not found.rows:
        table.add_row("none", "0", "0", "0", "", "", "")
    return f"Reconciled with Triton's counts, {begins} to {ends}", table


def notes(answer: Any) -> list[str]:
    """What a reader must know beside the tables."""
    total, found = answer.total, []
    if total.energy_provenance:
        found.append(f"Energy per inference: {', '.join(total.energy_provenance)}.")
    if total.deviating_inferences:
        known = _known(total, "as_decided_g", "decided_error")
        error = "an unknown error" if known["decided_error"] is None else f"an error of {known['decided_error']:.3f}"
        found.append(
            f"{total.deviating_inferences} of {total.inferences} inferences were served by another variant than was "
            f"decided; as decided, all of them would have been {mass(known['as_decided_g'])} with {error}."
        )
    if total.calibrated_energy_uj:
        found.append(
            f"{total.calibrated_energy_uj / _UJ_PER_J:.3f} J were charged by what calibration measured in service."
        )
    if total.unpriced_energy_uj:
        found.append(
            f"{total.unpriced_energy_uj / _UJ_PER_J:.3f} J were used in intervals of unknown intensity: "
            f"their grams are in no sum."
        )
    if total.restated_inferences:
        found.append(f"* {total.restated_inferences} inferences are restated by a revised intensity.")
    if answer.HasField("own_use") and answer.own_use.unpriced_energy_uj:
        joules = answer.own_use.unpriced_energy_uj / _UJ_PER_J
        found.append(f"{joules:.3f} J of the proxy's own were used in minutes of unknown intensity.")
    if answer.pending_inferences:
        found.append(f"{answer.pending_inferences} inferences are spooled and not stored yet: they are in no row.")
    return [*found, *_reconciliation_notes(answer)]


def _reconciliation_notes(answer: Any) -> Iterator[str]:
    for row in answer.reconciliation.rows:
        who = ", ".join(row.variants or row.models)
        if row.failed_requests:
            yield f"{who}: {row.failed_requests} requests failed in Triton; what they used is not known."
        if row.cached_requests:
            yield f"{who}: {row.cached_requests} requests came from Triton's cache, recorded as if executed."
        if row.restarts:
            times = "1 time" if row.restarts == 1 else f"{row.restarts} times"
            yield (
                f"{who}: Triton's counts began anew {times}; what it executed between the last look before and its "
                f"end is not in them."
            )
        if row.executed < row.recorded and not (row.cached_requests or row.restarts):
            yield f"{who}: more is recorded than executed; is there a Triton that no proxy watches?"


def mass_unit(total: Any) -> tuple[str, float]:
    """The unit in which the largest mass of a table reads well, and how many of it a gram is."""
    known = row_mapping(total, [])
    grams = max((known[name] or 0.0 for name in ("emissions_g", "always_largest_g")), default=0.0)
    return unit_of(grams)


def unit_of(grams: float) -> tuple[str, float]:
    """The unit in which a mass reads well, and how many of it a gram is."""
    return next(((unit, per) for unit, per in _MASS_UNITS if grams * per >= 1), _MASS_UNITS[-1])


def mass(grams: float | None) -> str:
    """A mass in the unit in which it reads well."""
    if grams is None:
        return "unknown"
    unit, per_gram = unit_of(grams)
    return f"{grams * per_gram:,.4g} {unit}" if grams else "0 g"


def _group_cell(group: str, value: str) -> str:
    return f"{parse_time(value):{_TIMES[group]}}" if group in _TIMES else value


def _cells(row: Any, per_gram: float) -> list[str]:
    known = row_mapping(row, [])
    masses = (known[name] for name in ("emissions_g", "always_smallest_g", "always_largest_g"))
    grams, smallest, largest = ("unknown" if each is None else f"{each * per_gram:,.4g}" for each in masses)
    return [
        f"{row.inferences:,}",
        _number(known["energy_j"]),
        "unknown" if known["mean_error"] is None else f"{known['mean_error']:.3f}",
        f"{grams}*" if row.restated_inferences else grams,
        smallest,
        largest,
    ]


def _fitted(table: Table, console: Console) -> Table:
    """The table, with its columns closer together where it is wider than the console."""
    if Measurement.get(console, console.options.update(width=_ANY_WIDTH), table).maximum > console.width:
        table.padding = 0
    return table


def _duration(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.4g} days" if days >= 2 else f"{days * 24:.3g} h" if days * 24 >= 1 else f"{days * 1_440:.3g} min"


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if value < 1_000 else f"{value:,.0f}"


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _known(message: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(message, name) if message.HasField(name) else None for name in names}


def _joules(message: Any, name: str) -> float | None:
    return getattr(message, name) / _UJ_PER_J if message.HasField(name) else None


def _time(stamp: Any) -> str:
    return format_time(moment(stamp))
