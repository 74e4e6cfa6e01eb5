"""Which variant, and which Triton, a sequence began on: it stays there until it ends."""

from collections import OrderedDict
from zlib import crc32

from inference_proxy.endpoints import Endpoint, least_loaded
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


class SequencePlaces:
    """The Tritons that sequences run on: what a sequence adds up is in the memory of one of them."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, str | int], Endpoint] = OrderedDict()

    def endpoint(self, model: str, endpoints: tuple[Endpoint, ...], wishes: Wishes | None) -> Endpoint | None:
        """Where a model's next request goes: to its sequence, or to the least loaded; None: it does not answer."""
        if wishes is None or wishes.sequence_id is None:
            return least_loaded(endpoints)
        place = (model, wishes.sequence_id)
        known = None if wishes.sequence_start else self._places.get(place)
        chosen = known or _drawn(place, endpoints)
        if wishes.sequence_end:
            self._places.pop(place, None)
        elif chosen is not None:
            self._places[place] = chosen
            self._places.move_to_end(place)
            if len(self._places) > _AT_MOST:
                self._places.popitem(last=False)
        # Where its Triton is away, so is the sequence: another would take it for one that never began.
        return chosen if chosen is not None and chosen.closed else None


def _drawn(place: tuple[str, str | int], endpoints: tuple[Endpoint, ...]) -> Endpoint | None:
    """The same Triton for the same sequence in any process, so that a restart or another proxy goes on with it."""
    there = [each for each in endpoints if each.closed]
    name = "{} {}".format(*place)
    return max(there, key=lambda each: crc32(f"{name} {each.grpc_address} {each.http_address}".encode()), default=None)
