"""Which variant a sequence began on: it stays there until it ends."""

from collections import OrderedDict

from inference_proxy.targets import Target
from inference_proxy.wishes import Wishes

_AT_MOST = 100_000
"""Sequences that clients never end are forgotten, the longest idle first; Triton forgets them much sooner."""


class Sequences:
    """The running sequences of one family."""

    def __init__(self) -> None:
        self._targets: OrderedDict[str | int, Target] = OrderedDict()

    def target_of(self, wishes: Wishes) -> Target | None:
        """The variant that the sequence runs on; None where it begins or is not known."""
        if wishes.sequence_id is None or wishes.sequence_start:
            return None
        target = self._targets.get(wishes.sequence_id)
        if target is not None:
            self._targets.move_to_end(wishes.sequence_id)
        return target

    def settle(self, wishes: Wishes, target: Target) -> None:
        """Remembers where a sequence runs, or forgets one that ends."""
        if wishes.sequence_id is None:
            return
        if wishes.sequence_end:
            self._targets.pop(wishes.sequence_id, None)
            return
        self._targets[wishes.sequence_id] = target
        self._targets.move_to_end(wishes.sequence_id)
        if len(self._targets) > _AT_MOST:
            self._targets.popitem(last=False)
