"""`Emissions` and `Operations` on the proxy's own port, asked over gRPC and by the `tradewind` command."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner

from inference_proxy.forces import Forces
from inference_proxy.proxy import Proxy
from tests.integration.inference_proxy.stand import (
    Selector,
    address_of,
    eventually,
    infer_request,
    reading_now,
    receipt_of,
)
from tradewind import messages
from tradewind.cli import app
from tradewind.errors import TradewindError
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc, operations_pb2, operations_pb2_grpc


async def serve(proxy: Proxy, selector: Selector, stub: Any) -> None:
    """Three inferences by the large variant at 200 g/kWh and one by a model's own name, all stored."""
    made = selector.decide("ident", {"large": 1.0}, reading_now(200.0))
    await eventually(lambda: proxy.families["ident"].decision == made)
    for _ in range(3):
        await stub.ModelInfer(infer_request("ident"))
    await stub.ModelInfer(infer_request("ident_small"))
    await eventually(lambda: proxy.flusher.pending_inferences() == 0)


async def ask(proxy: Proxy, service: Any, method: str, request: Any) -> Any:
    """One call of one of our services."""
    async with grpc.aio.insecure_channel(address_of(proxy)) as channel:
        return await getattr(service(channel), method)(request)


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the command; an error's sentence where it fails."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if isinstance(result.exception, TradewindError):
        return 2, str(result.exception)
    return result.exit_code, result.output


async def command(*arguments: str) -> tuple[int, str]:
    """The same beside a running event loop."""
    return await asyncio.to_thread(run, *arguments)


async def test_a_report_prices_what_was_served_beside_the_ends_of_the_pool(
    proxy: Proxy, selector: Selector, stub: Any
) -> None:
    await serve(proxy, selector, stub)
    answer = await ask(
        proxy,
        emissions_pb2_grpc.EmissionsStub,
        "GetReport",
        emissions_pb2.GetReportRequest(group_by=["family", "variant"]),
    )
    rows = {tuple(row.group): row for row in answer.rows}
    family = rows["ident", "large"]
    gram = 200 / 3.6e9
    assert (family.inferences, family.energy_uj, family.mean_error) == (3, 2_700_000, 3)
    assert family.emissions_g == pytest.approx(2_700 * gram)
    assert family.always_smallest_g == pytest.approx(300 * gram)
    assert family.always_largest_g == pytest.approx(2_700 * gram)
    alone = rows["", "small"]
    assert not alone.HasField("mean_error")
    assert alone.always_smallest_g == alone.always_largest_g == alone.emissions_g
    assert (answer.total.inferences, answer.pending_inferences) == (4, 0)


async def test_rows_come_page_by_page(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await serve(proxy, selector, stub)
    found, token = [], ""
    while True:
        page = await ask(
            proxy,
            emissions_pb2_grpc.EmissionsStub,
            "ListEmissions",
            emissions_pb2.ListEmissionsRequest(page_size=1, page_token=token),
        )
        found.extend(page.rows)
        token = page.next_page_token
        if not token:
            break
    assert sum(row.inferences for row in found) == 4
    assert all(row.intensity_g_per_kwh == 200 for row in found)


@pytest.mark.parametrize(
    ("method", "request_", "text"),
    [
        ("GetReport", emissions_pb2.GetReportRequest(group_by=["moon"]), "group_by 'moon' is unknown"),
        ("GetReport", emissions_pb2.GetReportRequest(family="nobody"), "family 'nobody' is not in the catalogue"),
        ("ListEmissions", emissions_pb2.ListEmissionsRequest(page_size=10_001), "page_size 10001 is out of range"),
        ("ListEmissions", emissions_pb2.ListEmissionsRequest(page_token="x"), "page_token is not one"),  # noqa: S106
    ],
)
async def test_a_wrong_question_is_a_rich_error(proxy: Proxy, method: str, request_: Any, text: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=text) as failed:
        await ask(proxy, emissions_pb2_grpc.EmissionsStub, method, request_)
    status: Any = rpc_status.from_call(failed.value)  # type: ignore[arg-type] # it has what is read of a call
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert info.reason in {"INVALID_INPUT", "NOT_FOUND"}


async def test_the_report_command(proxy: Proxy, selector: Selector, stub: Any, tmp_path: Path) -> None:
    await serve(proxy, selector, stub)
    at = ("--proxy", address_of(proxy))
    code, table = await command("report", *at)
    assert code == 0
    assert "ident" in table
    assert "largest" in table
    code, text = await command("report", "--by", "variant", "--format", "csv", *at)
    rows = {row["variant"]: row for row in csv.DictReader(io.StringIO(text)) if row["line"] == "served"}
    assert (rows["large"]["inferences"], rows["large"]["mean_error"], rows["small"]["mean_error"]) == ("3", "3.0", "")
    code, text = await command("report", "--by", "", "--format", "json", "--from", "2026-01-01T00:00:00Z", *at)
    assert json.loads(text)["total"]["inferences"] == 4
    code, text = await command("report", "--format", "json", "--to", "2026-01-01T00:00:00Z", *at)
    assert json.loads(text)["total"]["emissions_g"] is None
    picture = tmp_path / "report.png"
    code, text = await command("report", "--png", str(picture), *at)
    assert (code, f"wrote {picture}" in text) == (0, True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, text = await command("report", "--png", str(picture), "--to", "2026-01-01T00:00:00Z", *at)
    assert "there is nothing to draw" in text


async def test_the_report_command_marks_what_a_revision_restated(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await serve(proxy, selector, stub)
    selector.restate(reading_now(100.0, published_s=60))
    at = ("--proxy", address_of(proxy))
    async with asyncio.timeout(20):
        while "4 inferences are restated" not in (text := (await command("report", "--by", "variant", *at))[1]):
            pass
    gram = 100 / 3.6e9
    _, told = await command("report", "--by", "variant", "--format", "json", *at)
    large = next(row for row in json.loads(told)["rows"] if row["variant"] == "large")
    assert (large["restated_inferences"], large["emissions_g"]) == (3, pytest.approx(2_700 * gram))
    assert text.count("*") == 4  # Two variants, the total and what the mark means.


async def test_the_report_command_says_what_is_wrong(proxy: Proxy) -> None:
    at = ("--proxy", address_of(proxy))
    assert "group_by 'moon'" in (await command("report", "--by", "moon", *at))[1]
    assert "--from 'soon' is not a time" in (await command("report", "--from", "soon", *at))[1]
    assert "let its name end in .png" in (await command("report", "--png", "report.svg", *at))[1]
    assert "no inference proxy answers at 127.0.0.1:1" in (await command("report", "--proxy", "127.0.0.1:1"))[1]


async def test_a_forced_variant_serves_and_is_written_down(proxy: Proxy, selector: Selector, stub: Any) -> None:
    await serve(proxy, selector, stub)
    at = ("--proxy", address_of(proxy))
    code, text = await command("force", "ident", "medium", "--until", "1h", "--why", "a test", *at)
    assert code == 0, text
    assert "ident is served by medium until" in text
    receipt = receipt_of(await stub.ModelInfer(infer_request("ident")))
    assert (receipt["carbon_variant"], receipt["carbon_fallback"]) == ("medium", "forced")
    states = await ask(proxy, operations_pb2_grpc.OperationsStub, "ListStates", operations_pb2.ListStatesRequest())
    state = next(each for each in states.states if each.family == "ident")
    assert (state.decision, state.forced_variant) == ("ident-large", "medium")
    assert list(state.ready) == ["small", "medium", "large"]
    assert "ident: forced to medium until" in (await command("operations", *at))[1]

    code, text = await command("release", "ident", "--why", "enough", *at)
    assert "follows decisions again" in text
    assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_large"
    assert "was not forced" in (await command("release", "ident", "--why", "again", *at))[1]
    listed = await ask(
        proxy, operations_pb2_grpc.OperationsStub, "ListOperations", operations_pb2.ListOperationsRequest()
    )
    assert [(each.action, each.variant, each.why) for each in listed.operations] == [
        ("release", "medium", "enough"),
        ("force", "medium", "a test"),
    ]
    assert all(each.operator for each in listed.operations)
    lines = (await command("operations", "--at-most", "1", *at))[1].splitlines()
    assert "ident: follows decision ident-large; ready: small, medium, large" in lines
    assert lines[-1].endswith("released ident: enough")
    assert lines[-2] == ""


async def test_a_force_outlives_the_process(proxy: Proxy) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    proxy.forces.force("ident", "medium", until, "op", "a test")
    proxy.forces.force("sum", "thorough", until, "op", "a test")
    proxy.forces.release("sum", "op", "enough")
    ident, summing = proxy.families["ident"], proxy.families["sum"]
    ident.force = None
    again = Forces(proxy.settings.proxy_spool_directory / "operations.jsonl", proxy.families)
    again.restore()
    assert getattr(ident.force, "variant", None) == "medium"
    assert summing.force is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"family": "nobody"}, "family 'nobody' is not in the catalogue"),
        ({"variant": "huge"}, "variant 'huge' is not a permitted variant of ident: it has small, medium, large"),
        ({"operator": " "}, "operator is missing"),
        ({"why": ""}, "why is missing"),
        ({"until": datetime(2026, 1, 1, tzinfo=UTC)}, "is not in the future"),
    ],
)
async def test_a_wrong_force_is_refused(proxy: Proxy, changes: dict[str, Any], text: str) -> None:
    given = {
        "family": "ident",
        "variant": "small",
        "operator": "op",
        "why": "a test",
        "until": datetime.now(UTC) + timedelta(hours=1),
        **changes,
    }
    given["until"] = messages.timestamp(given["until"])
    with pytest.raises(grpc.aio.AioRpcError, match=text):
        await ask(
            proxy, operations_pb2_grpc.OperationsStub, "ForceVariant", operations_pb2.ForceVariantRequest(**given)
        )
    assert proxy.families["ident"].force is None
