"""Whose request it is: the value of one configured metadata key, bounded in number so that clients cannot flood us."""

from collections.abc import Iterable

OTHER = "other"
_LONGEST = 128


class Tenants:
    """Tells tenants apart; the first `at_most` names are kept, later ones are `other`."""

    def __init__(self, key: str, at_most: int) -> None:
        """`key` empty: tenants are not told apart."""
        self._key, self._at_most = key, at_most
        self._known: set[str] = set()

    def of(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        """The tenant of a request; empty when it names none."""
        if not self._key or metadata is None:
            return ""
        for key, value in metadata:
            if key == self._key:
                return self._admit(value if isinstance(value, str) else value.decode(errors="replace"))
        return ""

    def _admit(self, name: str) -> str:
        name = name[:_LONGEST]
        if name in self._known:
            return name
        if not name or len(self._known) >= self._at_most:
            return OTHER if name else ""
        self._known.add(name)
        return name
