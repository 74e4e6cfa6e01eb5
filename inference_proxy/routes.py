"""Which variant serves the next request for a name, and all that is the same for many requests of one kind."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from inference_proxy.intervals import Intervals
from inference_proxy.mixes import Splitter
from inference_proxy.receipts import Account, as_members, as_metadata, as_parameters, receipt_parameters
from inference_proxy.refusals import Refusal, no_server, no_version_ready, unknown_version, unsatisfiable
from inference_proxy.sequences import Sequences
from inference_proxy.spool import SpoolKey, charge_of
from inference_proxy.tallies import Tallies, Tally
from inference_proxy.targets import Target, nearest_in_energy
from inference_proxy.wire import retarget
from inference_proxy.wishes import Wishes, why_unsatisfiable
from tradewind.database import microseconds
from tradewind.decisions import Decision
from tradewind.units import emissions_ng

_KNOWN_RECEIPTS = 256
_NEVER_US = 2**63 - 1


class Fallback(StrEnum):
    """Why another variant than the decided one served."""

    NO_DECISION = "no_decision"
    """Nothing was ever decided: the catalogue's fallback variant."""
    NOT_READY = "not_ready"
    """Triton does not have the decided variant ready, or does not answer where it is."""
    REQUIREMENT = "requirement"
    """The request's own requirements rule the decided variant out."""
    PINNED = "pinned"
    """The request named its variant."""
    SEQUENCE = "sequence"
    """The sequence began on this variant."""
    SPILL = "spill"
    """The decided variant has all in flight that it may have."""
    OBSERVE = "observe"
    """The proxy only observes: decisions are recorded, and the fallback variant serves."""
    ROLLOUT = "rollout"
    """The request is not in the share that follows decisions yet."""
    FORCED = "forced"
    """An operator forced this variant."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request of a lane costs and what its answer carries; good until its age changes."""

    energy_uj: int
    smallest_uj: int
    largest_uj: int
    decided_uj: int
    emissions_ng: int | None
    parameters: bytes
    members: bytes
    """The parameters as members of a JSON object."""
    metadata: tuple[tuple[str, str], ...]
    good_until_us: int


class Lane:
    """Requests that differ in nothing but their batch size: one name, variant, decision, interval and tenant."""

    def __init__(
        self,
        account: Account,
        target: Target,
        decided: Target,
        ends: tuple[Target, Target],
        family: str,
        tenant: str,
        tally: Tally,
    ) -> None:
        self.account, self.target, self.tally = account, target, tally
        self.key = SpoolKey(
            charge_of(
                family,
                target.variant,
                decided.variant,
                account.zone,
                tenant,
                account.interval,
                calibrated=target.charges.source is not None,
            )
        )
        renamed = bool(family)
        self.model = retarget(target.model.encode(), target.version.encode() or None) if renamed else b""
        """What to append to the request; nothing where the client named the model itself."""
        self.model_and_version = retarget(target.model.encode(), target.version.encode()) if renamed else b""
        decision = account.decision
        self.followed = (family, target.variant, decision.id) if decision is not None else None
        """What the selector is told of requests that followed a decision, whichever variant served them."""
        self._charges, self._decided = target.charges, decided.charges
        self._smallest, self._largest = (end.charges for end in ends)
        self._receipts: dict[int, Receipt] = {}

    def receipt(self, inferences: int, now_us: int) -> Receipt:
        """The receipt of a request with so many inferences, now."""
        known = self._receipts.get(inferences)
        if known is None or now_us >= known.good_until_us:
            if len(self._receipts) >= _KNOWN_RECEIPTS:
                self._receipts.clear()
            known = self._receipts[inferences] = self._write_receipt(inferences, now_us)
        return known

    def _write_receipt(self, inferences: int, now_us: int) -> Receipt:
        account, energy = self.account, self._charges.energy_uj(inferences)
        age_s, until_us = None, _NEVER_US
        if account.decision is not None:
            decided_us = microseconds(account.decision.decided_at)
            age_s = max(now_us - decided_us, 0) // 1_000_000
            until_us = decided_us + (age_s + 1) * 1_000_000
        parameters = receipt_parameters(account, energy, age_s)
        interval = account.interval
        return Receipt(
            energy_uj=energy,
            smallest_uj=self._smallest.energy_uj(inferences),
            largest_uj=self._largest.energy_uj(inferences),
            decided_uj=self._decided.energy_uj(inferences),
            emissions_ng=emissions_ng(energy, interval.intensity_g_per_kwh) if interval is not None else None,
            parameters=as_parameters(parameters),
            members=as_members(parameters),
            metadata=as_metadata(parameters),
            good_until_us=until_us,
        )


@dataclass(frozen=True, slots=True)
class Switches:
    """How far decisions are followed."""

    observe: bool = False
    rollout_pct: float = 100.0


@dataclass(frozen=True, slots=True)
class Force:
    """An operator's word that stands above every decision for a while."""

    variant: str
    until_us: int
    operator: str
    why: str


@dataclass(frozen=True, slots=True)
class Served:
    """A part of a family's requests: what was decided for it, what serves it, and why that is another."""

    weight: float
    decided: Target
    target: Target
    reason: Fallback | None


class FamilyRoute:
    """A family's requests: the decision in force, and the permitted variant that is ready and nearest to it."""

    def __init__(
        self,
        name: str,
        targets: tuple[Target, ...],
        fallback_variant: str,
        intervals: Intervals,
        tallies: Tallies,
        switches: Switches = Switches(),
    ) -> None:
        self.name = name
        self.targets = tuple(target for target in targets if target.permitted)
        self.decision: Decision | None = None
        self.force: Force | None = None
        self.on_decision: Callable[[], object] | None = None
        """Called when another decision has come into force."""
        self._by_variant = {target.variant: target for target in self.targets}
        self._fallback = self._by_variant[fallback_variant]
        self._intervals, self._tallies, self.switches = intervals, tallies, switches
        self._splitter, self._rollout = Splitter(), Splitter()
        followed = switches.rollout_pct / 100
        self._rollout.use({"follow": followed, "keep": 1 - followed})
        self._plain = not switches.observe and switches.rollout_pct >= 100
        self._sequences = Sequences()
        self._sole: Target | None = self._fallback
        self._lanes: dict[tuple[str, str, str | None, str], Lane] = {}

    def decide(self, decision: Decision) -> None:
        """Takes a decision into force; variants that this catalogue does not permit are left out of its mix."""
        weights = {share.variant: share.weight for share in decision.mix if share.variant in self._by_variant}
        weights = {variant: weight for variant, weight in weights.items() if weight > 0}
        total = sum(weights.values())
        if not weights:
            return
        self.decision = decision
        self._splitter.use({variant: weight / total for variant, weight in weights.items()})
        self._sole = self._by_variant[next(iter(weights))] if len(weights) == 1 else None
        self._lanes.clear()
        if self.on_decision is not None:
            self.on_decision()

    def charge_anew(self) -> None:
        """Later requests are charged by what the targets' charges are now."""
        self._lanes.clear()

    def permitted(self, variant: str) -> bool:
        """Whether the catalogue permits a variant."""
        return variant in self._by_variant

    def lane(
        self,
        tenant: str,
        version: bytes,
        now_us: int,
        wishes: Wishes | None = None,
        avoid: tuple[Target, ...] = (),
    ) -> Lane | Refusal:
        """How the next request goes, or why it is refused; `avoid` are targets that a first attempt found away."""
        if version and (refusal := unknown_version(self.name, version.decode(errors="replace"))):
            return refusal
        decided = self._sole or self._by_variant[self._splitter.next()]
        reason = None if self.decision is not None else Fallback.NO_DECISION
        if (
            wishes is None
            and self._plain
            and not avoid
            and self.force is None
            and decided.ready is not False
            and (decided.endpoints[0].closed or decided.answering)
            and decided.pressure.has_room(now_us / 1e6)
        ):
            return self._lane_to(decided, decided, reason, tenant, now_us)
        chosen = self._choose(decided, reason, now_us, wishes, avoid)
        if isinstance(chosen, Refusal):
            return chosen
        target, reason = chosen
        return self._lane_to(target, decided, reason, tenant, now_us)

    def served(self, now_us: int) -> tuple[Served, ...]:
        """How requests without requirements go now, by weight and regardless of load; empty where none may serve."""
        weights = {self._sole.variant: 1.0} if self._sole is not None else self._splitter.weights
        parts = []
        for variant, weight in weights.items():
            decided = self._by_variant[variant]
            for fraction, wanted, reason in self._switched(decided, now_us):
                usable = tuple(target for target in self.targets if target.usable)
                target = wanted if wanted in usable else nearest_in_energy(usable, wanted)
                if target is None:
                    return ()
                why = reason if target is wanted else Fallback.NOT_READY
                if target is decided:
                    why = None if self.decision is not None else Fallback.NO_DECISION
                parts.append(Served(weight * fraction, decided, target, why))
        return tuple(parts)

    def _switched(self, decided: Target, now_us: int) -> list[tuple[float, Target, Fallback | None]]:
        """What the operator's switches make of all the requests that a variant was decided for, by fraction."""
        if self.force is not None and now_us < self.force.until_us:
            return [(1.0, self._by_variant[self.force.variant], Fallback.FORCED)]
        if self.switches.observe:
            return [(1.0, self._fallback, Fallback.OBSERVE)]
        followed = self.switches.rollout_pct / 100
        parts = [(followed, decided, None), (1 - followed, self._fallback, Fallback.ROLLOUT)]
        return [part for part in parts if part[0] > 0]

    def _choose(
        self, decided: Target, reason: Fallback | None, now_us: int, wishes: Wishes | None, avoid: tuple[Target, ...]
    ) -> tuple[Target, Fallback | None] | Refusal:
        wanted, reason = self._switch(decided, reason, now_us)
        candidates = self.targets
        if wishes is not None:
            running = self._sequences.target_of(wishes)
            if running is not None:
                self._sequences.settle(wishes, running)
                return running, reason if running is wanted else Fallback.SEQUENCE
            candidates = tuple(target for target in candidates if wishes.satisfied_by(target))
            if not candidates:
                return unsatisfiable(why_unsatisfiable(self.name, wishes, self.targets))
        usable = tuple(target for target in candidates if target.usable and target not in avoid)
        target = wanted if wanted in usable else nearest_in_energy(usable, wanted)
        if target is None:
            return no_version_ready(self.name) if any(each.answering for each in self.targets) else no_server()
        if target is not wanted:
            required = wishes is not None and not wishes.satisfied_by(wanted)
            pinned = wishes is not None and wishes.pin_variant is not None
            reason = Fallback.NOT_READY if not required else Fallback.PINNED if pinned else Fallback.REQUIREMENT
        roomy = self._with_room(target, usable, now_us / 1e6)
        if roomy is not target:
            target, reason = roomy, Fallback.SPILL
        if wishes is not None:
            self._sequences.settle(wishes, target)
        if target is decided:
            reason = None if self.decision is not None else Fallback.NO_DECISION
        return target, reason

    def _switch(self, decided: Target, reason: Fallback | None, now_us: int) -> tuple[Target, Fallback | None]:
        """What the operator's switches make of a decided variant."""
        force = self.force
        if force is not None and now_us >= force.until_us:
            force = self.force = None
        if force is not None:
            return self._by_variant[force.variant], Fallback.FORCED
        if self.switches.observe:
            return self._fallback, Fallback.OBSERVE
        if self.switches.rollout_pct < 100 and self._rollout.next() == "keep":
            return self._fallback, Fallback.ROLLOUT
        return decided, reason

    @staticmethod
    def _with_room(target: Target, usable: tuple[Target, ...], now_s: float) -> Target:
        """The target, or the next smaller one that has room; the smallest where none has."""
        if target.pressure.has_room(now_s):
            return target
        smaller = [each for each in usable if each.energy_mj < target.energy_mj]
        roomy = (each for each in reversed(smaller) if each.pressure.has_room(now_s))
        return next(roomy, smaller[0] if smaller else target)

    def _lane_to(self, target: Target, decided: Target, reason: Fallback | None, tenant: str, now_us: int) -> Lane:
        place = (target.variant, decided.variant, reason, tenant)
        lane = self._lanes.get(place)
        interval = self._intervals.at(now_us)
        if lane is None or lane.account.interval is not interval:
            lane = self._lanes[place] = Lane(
                account=Account(
                    self.name,
                    target.variant,
                    self._intervals.zone,
                    self.decision,
                    interval,
                    reason,
                    target.charges.source,
                ),
                target=target,
                decided=decided,
                ends=(self.targets[0], self.targets[-1]),
                family=self.name,
                tenant=tenant,
                tally=self._tallies.of(self.name, target.variant),
            )
        return lane


class ModelRoute:
    """A model that the catalogue knows, called by its own name: nothing is decided, all is metered."""

    def __init__(self, target: Target, intervals: Intervals, tallies: Tallies) -> None:
        self.target = target
        self._intervals, self._tallies = intervals, tallies
        self._lanes: dict[str, Lane] = {}

    def charge_anew(self) -> None:
        """Later requests are charged by what the target's charges are now."""
        self._lanes.clear()

    def lane(
        self,
        tenant: str,
        version: bytes,  # noqa: ARG002 -- Triton's to judge, as the name is its own
        now_us: int,
        wishes: Wishes | None = None,  # noqa: ARG002 -- who names a model has chosen
        avoid: tuple[Target, ...] = (),
    ) -> Lane | Refusal:
        """How the next request goes."""
        if self.target in avoid or not any(each.closed for each in self.target.endpoints):
            return no_server()
        interval, target = self._intervals.at(now_us), self.target
        lane = self._lanes.get(tenant)
        if lane is None or lane.account.interval is not interval:
            lane = self._lanes[tenant] = Lane(
                account=Account(
                    target.model, target.variant, self._intervals.zone, None, interval, None, target.charges.source
                ),
                target=target,
                decided=target,
                ends=(target, target),
                family="",
                tenant=tenant,
                tally=self._tallies.of("", target.variant),
            )
        return lane
