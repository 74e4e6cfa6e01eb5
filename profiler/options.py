"""How the options of `tradewind profile` are written."""

import math
from collections.abc import Sequence

from profiler.models.repository import Backend
from tradewind.errors import InvalidInput


def k_of(error_metric: str) -> int:
    """The k of `top1_error_pct`, `top5_error_pct` and the like."""
    number = error_metric.removeprefix("top").removesuffix("_error_pct")
    if error_metric != f"top{number}_error_pct" or not number.isdigit() or int(number) < 1:
        raise InvalidInput(
            f"--error-metric {error_metric[:40]}: the profiler measures top1_error_pct, top5_error_pct, …"
        )
    return int(number)


def parse_variants(text: str) -> dict[str, tuple[str, str]]:
    """`a,b=model,c=model:2`: variants, with Triton's model and version where they are called otherwise."""
    variants: dict[str, tuple[str, str]] = {}
    for part in text.split(","):
        name, renamed, served = part.strip().partition("=")
        model, _, version = (served if renamed else name).partition(":")
        name = name if renamed else model
        if not name or not model or (version and not version.isdigit()):
            raise InvalidInput(f"--variants {part[:80]!r}: write NAME, NAME=MODEL or NAME=MODEL:VERSION")
        if name in variants:
            raise InvalidInput(f"--variants names {name} twice")
        variants[name] = (model, version)
    return variants


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` or `NAME:VALUE`, several times."""
    pairs: dict[str, str] = {}
    for text in texts:
        mark = "=" if "=" in text else ":"
        name, found, value = text.partition(mark)
        if not found or not name or not value:
            raise InvalidInput(f"{option} {text[:80]!r}: write NAME{mark}VALUE")
        pairs[name] = value
    return pairs


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """`1,4,16`: whole numbers above zero."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InvalidInput(f"{option} {text[:80]!r}: write whole numbers above zero, separated by commas")
    return tuple(int(part) for part in parts)


def parse_percentages(option: str, texts: Sequence[str]) -> dict[str, float]:
    """`NAME=PERCENT`, several times."""
    found: dict[str, float] = {}
    for name, text in parse_pairs(option, texts).items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] <= 100:
            raise InvalidInput(f"{option} {name}={text[:40]}: write a percentage from 0 to 100")
    return found


def parse_backend(text: str) -> Backend:
    """`onnxruntime` or `python`."""
    try:
        return Backend(text)
    except ValueError as error:
        raise InvalidInput(f"--backend {text[:40]!r}: take {' or '.join(Backend)}") from error
