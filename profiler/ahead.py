"""What would make a long measurement useless in the end, said before it begins."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tradewind.errors import InvalidInput


def check_can_write(option: str, path: Path) -> None:
    """InvalidInput when no file can be put there; missing folders are made."""
    if path.is_dir():
        raise InvalidInput(f"{option} {path}: that is a folder; name a file")
    check_folder(option, path, path.parent)


def check_folder(option: str, named: Path, folder: Path) -> None:
    """InvalidInput when a folder cannot be made or written into, with what the user named."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInput(
            f"{option} {named}: cannot be written there ({error.strerror}); name another place"
        ) from error


def plot_of(plot: Path | None, output: Path, family: str) -> Path:
    """Where the picture goes: as the user says, or beside the catalogue under the family's name."""
    if not family or "/" in family:
        raise InvalidInput(f"--family {family[:80]!r}: it becomes part of a file's name, choose a plain one")
    if output.is_dir():
        raise InvalidInput(f"--output {output}: that is a folder; name a file")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InvalidInput(f"--plot {plot}: it is written as PNG, let its name end in .png")
    return plot or output.with_suffix(f".{family}.png")


def check_told_errors(told: Mapping[str, float], source: str, variants: Iterable[str]) -> None:
    """InvalidInput when a published error is of no variant that is measured, or of no publication."""
    known = list(variants)
    if unknown := [name for name in told if name not in known]:
        raise InvalidInput(f"--error names {', '.join(unknown)}, which is not among --variants: {', '.join(known)}")
    if told and not source.strip():
        raise InvalidInput("--error needs --error-source: where are these errors published?")
