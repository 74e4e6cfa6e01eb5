"""Page sizes and tokens: where the next page of a list begins."""

import base64
import binascii
import json
from datetime import UTC, datetime

from carbon_service.queries import PageStart
from tradewind.database import from_microseconds, microseconds
from tradewind.errors import InvalidInput
from tradewind.readings import Reading

DEFAULT_SIZE = 1_000
LARGEST_SIZE = 10_000


def page_size(asked: int) -> int:
    """The size of a page; 0 means the default."""
    if not 0 <= asked <= LARGEST_SIZE:
        raise InvalidInput(f"page_size {asked} is not within 1 to {LARGEST_SIZE}; 0 means {DEFAULT_SIZE}")
    return asked or DEFAULT_SIZE


def token_after(reading: Reading) -> str:
    """The token of the page that begins after this reading."""
    return _encode([microseconds(reading.valid_from), reading.kind.value, reading.source])


def parse_token(token: str) -> PageStart | None:
    """Where the page begins; None for the first."""
    if not token:
        return None
    parts = _decode(token)
    if len(parts) != 3 or not isinstance(parts[0], int) or not all(isinstance(part, str) for part in parts[1:]):
        raise _wrong()
    try:
        return PageStart(from_microseconds(parts[0]).astimezone(UTC), str(parts[1]), str(parts[2]))
    except (OverflowError, ValueError, OSError) as error:
        raise _wrong() from error


def token_of_id(number: int) -> str:
    """The token of the page that begins after the row with this id."""
    return _encode([number])


def parse_id_token(token: str) -> int | None:
    """The id after which the page begins; None for the first."""
    if not token:
        return None
    parts = _decode(token)
    if len(parts) != 1 or not isinstance(parts[0], int) or not 0 <= parts[0] < 2**63:
        raise _wrong()
    return parts[0]


def open_ended(start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    """A half-open range of time; InvalidInput when it ends before it begins."""
    if start is not None and end is not None and end < start:
        raise InvalidInput("`to` is before `from`: swap them")
    return start, end


def _encode(parts: list[int | str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _decode(token: str) -> list[int | str]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _wrong() from error
    if not isinstance(parts, list):
        raise _wrong()
    return parts


def _wrong() -> InvalidInput:
    return InvalidInput("page_token is not one that this service gave: leave it out for the first page")
