"""The README's example, as it is written, against a running stack."""

import contextlib
import io
import re
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
    printed = io.StringIO()
    with Stack(options, lambda _line: None) as stack, contextlib.redirect_stdout(printed):
        exec(snippet[1].replace("127.0.0.1:8001", stack.proxy.address), {})  # noqa: S102 -- our own README
    assert printed.getvalue().startswith("0 ")
    for parameter in re.findall(r"^\| `(carbon_\w+)` \|", text, re.MULTILINE):
        assert parameter in printed.getvalue()
