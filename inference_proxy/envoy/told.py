"""What Envoy is told: for each name the variants that serve it, what they cost, and the intensities that hold."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from inference_proxy.intervals import Interval, Intervals
from inference_proxy.receipts import as_metadata, decimal
from inference_proxy.refusals import VERSION
from inference_proxy.routes import FamilyRoute, ModelRoute
from inference_proxy.targets import Target
from inference_proxy.wire import retarget
from tradewind.catalogue import Variant
from tradewind.database import microseconds
from tradewind.decisions import Decision
from tradewind.readings import to_mapping

ClusterOf = Callable[[Target], str]
"""Envoy's name of the Tritons that have a target."""

_INTERVALS_AHEAD = 64


@dataclass(frozen=True)
class Terms:
    """What is the same for every table: how Envoy records, says and tells tenants apart."""

    spool: Path
    """Where Envoy's workers make their directories."""
    segment_bytes: int
    receipts: bool
    tenant_key: str
    tenants: int
    too_much: str | None = None
    """What is said of a request beyond the limit in flight, where there is one."""

    def as_mapping(self) -> dict[str, Any]:
        """The fields as the Lua reads them."""
        return {
            "spool": str(self.spool),
            "segment_bytes": self.segment_bytes,
            "receipts": self.receipts,
            "tenant_key": self.tenant_key,
            "tenants": self.tenants,
            **({"too_much": self.too_much} if self.too_much is not None else {}),
        }


def table(
    routes: Mapping[bytes, object],
    intervals: Intervals,
    terms: Terms,
    cluster_of: ClusterOf,
    revision: str,
    now_us: int,
) -> dict[str, Any]:
    """The table of every name that Envoy may serve; what is not in it goes to this process."""
    names: dict[str, Any] = {}
    lanes: dict[str, Any] = {}
    targets = [0]
    for raw_name, route in routes.items():
        name, shares = raw_name.decode(), []
        for weight, target, lane in _lanes(route, intervals.zone, now_us):
            lane["cluster"] = cluster_of(target)
            lane["id"] = f"{revision}.{len(lanes)}"
            lanes[lane["id"]] = lane
            targets.append(len(retarget(lane["model"].encode(), lane["model_version"].encode())))
            part = f"{lane.pop('decided_variant')}>{lane['variant']}"
            shares.append({"variant": part, "weight": weight, "lane": lane["id"]})
        if shares:
            names[name] = {"renamed": isinstance(route, FamilyRoute), "version": VERSION, "shares": shares}
    return {
        **terms.as_mapping(),
        "names": names,
        "lanes": lanes,
        "longest_target": max(targets),
        "intervals": list(_intervals(intervals, now_us)),
    }


def _lanes(route: object, zone: str, now_us: int) -> list[tuple[float, Target, dict[str, Any]]]:
    if isinstance(route, ModelRoute):
        target = route.target
        if target.max_batch_size is None:
            return []
        return [(1.0, target, lane_told(target.model, target, target, (target, target), "", zone, None, None))]
    if not isinstance(route, FamilyRoute):
        return []
    shares = route.served(now_us)
    if any(share.target.max_batch_size is None or _may_spill(share.target) for share in shares):
        # How its requests are counted is not known yet; or the excess is to spill, which is judged in one place.
        return []
    ends = (route.targets[0], route.targets[-1])
    return [
        (
            share.weight,
            share.target,
            lane_told(route.name, share.target, share.decided, ends, route.name, zone, route.decision, share.reason),
        )
        for share in shares
    ]


def _may_spill(target: Target) -> bool:
    return target.pressure.most is not None or target.pressure.latency_limit_s is not None


def lane_told(
    requested: str,
    target: Target,
    decided: Target,
    ends: tuple[Target, Target],
    family: str,
    zone: str,
    decision: Decision | None,
    fallback: str | None,
) -> dict[str, Any]:
    """A lane as the Lua reads it, but for its id and cluster."""
    source = target.charges.source
    charge: dict[str, str | bool] = {
        "family": family,
        "variant": target.variant,
        "decided": decided.variant,
        "zone": zone,
        **({"calibrated": True} if source is not None else {}),
    }
    named = {"carbon_requested_model": requested, "carbon_variant": target.variant}
    lane: dict[str, Any] = {
        "model": target.model,
        "model_version": target.version,
        "batches": target.batches,
        "requested": requested,
        "variant": target.variant,
        "decided_variant": decided.variant,
        "zone": zone,
        "charge": json.dumps(charge)[1:-1],
        "sizes": _sizes(target.charges.figures),
        "decided": _sizes(decided.charges.figures),
        "smallest": _sizes(ends[0].charges.figures),
        "largest": _sizes(ends[1].charges.figures),
        # What metadata may hold of names outside ASCII.
        "printable": {key: value for key, (_, value) in zip(named, as_metadata(named), strict=True)},
    }
    if decision is not None:
        lane |= {"decision": decision.id, "decided_us": microseconds(decision.decided_at)}
    if fallback is not None:
        lane["fallback"] = str(fallback)
    if source is not None:
        lane["energy_source"] = source
    return lane


def _sizes(figures: Variant) -> list[dict[str, float]]:
    sizes = {1: figures.energy_mj, **figures.energy_by_batch_mj}
    return [{"batch": batch, "energy_mj": sizes[batch].value} for batch in sorted(sizes)]


def _intervals(intervals: Intervals, now_us: int) -> Iterable[dict[str, Any]]:
    """The intervals from now on, cut where a later one begins, so that at most one holds at any moment."""
    ahead = intervals.ahead(now_us)[:_INTERVALS_AHEAD]
    moments = sorted({max(end, now_us) for interval in ahead for end in (interval.from_us, interval.to_us)})
    for begin, end in pairwise(moments):
        holding = intervals.at(begin)
        if holding is not None:
            yield interval_told(holding, min(begin, holding.from_us) if begin == now_us else begin, end)


def interval_told(interval: Interval, from_us: int, to_us: int) -> dict[str, Any]:
    """An interval as the Lua reads it, in force between two moments."""
    intensity = interval.intensity_g_per_kwh
    return {
        "id": f"{from_us}",
        "from_us": from_us,
        "to_us": to_us,
        "intensity": intensity,
        "intensity_text": decimal(intensity),
        "reading": json.dumps(to_mapping(interval.reading)),
    }
