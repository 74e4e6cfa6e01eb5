"""What the front adds: the decided variant, its receipt in JSON and headers, the record; and what goes wrong."""

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_proxy.proxy import Proxy
from inference_proxy.spool import Charge, read_keys, read_records, segments
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.http.asking import (
    HEADER_LENGTH,
    address_over_http,
    ask,
    exchange,
    infer_binary,
    infer_json,
    receipt_in,
)
from tests.integration.inference_proxy.stand import Selector, eventually, reading_now, running, settings_for


async def decide(proxy: Proxy, selector: Selector, family: str, mix: dict[str, float]) -> None:
    """A decision that is in force."""
    made = selector.decide(family, mix, reading_now(200.0))
    await eventually(lambda: proxy.families[family].decision == made)


def records(directory: Path) -> list[tuple[Charge, int]]:
    """(charge, inferences) of every record in a spool."""
    found = []
    for segment in segments(directory):
        keys = read_keys(directory, segment)
        found += [
            (keys[int(record["key"])], int(record["inferences"]))
            for record in read_records(directory, segment, 0, 10_000)
        ]
    return found


EXPECTED = {
    "carbon_requested_model": "ident",
    "carbon_variant": "large",
    "carbon_zone": "GB",
    "carbon_decision": "ident-large",
    "carbon_intensity_g_per_kwh": "200",
    "carbon_energy_uj": 2_700_000,
    "carbon_emissions_ng": 150_000,
}


@pytest.mark.parametrize("kind", ["json", "binary", "compressed"])
async def test_a_receipt_is_in_json_and_headers(proxy: Proxy, selector: Selector, kind: str) -> None:
    await decide(proxy, selector, "ident", {"large": 1.0})
    headers: dict[str, str] = {}
    body = json.dumps(infer_json(rows=3)).encode()
    if kind != "json":
        body, headers = infer_binary(np.zeros([3, 2], np.float32))
    if kind == "compressed":
        body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    before = len(records(proxy.spool.directory))
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", body, headers)
    plain = gzip.decompress(answer.body) if kind == "compressed" else answer.body
    said = json.loads(plain[: int(answer.headers.get(HEADER_LENGTH.lower(), len(plain)))])
    assert said["model_name"] == "ident_large"
    receipt = said["parameters"]
    assert 0 <= receipt["carbon_decision_age_s"] < 60
    assert receipt == EXPECTED | {"carbon_decision_age_s": receipt["carbon_decision_age_s"]}
    assert receipt_in(answer) == {name: str(value) for name, value in receipt.items()}
    charge, inferences = records(proxy.spool.directory)[before:][0]
    assert (charge.family, charge.variant, inferences) == ("ident", "large", 3)


async def test_a_raw_request_is_one_inference(proxy: Proxy) -> None:
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", bytes(12), {HEADER_LENGTH: "0"})
    assert receipt_in(answer)["carbon_energy_uj"] == "100000"


async def test_a_model_by_its_own_name_is_metered_and_nothing_is_decided(proxy: Proxy, selector: Selector) -> None:
    await decide(proxy, selector, "ident", {"large": 1.0})
    answer = await ask(
        address_over_http(proxy), "POST", "/v2/models/ident_small/infer", json.dumps(infer_json(carbon_pin_variant="x"))
    )
    receipt = answer.json["parameters"]
    assert (receipt["carbon_requested_model"], receipt["carbon_variant"]) == ("ident_small", "small")
    assert "carbon_decision" not in receipt


async def test_a_mix_is_split_by_weight(proxy: Proxy, selector: Selector) -> None:
    await decide(proxy, selector, "ident", {"small": 0.75, "large": 0.25})
    request = json.dumps(infer_json())
    answers = [await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", request) for _ in range(20)]
    assert [answer.json["model_name"] for answer in answers].count("ident_large") == 5


@pytest.mark.parametrize(
    ("parameters", "status", "text"),
    [
        ({"carbon_pin_variant": "medium"}, 200, '"carbon_fallback":"pinned"'),
        ({"carbon_min_accuracy": "97"}, 200, '"carbon_variant":"large"'),
        ({"carbon_min_accuracy": 94}, 200, '"carbon_variant":"medium"'),
        ({"carbon_min_accuracy": "99"}, 400, "no permitted variant of 'ident' satisfies carbon_min_accuracy 99"),
        ({"carbon_min_accuracy": "much"}, 400, "carbon_min_accuracy 'much' is not a number"),
        ({"carbon_max_latency_ms": 5}, 400, "p95 unknown"),
        ({"carbon_pin_variant": "huge"}, 400, "'huge' is not a permitted variant of 'ident': it has small, medium"),
        ({"carbon_pin_variant": 5}, 400, "carbon_pin_variant is not text"),
    ],
)
@pytest.mark.parametrize("action", ["infer", "generate"])
async def test_requirements(proxy: Proxy, parameters: dict[str, Any], status: int, text: str, action: str) -> None:
    request = infer_json(**parameters) if action == "infer" else {"INPUT": [1, 2]} | parameters
    answer = await ask(address_over_http(proxy), "POST", f"/v2/models/ident/{action}", json.dumps(request))
    assert answer.status == status
    assert text in answer.body.decode()


async def test_parameters_behind_large_json_tensors_are_seen(proxy: Proxy) -> None:
    request = infer_json([0.5] * 300_000, carbon_pin_variant="large")
    request["parameters"] = request.pop("parameters")
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", json.dumps(request))
    assert answer.json["model_name"] == "ident_large"
    assert answer.json["parameters"]["carbon_fallback"] == "pinned"
    assert len(answer.json["outputs"][0]["data"]) == 300_000


async def test_a_sequence_stays_on_its_variant(proxy: Proxy, selector: Selector) -> None:
    def step(start: bool, end: bool) -> str:
        return json.dumps(
            {
                "inputs": [{"name": "INPUT", "shape": [1], "datatype": "FP32", "data": [1]}],
                "parameters": {"sequence_id": 99, "sequence_start": start, "sequence_end": end},
            }
        )

    path, served = "/v2/models/sum/infer", []
    for start, end, decided in ((True, False, "plain"), (False, False, "thorough"), (False, True, "thorough")):
        await decide(proxy, selector, "sum", {decided: 1.0})
        answer = await ask(address_over_http(proxy), "POST", path, step(start, end))
        served.append((answer.json["model_name"], answer.json["parameters"].get("carbon_fallback")))
    assert served == [("sum_small", None), ("sum_small", "sequence"), ("sum_small", "sequence")]


async def test_a_stream_s_figures_come_once_and_first(proxy: Proxy) -> None:
    before = len(records(proxy.spool.directory))
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/count/generate_stream", '{"INPUT":3}')
    events = [json.loads(each.removeprefix(b"data: ")) for each in answer.body.split(b"\n\n") if each]
    assert [event["OUTPUT"] for event in events] == [0, 1, 2]
    assert [event.get("carbon_energy_uj") for event in events] == [100_000, None, None]
    assert receipt_in(answer)["carbon_energy_uj"] == "100000"
    assert len(records(proxy.spool.directory)) == before + 1


async def test_a_generate_answer_has_the_receipt_among_its_members(proxy: Proxy) -> None:
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/ident/generate", '{"INPUT":1.5}')
    assert (answer.json["OUTPUT"], answer.json["carbon_energy_uj"]) == (1.5, 100_000)
    assert receipt_in(answer)["carbon_energy_uj"] == "100000"


async def test_refused_requests_are_not_booked(proxy: Proxy) -> None:
    before = len(records(proxy.spool.directory))
    for path, body in (
        ("ident/infer", "{}"),
        ("ident/versions/2/infer", "{}"),
        ("ident/generate", '{"X":1}'),
        ("count/generate", '{"INPUT":2}'),
        ("count/generate_stream", '{"X":2}'),
    ):
        answer = await ask(address_over_http(proxy), "POST", f"/v2/models/{path}", body)
        assert not receipt_in(answer)
        assert b"carbon_" not in answer.body
    assert len(records(proxy.spool.directory)) == before


async def test_without_receipts_answers_are_triton_s(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(
        tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=models.http, proxy_receipts=False
    )
    async with running(settings) as proxy:
        for body, headers in ((json.dumps(infer_json()), {}), infer_binary(np.zeros([1, 300_000], np.float32))):
            for accept in ({}, {"Accept-Encoding": "gzip"}):
                ours = await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", body, headers | accept)
                theirs = await ask(models.http, "POST", "/v2/models/ident_small/infer", body, headers | accept)
                assert ours.body == theirs.body
                assert not receipt_in(ours)
        assert sum(inferences for _, inferences in records(proxy.spool.directory)) == 4


async def test_what_cannot_be_recorded_is_not_answered(proxy: Proxy) -> None:
    proxy.spool._records, kept = None, proxy.spool._records
    try:
        for path, body in (("infer", json.dumps(infer_json())), ("generate", '{"INPUT":1}')):
            answer = await ask(address_over_http(proxy), "POST", f"/v2/models/ident/{path}", body)
            assert (answer.status, answer.error) == (
                503,
                "the proxy's accounts cannot be written: free its spool's disk",
            )
    finally:
        proxy.spool._records = kept
    answer = await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", json.dumps(infer_json()))
    assert answer.status == 200


async def test_load_and_unload_of_a_family_are_refused(proxy: Proxy) -> None:
    for action in ("load", "unload"):
        answer = await ask(address_over_http(proxy), "POST", f"/v2/repository/models/ident/{action}")
        assert answer.status == 400
        assert answer.error == (
            f"'ident' is a family of models, which cannot be {action}ed: "
            f"{action} ident_small, ident_medium, ident_large instead"
        )


async def test_a_family_s_statistics_are_its_variants_summed(proxy: Proxy, models: Triton) -> None:
    for variant in ("small", "large"):
        request = json.dumps(infer_json(carbon_pin_variant=variant))
        await ask(address_over_http(proxy), "POST", "/v2/models/ident/infer", request)
    (row,) = (await ask(address_over_http(proxy), "GET", "/v2/models/ident/stats")).json["model_stats"]
    rows = [
        (await ask(models.http, "GET", f"/v2/models/ident_{variant}/stats")).json["model_stats"][0]
        for variant in ("small", "medium", "large")
    ]
    assert (row["name"], row["version"]) == ("ident", "1")
    assert row["inference_count"] == sum(each["inference_count"] for each in rows) >= 2


async def test_a_family_is_ready_while_any_variant_is(own_models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=own_models.grpc, proxy_triton_http=own_models.http)
    async with running(settings) as proxy:
        address, request = address_over_http(proxy), json.dumps(infer_json())
        targets = {target.variant: target for target in proxy.families["ident"].targets}
        await ask(address, "POST", "/v2/repository/models/ident_small/unload")
        # Whether the proxy has looked again or not, the next variant serves.
        answer = await ask(address, "POST", "/v2/models/ident/infer", request)
        assert answer.json["model_name"] == "ident_medium"
        await eventually(lambda: targets["small"].ready is False)
        answer = await ask(address, "POST", "/v2/models/ident/infer", request)
        assert (answer.json["model_name"], answer.json["parameters"]["carbon_fallback"]) == (
            "ident_medium",
            "not_ready",
        )
        assert (await ask(address, "GET", "/v2/models/ident/ready")).status == 200
        for model in ("ident_medium", "ident_large"):
            await ask(address, "POST", f"/v2/repository/models/{model}/unload")
        await eventually(lambda: not any(target.ready for target in targets.values()))
        answer = await ask(address, "GET", "/v2/models/ident/ready")
        assert (answer.status, answer.error) == (400, "Model version not ready")
        for path in ("ident", "ident/config"):
            answer = await ask(address, "GET", f"/v2/models/{path}")
            expected = (404, "Request for unknown model: 'ident' has no available versions")
            assert (answer.status, answer.error) == expected
        answer = await ask(address, "POST", "/v2/models/ident/infer", request)
        assert (answer.status, answer.error) == expected
        index = (await ask(address, "POST", "/v2/repository/index")).json
        assert {row["state"] for row in index if row["name"] == "ident"} == {"UNAVAILABLE"}
        index = (await ask(address, "POST", "/v2/repository/index", b'{"ready":true}')).json
        assert "ident" not in {row["name"] for row in index}


async def test_triton_away_is_said_and_forgotten(own_models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=own_models.grpc, proxy_triton_http=own_models.http)
    async with running(settings) as proxy:
        address, request = address_over_http(proxy), json.dumps(infer_json())
        assert (await ask(address, "POST", "/v2/models/ident/infer", request)).status == 200
        own_models.child.kill()
        for method, path, body in (
            ("POST", "/v2/models/ident/infer", request),
            ("POST", "/v2/models/ident_small/infer", request),
            ("GET", "/v2/health/ready", None),
            ("GET", "/v2/models/ident/config", None),
        ):
            answer = await ask(address, method, path, body)
            assert answer.status == 503
            assert answer.error == "the inference server does not answer: try again when it is back"
        await asyncio.to_thread(own_models.start)
        await eventually(lambda: all(target.usable for target in proxy.families["ident"].targets))
        assert (await ask(address, "POST", "/v2/models/ident/infer", request)).status == 200


async def test_where_one_triton_is_away_the_other_serves(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    (nobody,) = free_ports(1)
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=f"{models.grpc},{models.grpc}",
        proxy_triton_http=f"127.0.0.1:{nobody},{models.http}",
    )
    async with running(settings) as proxy:
        address, (large, headers) = address_over_http(proxy), infer_binary(np.zeros([1, 300_000], np.float32))
        for body, more in ((json.dumps(infer_json()).encode(), {}), (large, headers)):
            answers = [await ask(address, "POST", "/v2/models/ident/infer", body, more) for _ in range(6)]
            assert [answer.status for answer in answers] == [200] * 6
        assert len(records(proxy.spool.directory)) == 12
        # A sequence is not tried a second time, nor elsewhere: what it adds up is in the memory of its Triton.
        statuses = []
        for sequence in range(1, 21):
            step = json.dumps(infer_json(sequence_id=sequence))
            first, second = [(await ask(address, "POST", "/v2/models/ident/infer", step)).status for _ in range(2)]
            assert first == second
            statuses.append(first)
        assert set(statuses) == {200, 503}


async def test_more_than_the_limit_in_flight_is_refused(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(
        tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=models.http, proxy_in_flight=1
    )
    async with running(settings) as proxy:
        address = address_over_http(proxy)
        slow = asyncio.create_task(ask(address, "POST", "/v2/models/ident/infer", json.dumps(infer_json(wait_s="1"))))
        await eventually(lambda: proxy.tallies.in_flight == 1)
        answer = await ask(address, "POST", "/v2/models/ident/infer", json.dumps(infer_json()))
        assert (answer.status, answer.error) == (
            429,
            "the proxy has its limit of 1 requests in flight: try again later",
        )
        assert (await slow).status == 200


class Tap:
    """A TCP relay before Triton that tells how many of its connections are open."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self.open = 0
        self.address = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Takes no more connections."""
        assert self._server is not None
        self._server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._host, int(self._port))
        self.open += 1

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(65_536):
                sink.write(piece)
                await sink.drain()

        ways = [asyncio.create_task(pump(reader, inner_writer)), asyncio.create_task(pump(inner_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self.open -= 1
        writer.close()
        inner_writer.close()


@pytest.mark.parametrize("action", ["generate_stream", "infer"])
async def test_a_client_that_hangs_up_ends_the_call_to_triton(
    models: Triton, tmp_path: Path, sqlite_url: str, action: str
) -> None:
    tap = Tap(models.http)
    await tap.start()
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=tap.address)
    body, model = b'{"INPUT":50}', "count"
    if action == "infer":
        body, model = json.dumps(infer_json(wait_s="3")).encode(), "ident"
    async with running(settings) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.http.port)
        writer.write(
            b"POST /v2/models/%s/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
            % (model.encode(), action.encode(), len(body), body)
        )
        await eventually(lambda: tap.open == 1)
        if action == "generate_stream":
            await reader.readuntil(b"data: ")
        writer.close()
        await eventually(lambda: tap.open == 0, timeout_s=1)
        assert proxy.tallies.in_flight == 0
    tap.stop()


async def test_large_bodies_pass_without_being_held(proxy: Proxy) -> None:
    """The proxy runs in this process, so its own part of the memory is what a tap of the same size does not need."""
    given = np.zeros([1, 25_000_000], np.float32)
    body, headers = infer_binary(given)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    seen = 0

    async def receive(reader: asyncio.StreamReader) -> None:
        nonlocal seen
        while piece := await reader.read(1 << 20):
            seen += len(piece)

    before = _resident()
    peak = before
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.http.port)
    writer.write(
        f"POST /v2/models/ident/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n{head}\r\n".encode()
    )
    receiving = asyncio.create_task(receive(reader))
    view = memoryview(body)
    for position in range(0, len(body), 1 << 20):
        writer.write(view[position : position + (1 << 20)])
        await writer.drain()
        peak = max(peak, _resident())
    while not receiving.done():
        peak = max(peak, _resident())
        await asyncio.sleep(0.01)
    writer.close()
    assert seen > given.nbytes
    assert peak - before < 50_000_000


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_what_is_no_http_is_told_so(proxy: Proxy) -> None:
    back = await exchange(address_over_http(proxy), b"garbage\r\n\r\n")
    assert back.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert back.endswith(b'{"error":"the request is not HTTP/1.1 as this server reads it"}')


async def test_a_drain_lets_requests_end(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=models.http)
    async with running(settings) as proxy:
        address = address_over_http(proxy)
        slow = asyncio.create_task(ask(address, "POST", "/v2/models/ident/infer", json.dumps(infer_json(wait_s="1"))))
        await eventually(lambda: proxy.tallies.in_flight == 1)
    assert (await slow).status == 200
    with pytest.raises(ConnectionError):
        await ask(address, "GET", "/v2")
