"""The README's example, as it is written, against a running stack."""

import contextlib
import io
import re
import time
from pathlib import Path

from demo.synthetic_day import write_synthetic_days
from local_stack.stack import Options, Replay, Stack
from local_stack.triton import Triton

README = Path(__file__).parents[2] / "README.md"


def test_the_request_of_the_readme_is_answered_with_the_receipt_it_shows(tmp_path: Path, triton: Triton) -> None:
    text = README.read_text()
    snippet = re.search(r"<!-- snippet: request -->\n```python\n(.*?)```", text, re.DOTALL)
    assert snippet is not None
    replay = Replay(file=write_synthetic_days(tmp_path, days=3), speed=60, backfill_s=86_400)
    options = Options(
        directory=tmp_path,
        zone="T-README",
        database="sqlite",
        window_s=1_440,
        replay=replay,
        triton_grpc=triton.grpc,
        triton_http=triton.http,
    )
    with Stack(options, lambda _line: None) as stack:
        code = snippet[1].replace("127.0.0.1:8001", stack.proxy.address)
        deadline = time.monotonic() + 60
        # Until the first reading has come the fallback answers, and its receipt has no intensity.
        while "carbon_intensity_g_per_kwh" not in (printed := _run(code)):
            assert time.monotonic() < deadline, printed
    assert printed.startswith("0 ")
    for parameter in re.findall(r"^\| `(carbon_\w+)` \|", text, re.MULTILINE):
        assert parameter in printed


def _run(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})  # noqa: S102 -- our own README
    return printed.getvalue()
