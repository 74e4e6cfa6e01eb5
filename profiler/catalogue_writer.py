"""Puts figures into a catalogue file: in a stable order, keeping what a person wrote, never leaving a broken file."""

import contextlib
import io
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from tradewind.catalogue import EnergyFigure, Figure, Variant, load_catalogue, parse_catalogue
from tradewind.errors import InvalidInput

_DIGITS = 6
_FIGURES = ("energy_mj", "energy_by_batch_mj", "error", "p95_latency_ms")


def write_catalogue(
    path: Path, family: str, variants: Mapping[str, Variant], *, error_metric: str, pool: Sequence[str]
) -> None:
    """Writes or updates a family; other families, other variants, comments, notes and the pool of an old one stay."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = _read(path, yaml)
    families = document.setdefault("families", CommentedMap())
    entry = families.setdefault(family, CommentedMap())
    _check_metric(path, family, entry.setdefault("error_metric", error_metric), error_metric)
    listed = entry.setdefault("pool", _flow(pool))
    listed.extend(name for name in pool if name not in listed and name not in entry.get("variants", {}))
    described = entry.setdefault("variants", CommentedMap())
    for name, variant in variants.items():
        _update(described.setdefault(name, CommentedMap()), variant)
    text = _dumped(document, yaml)
    parse_catalogue(text)
    _replace(path, text)


def check_family(path: Path, family: str, error_metric: str) -> None:
    """InvalidInput when a catalogue that is there is broken, or counts the family's error in another way."""
    if path.exists() and (found := load_catalogue(path).families.get(family)) is not None:
        _check_metric(path, family, found.error_metric, error_metric)


def known_variants(path: Path, family: str) -> Mapping[str, Variant]:
    """What a catalogue already says of a family; nothing where there is no file or no such family."""
    if not path.exists():
        return {}
    found = load_catalogue(path).families.get(family)
    return found.variants if found is not None else {}


def _check_metric(path: Path, family: str, written: str, measured: str) -> None:
    if written != measured:
        raise InvalidInput(
            f"catalogue {path}: family {family} has the error {written}, measured is {measured}: "
            f"choose it with --error-metric"
        )


def _read(path: Path, yaml: YAML) -> Any:
    if not path.exists():
        return CommentedMap(version=1)
    load_catalogue(path)
    try:
        return yaml.load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise InvalidInput(
            f"catalogue {path}: cannot be kept as it is; check it with `tradewind catalogue check`"
        ) from error


def _update(entry: MutableMapping[str, Any], variant: Variant) -> None:
    """New figures in place of the old ones; whatever else the entry says stays."""
    for key in ("model", "model_version"):
        if value := getattr(variant, key):
            entry[key] = value
    for key in _FIGURES:
        value = getattr(variant, key)
        if key == "energy_by_batch_mj":
            figures = CommentedMap((size, _figure(figure)) for size, figure in sorted(value.items()))
            if figures:
                entry[key] = figures
        elif value is not None:
            entry[key] = _figure(value)
        if not value and not (key == "p95_latency_ms" and _same_machine(entry, variant)):
            # A figure of another machine beside those of this one would pass for one of them.
            entry.pop(key, None)


def _same_machine(entry: Mapping[str, Any], variant: Variant) -> bool:
    """Whether an earlier latency is of the machine just measured: it stays, with its date, when this run has none."""
    earlier = entry.get("p95_latency_ms") or {}
    return bool(variant.energy_mj.hardware) and earlier.get("hardware") == variant.energy_mj.hardware


def _figure(figure: Figure) -> CommentedMap:
    """The fields in the order they are read: the number first, then where it comes from."""
    written = CommentedMap(value=_rounded(figure.value))
    if isinstance(figure, EnergyFigure) and figure.above_idle is not None:
        written["above_idle"] = _rounded(figure.above_idle)
    written["provenance"] = str(figure.provenance)
    if figure.interval_95 is not None:
        written["interval_95"] = _flow([_rounded(bound) for bound in figure.interval_95])
    if figure.cv is not None:
        written["cv"] = round(figure.cv, 4)
    for key in ("samples", "batch", "meter", "hardware", "driver", "runtime", "source", "method", "date"):
        if value := getattr(figure, key):
            written[key] = value
    return written


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _flow(values: Sequence[Any]) -> CommentedSeq:
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence


def _dumped(document: Any, yaml: YAML) -> str:
    buffer = io.StringIO()
    yaml.dump(document, buffer)
    return buffer.getvalue()


def _replace(path: Path, text: str) -> None:
    """All or nothing: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
