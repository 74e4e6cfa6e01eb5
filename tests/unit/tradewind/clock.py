"""A clock that a test moves."""

from dataclasses import dataclass


@dataclass
class Ticking:
    """Stands for `time.monotonic`."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now_s
