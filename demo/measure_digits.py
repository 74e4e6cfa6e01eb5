"""Measures the digits family on a real Triton and rewrites its catalogue: `python -m demo.measure_digits`.

The same as `tradewind profile` on a Triton of its own. Error and latency are measured; where the machine has no
counter of energy, energy is estimated from CPU time, and the catalogue says so.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from demo.digits import split_digits
from local_stack.triton import Triton
from profiler.command import run_profile
from profiler.meter_offers import Metering
from profiler.plan import Goal
from profiler.profile import Wish
from profiler.repeatability import count_runs, measure_repeatedly, say_at_once

CATALOGUE = Path(__file__).parent.parent / "tradewind" / "catalogues" / "digits.yaml"
PLOT = Path("demo-output") / "digits-profile.png"
"""Where the demo's own plot goes; not beside the catalogue, which is part of the package."""

FAMILY = "digits"
SIZES = ("digits-small", "digits-medium", "digits-large")
BATCHES = (1, 8, 32)


def main() -> None:
    """Starts Triton, measures, and writes what stands; exit code 1 where something does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="the file to write")
    parser.add_argument("--plot", type=Path, default=PLOT, help="the picture of energy against error (PNG)")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of measuring at most")
    parser.add_argument("--precision", type=float, default=0.03, help="half interval / mean that is enough")
    parser.add_argument("--spread", type=float, default=60.0, help="seconds to spread a measurement over at least")
    parser.add_argument("--repeat", type=int, default=0, help="write nothing; measure so often, count the intervals")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tradewind-") as directory:
        digits = Path(directory) / "uci-digits-test.npz"
        test = split_digits().test
        np.savez(digits, pixels=test.pixels, labels=test.labels)
        triton = Triton(Path(directory))
        try:
            triton.start()
            metering = Metering(triton_pid=triton.child.pid)
            goal = Goal(precision=arguments.precision, spread_s=arguments.spread)
            if arguments.repeat:
                count_runs(measure_repeatedly(triton.grpc, SIZES, arguments.repeat, goal, metering), say_at_once)
                return
            wish = Wish(
                address=triton.grpc,
                family=FAMILY,
                variants={size: (size, "") for size in SIZES},
                output=arguments.catalogue,
                batches=BATCHES,
                inputs=digits,
                labels=digits,
                goal=goal,
                budget_s=arguments.budget,
                fresh=True,
            )
            whole = run_profile(wish, metering, arguments.plot)
        finally:
            triton.stop()
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
