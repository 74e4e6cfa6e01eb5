"""Which bearer tokens are known, and whose they are. Only their digests are kept; nothing of them is ever said."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tradewind.errors import StartupError
from tradewind.files import Followed, NamedFile

_TOKEN = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_SHORTEST = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """One token: whose it is (empty: nobody's in particular) and its SHA-256."""

    name: str
    digest: bytes


class Tokens:
    """The tokens of a file, and others whose digests are told."""

    def __init__(self, path: Path | None, variable: str = "", others: Mapping[str, str] | None = None) -> None:
        """`others`: SHA-256 in hexadecimal by name."""
        self._file = None if path is None else _followed(NamedFile(variable, path), parse_tokens)
        self._others = tuple(Known(name, bytes.fromhex(digest)) for name, digest in (others or {}).items())

    @property
    def known(self) -> tuple[Known, ...]:
        """Every token there is now."""
        return self._others if self._file is None else self._file.current + self._others

    def names_of(self, token: str | None) -> frozenset[str] | None:
        """Whose token it is; None when it is nobody's. Takes as long for every token."""
        if not token:
            return None
        shown = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        # Every one is compared, so that the time tells nothing of which one it was, or nearly was.
        found = [each.name for each in self.known if hmac.compare_digest(each.digest, shown)]
        return frozenset(found) if found else None

    def digests(self) -> list[str]:
        """The digests in hexadecimal, in order."""
        return sorted({each.digest.hex() for each in self.known})


class OwnToken:
    """The token that a caller says of itself."""

    def __init__(self, path: Path, variable: str) -> None:
        self._file = _followed(NamedFile(variable, path), _parse_own)

    @property
    def authorization(self) -> str:
        """The value of the `authorization` header."""
        return self._file.current


def parse_tokens(text: str, name: str) -> tuple[Known, ...]:
    """The tokens of a file's text, or their digests as `sha256:HEX`; StartupError names a line and quotes nothing."""
    found: dict[bytes, Known] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) > 2:
            raise StartupError(f"{name}: line {number} has more than a name and a token: write NAME TOKEN")
        owner, token = parts if len(parts) == 2 else ("", parts[0])
        if owner and not _NAME.fullmatch(owner):
            raise StartupError(
                f"{name}: line {number}: a name has 1 to 64 letters, digits, '_', '.', '@' or '-': write NAME TOKEN"
            )
        digest = _digest(token, f"{name}: line {number}")
        if digest in found:
            raise StartupError(f"{name}: line {number} repeats a token: give each caller one of its own")
        found[digest] = Known(owner, digest)
    if not found:
        raise StartupError(f"{name} has no token: write one a line, as TOKEN or NAME TOKEN")
    return tuple(found.values())


def bearer(authorizations: Sequence[str]) -> str | None:
    """The token in a request's `authorization` headers; None where there is not one, alone and of this kind."""
    if len(authorizations) != 1:
        return None
    parts = authorizations[0].split()
    return parts[1] if len(parts) == 2 and parts[0].lower() == "bearer" else None


def _followed(file: NamedFile, parse: Callable[[str, str], T]) -> Followed[T]:
    return Followed([file], lambda: parse(file.text(), file.name))


def _parse_own(text: str, name: str) -> str:
    lines = [parts for line in text.splitlines() if (parts := line.split()) and not parts[0].startswith("#")]
    if len(lines) != 1 or len(lines[0]) > 2:
        raise StartupError(f"{name} must have one line: the token, with or without a name before it")
    if not _TOKEN.fullmatch(lines[0][-1]):
        raise StartupError(f"{name}: a token is of ASCII without spaces")
    return f"Bearer {lines[0][-1]}"


def _digest(token: str, where: str) -> bytes:
    told = _DIGEST.fullmatch(token)
    if told is not None:
        return bytes.fromhex(told[1])
    if len(token) < _SHORTEST or not _TOKEN.fullmatch(token):
        raise StartupError(
            f"{where}: a token has at least {_SHORTEST} characters of ASCII without spaces: "
            f"make one with `openssl rand -hex 24`"
        )
    return hashlib.sha256(token.encode()).digest()
