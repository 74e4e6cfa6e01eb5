"""What a run is told beside its figures: what is unwise in its pool, out of its reach, or not used at all."""

from collections.abc import Iterator, Mapping, Sequence

from simulator.comparison import Clairvoyant, Plan
from simulator.policy_words import options_taken
from tradewind.policies.restraints import unrestrained
from tradewind.policies.target_error import TargetError


def notes_on(plan: Plan, words: Sequence[str], shared: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence each; none where all is well."""
    return (*_unused(words, shared), *_dominated(plan), *_out_of_reach(plan))


def _unused(words: Sequence[str], shared: Mapping[str, str]) -> Iterator[str]:
    taken = {option for word in words for option in options_taken(word.partition(":")[0])}
    for option in shared:
        if option not in taken:
            yield f"the option {option} changes nothing: none of the policies asked for takes it"


def _dominated(plan: Plan) -> Iterator[str]:
    for worse in plan.pool:
        for better in plan.pool:
            no_better = better.energy_mj <= worse.energy_mj and better.error <= worse.error
            if no_better and (better.energy_mj, better.error) != (worse.energy_mj, worse.error):
                yield (
                    f"{worse.variant} is dominated by {better.variant} (no less energy and no less error), "
                    f"so serving it only costs: leave it out of --variants"
                )
                break


def _out_of_reach(plan: Plan) -> Iterator[str]:
    errors = [point.error for point in plan.pool]
    for entrant in plan.entrants:
        policy = entrant.policy if isinstance(entrant.policy, Clairvoyant) else unrestrained(entrant.policy)
        target = policy.target_error if isinstance(policy, Clairvoyant | TargetError) else None
        if target is not None and not min(errors) <= target <= max(errors):
            yield (
                f"{entrant.label}: a mean error of {target:g} is out of the pool's reach, "
                f"which goes from {min(errors):g} to {max(errors):g}"
            )
