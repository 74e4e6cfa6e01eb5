"""The demo as a user starts it: a day in seconds, the table, the plot, and accounts that agree."""

import os
import subprocess
import sys
from pathlib import Path

from demo.synthetic_day import write_synthetic_days

_CODE = """
import sys
from pathlib import Path
from demo.run import run_demo
sys.exit(run_demo(Path(sys.argv[1]), Path(sys.argv[2]), speed=5_760))
"""


def test_a_day_ends_with_table_plot_and_agreement(tmp_path: Path) -> None:
    trace = write_synthetic_days(tmp_path, days=3)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", _CODE, str(trace), str(tmp_path / "output")],
        capture_output=True,
        text=True,
        timeout=160,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("always smallest", "always largest", "clairvoyant, same error", "ledger and Triton agree on"):
        assert words in done.stdout
    assert (tmp_path / "output" / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("tradewind-demo-*"))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert f"{tmp_path}/tradewind-demo-" not in process.read_bytes().decode(errors="replace")
        except OSError:
            continue
