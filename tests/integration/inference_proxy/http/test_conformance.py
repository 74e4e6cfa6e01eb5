"""One set of assertions for Triton itself and for the front before it, for a model and for a family."""

import asyncio
import gzip
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from local_stack.triton import Triton
from tests.integration.inference_proxy.http.asking import (
    HEADER_LENGTH,
    Answer,
    ask,
    exchange,
    infer_binary,
    infer_json,
)


@dataclass(frozen=True)
class Place:
    """Where the same questions are asked, and under which names."""

    address: str
    name: str
    """An identity that batches up to 64."""
    served: str
    """The model that serves it."""
    counter: str
    """A decoupled model."""
    adder: str
    """A model with sequences."""

    @property
    def infer(self) -> str:
        """The path of an inference."""
        return f"/v2/models/{self.name}/infer"


@pytest.fixture(params=["triton", "model", "family"])
def place(request: pytest.FixtureRequest, models: Triton, standing_front: str) -> Place:
    """Triton, a model behind the front, a family behind the front."""
    if request.param == "family":
        return Place(standing_front, "ident", "ident_small", "count", "sum")
    address = models.http if request.param == "triton" else standing_front
    return Place(address, "ident_small", "ident_small", "count_small", "sum_small")


OK = json.dumps(infer_json())
BINARY, BINARY_HEADERS = infer_binary(np.array([[1, 2]], np.float32))


def zipped(body: bytes) -> bytes:
    """The same bytes at any time: those of a parameter name its test."""
    return gzip.compress(body, mtime=0)


CUT_SHORT = "expecting 4 additional bytes for model '{served}'"
NO_MEMBER = "attempt to access non-existing object member 'inputs'"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "text"),
    [
        ("GET", "/v2/health/live", None, {}, 200, ""),
        ("GET", "/v2/health/ready", None, {}, 200, ""),
        ("GET", "/v2/health/live/", None, {}, 404, "Not Found"),
        ("GET", "/v2", None, {}, 200, '"name":"triton"'),
        ("GET", "/v2/", None, {}, 404, "Not Found"),
        ("GET", "/metrics", None, {}, 404, "Not Found"),
        ("POST", "/v2", b"", {}, 405, "Method Not Allowed"),
        ("DELETE", "/v2/models/{name}", None, {}, 405, "Method Not Allowed"),
        ("GET", "/v2/models/{name}", None, {}, 200, '"name":"{name}","versions":["1"]'),
        ("GET", "/v2/models/{name}/versions/1", None, {}, 200, '"name":"{name}"'),
        ("GET", "/v2/models/{name}/versions/01", None, {}, 200, '"name":"{name}"'),
        (
            "GET",
            "/v2/models/{name}/versions/2",
            None,
            {},
            404,
            "Request for unknown model: '{name}' version 2 is not found",
        ),
        ("GET", "/v2/models/{name}/versions/x", None, {}, 404, "Not Found"),
        ("GET", "/v2/models/{name}/nonsense", None, {}, 404, "Not Found"),
        ("GET", "/v2/models/{name}/ready", None, {}, 200, ""),
        ("POST", "/v2/models/{name}/ready", b"", {}, 405, "Method Not Allowed"),
        ("GET", "/v2/models/{name}/versions/1/ready?x=1", None, {}, 200, ""),
        ("GET", "/v2/models/{name}/versions/2/ready", None, {}, 400, "Model version not ready"),
        (
            "GET",
            "/v2/models/{name}/versions/99999999999999999999/ready",
            None,
            {},
            400,
            "failed to get model version from specified version string '99999999999999999999' (details: stol), "
            "version should be an integral value > 0",
        ),
        ("GET", "/v2/models/{name}/config", None, {}, 200, '"name":"{name}"'),
        ("GET", "/v2/models/{name}/versions/2/config", None, {}, 404, "'{name}' version 2 is not found"),
        ("GET", "/v2/models/{name}/stats", None, {}, 200, '{"model_stats":[{"name":"{name}","version":"1",'),
        (
            "GET",
            "/v2/models/{name}/versions/2/stats",
            None,
            {},
            400,
            "requested model version is not available for model '{name}'",
        ),
        ("GET", "/v2/models/{name}/trace/setting", None, {}, 200, '"trace_level":["OFF"]'),
        ("GET", "/v2/models/{name}/infer", None, {}, 405, "Method Not Allowed"),
        ("GET", "/v2/models/none", None, {}, 404, "Request for unknown model: 'none' is not found"),
        ("GET", "/v2/models/none/ready", None, {}, 400, "Model version not ready"),
        ("GET", "/v2/models/none/stats", None, {}, 400, "requested model 'none' is not available"),
        ("POST", "/v2/models/none/infer", OK, {}, 404, "Request for unknown model: 'none' is not found"),
        ("POST", "/v2/models/none/generate", "{}", {}, 404, "Request for unknown model: 'none' is not found"),
        ("GET", "/v2/models/stats", None, {}, 200, '{"name":"{name}","version":"1",'),
        ("GET", "/v2/logging", None, {}, 200, '"log_info":'),
        ("GET", "/v2/trace/setting", None, {}, 200, '"trace_level":'),
        ("GET", "/v2/systemsharedmemory/status", None, {}, 200, "[]"),
        ("GET", "/v2/cudasharedmemory/status", None, {}, 200, "[]"),
        ("POST", "/v2/repository/index", b"", {}, 200, '{"name":"{name}","version":"1","state":"READY"}'),
        ("POST", "/v2/repository/index", b'{"ready":true}', {}, 200, '{"name":"{name}","version":"1","state":"READY"}'),
        ("POST", "/v2/repository/index", b'{"ready":', {}, 500, "failed to parse the request JSON buffer"),
        ("POST", "/v2/repository/models/none/load", b"", {}, 500, "failed to load 'none'"),
        ("POST", "/v2/repository/x/models/none/load", b"", {}, 501, "'repository_name' specification"),
        ("POST", "{infer}", OK, {}, 200, '"model_name":"{served}","model_version":"1"'),
        ("POST", "/v2/models/{name}/versions/1/infer?x=1", OK, {}, 200, '"model_name":"{served}"'),
        ("POST", "/v2/models/{name}/versions/2/infer", OK, {}, 404, "'{name}' version 2 is not found"),
        ("POST", "{infer}", f"\n {OK} \n", {}, 200, '"data":[1.0,2.0]'),
        ("POST", "{infer}", f"{OK}x", {}, 500, "The document root must not be followed by other values"),
        ("POST", "{infer}", "{", {}, 500, "Missing a name for object member. at 1"),
        ("POST", "{infer}", "[]", {}, 500, NO_MEMBER),
        ("POST", "{infer}", "{}", {}, 500, NO_MEMBER),
        ("POST", "{infer}", b"\xff\xfe", {}, 500, "Invalid value. at 0"),
        ("POST", "{infer}", b"", {}, 200, '"shape":[1,0]'),
        ("POST", "{infer}", json.dumps(infer_json(a=1, b="x", c=True)), {}, 200, '"data":[1.0,2.0]'),
        ("POST", "{infer}", json.dumps(infer_json(a={})), {}, 400, "parameter 'a' has invalid type"),
        ("POST", "{infer}", json.dumps(infer_json(triton_x=1)), {}, 400, "reserved for Triton usage"),
        ("POST", "{infer}", json.dumps(infer_json(priority="x")), {}, 500, "Unable to parse 'priority'"),
        ("POST", "{infer}", json.dumps(infer_json(rows=65)), {}, 400, "batch-size must be <= 64 for '{served}'"),
        ("POST", "{infer}", json.dumps(infer_json() | {"id": 5}), {}, 500, "Unable to parse 'id'"),
        (
            "POST",
            "{infer}",
            json.dumps(infer_json() | {"outputs": [{"name": "NOPE"}]}),
            {},
            400,
            "unexpected inference output 'NOPE' for model '{served}'",
        ),
        ("POST", "{infer}", BINARY, BINARY_HEADERS, 200, '"parameters":{"binary_data_size":8}'),
        (
            "POST",
            "{infer}",
            BINARY + b"zz",
            BINARY_HEADERS,
            400,
            "unexpected additional input data for model '{served}'",
        ),
        ("POST", "{infer}", BINARY[:-4], BINARY_HEADERS, 400, CUT_SHORT),
        ("POST", "{infer}", BINARY, {HEADER_LENGTH: "-1"}, 400, "inference header size should be in range (0, "),
        ("POST", "{infer}", BINARY, {HEADER_LENGTH: "99999"}, 400, "inference header size should be in range (0, "),
        ("POST", "{infer}", BINARY, {HEADER_LENGTH: "9" * 20}, 400, "inference header size should be in range (0, "),
        ("POST", "{infer}", BINARY, {HEADER_LENGTH: "5"}, 500, "failed to parse the request JSON buffer"),
        ("POST", "{infer}", BINARY, {HEADER_LENGTH: BINARY_HEADERS[HEADER_LENGTH] + "x"}, 200, '"shape":[1,2]'),
        ("POST", "{infer}", b"\0" * 12, {HEADER_LENGTH: "0"}, 200, '"shape":[1,3]'),
        ("POST", "{infer}", b"\0" * 12, {HEADER_LENGTH: "x"}, 200, '"shape":[1,3]'),
        ("POST", "{infer}", b"\0" * 10, {HEADER_LENGTH: "0"}, 400, "input byte size mismatch"),
        ("POST", "{infer}", zipped(OK.encode()), {"Content-Encoding": "gzip"}, 200, '"data":[1.0,2.0]'),
        ("POST", "{infer}", zlib.compress(OK.encode()), {"Content-Encoding": "deflate"}, 200, '"data":[1.0,2.0]'),
        ("POST", "{infer}", zipped(BINARY), BINARY_HEADERS | {"Content-Encoding": "gzip"}, 200, '"shape":[1,2]'),
        ("POST", "{infer}", BINARY, BINARY_HEADERS | {"Content-Encoding": "gzip"}, 400, "inference header size"),
        ("POST", "{infer}", OK, {"Content-Encoding": "br"}, 501, "Unsupported compression type"),
        ("POST", "{infer}", OK, {"Content-Encoding": "identity"}, 200, '"data":[1.0,2.0]'),
        ("POST", "/v2/models/{name}/generate", '{"INPUT":1.5}', {}, 200, '"OUTPUT":1.5'),
        ("POST", "/v2/models/{name}/generate", '{"INPUT":[1,2]}', {}, 200, '"OUTPUT":[1.0,2.0]'),
        ("POST", "/v2/models/{name}/generate", "{", {}, 500, "Missing a name for object member"),
        ("POST", "/v2/models/{name}/generate", "", {}, 500, "The document is empty"),
        ("POST", "/v2/models/{name}/generate", '{"X":1}', {}, 400, "missing required input(s) ['INPUT']"),
        ("POST", "/v2/models/{name}/generate", "{}", {"Content-Encoding": "gzip"}, 400, "only 'identity' is supported"),
        ("POST", "/v2/models/{name}/generate_stream", '{"INPUT":1.5}', {}, 200, '"OUTPUT":1.5'),
        ("POST", "/v2/models/{counter}/generate", '{"INPUT":1}', {}, 200, '"OUTPUT":0.0'),
        (
            "POST",
            "/v2/models/{counter}/generate",
            '{"INPUT":2}',
            {},
            200,
            "generate expects model to produce exactly 1",
        ),
        ("POST", "/v2/models/{counter}/infer", json.dumps(infer_json([1.0])), {}, 501, "decoupled transaction policy"),
    ],
)
async def test_statuses_and_texts(
    place: Place, method: str, path: str, body: bytes | str | None, headers: dict[str, str], status: int, text: str
) -> None:
    names = {"name": place.name, "served": place.served, "infer": place.infer, "counter": place.counter}
    answer = await ask(place.address, method, _filled(path, names), body, headers)
    assert (answer.status, answer.reason) == (status, _REASONS[status])
    assert _filled(text, names) in answer.body.decode("utf-8", "replace")
    if status >= 400:
        assert set(answer.json) == {"error"}


_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Not Allowed",
    500: "Internal Server Error",
    501: "Not Implemented",
}


def _filled(text: str, names: dict[str, str]) -> str:
    for key, value in names.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def _tensor(answer: Answer, body: bytes) -> tuple[dict[str, Any], bytes]:
    length = int(answer.headers[HEADER_LENGTH.lower()])
    return json.loads(body[:length]), body[length:]


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("deflate, gzip", "deflate"), ("identity, gzip", None), ("br", None)],
)
async def test_answers_are_compressed_as_asked(place: Place, accept: str, encoding: str | None) -> None:
    body, headers = infer_binary(np.array([[1, 2, 3]], np.float32))
    answer = await ask(place.address, "POST", place.infer, body, headers | {"Accept-Encoding": accept})
    assert answer.headers.get("content-encoding") == encoding
    assert int(answer.headers["content-length"]) == len(answer.body)
    plain = zlib.decompress(answer.body, wbits=47) if encoding else answer.body
    said, tensor = _tensor(answer, plain)
    assert said["outputs"][0]["shape"] == [1, 3]
    assert struct.unpack("<3f", tensor) == (1, 2, 3)


async def test_an_error_is_not_compressed(place: Place) -> None:
    answer = await ask(place.address, "POST", place.infer, "{", {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert "failed to parse" in answer.error


@pytest.mark.parametrize("framing", ["length", "chunks", "expectation", "http/1.0"])
async def test_framings(place: Place, framing: str) -> None:
    version = "1.0" if framing == "http/1.0" else "1.1"
    head = f"POST {place.infer} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n".encode()
    body = OK.encode()
    sized = head + b"Content-Length: %d\r\n" % len(body)
    back = await exchange(
        place.address,
        *{
            "length": (sized + b"\r\n" + body,),
            "http/1.0": (sized + b"\r\n" + body,),
            "expectation": (sized + b"Expect: 100-continue\r\n\r\n", body),
            "chunks": (
                head + b"Transfer-Encoding: chunked\r\n\r\n",
                b"%x\r\n%s\r\n" % (9, body[:9]),
                b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 9, body[9:]),
            ),
        }[framing],
    )
    if framing == "expectation":
        assert back.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        back = back.partition(b"\r\n\r\n")[2]
    assert back.startswith(f"HTTP/{version} 200 OK\r\n".encode())
    assert b'"data":[1.0,2.0]' in back


async def test_head_is_refused_as_any_other_method(place: Place) -> None:
    answer = await ask(place.address, "HEAD", f"/v2/models/{place.name}/ready")
    assert (answer.status, answer.reason, answer.body) == (405, "Not Allowed", b"")
    assert answer.headers["content-length"] == "30"
    assert (await ask(place.address, "HEAD", "/v2/nothing")).status == 404


async def test_a_connection_is_kept(place: Place) -> None:
    head = f"POST {place.infer} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(OK)}\r\n".encode()
    closing = head + b"Connection: close\r\n\r\n"
    back = await exchange(place.address, head + b"\r\n" + OK.encode(), closing + OK.encode())
    assert back.count(b"HTTP/1.1 200 OK") == 2


async def test_a_stream_comes_as_it_is_made(place: Place) -> None:
    body = b'{"INPUT":5}'
    host, _, port = place.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v2/models/%s/generate_stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
        % (place.counter.encode(), len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Type: text/event-stream; charset=utf-8\r\n" in head
    loop, times, seen = asyncio.get_running_loop(), [], b""
    while piece := await reader.read(65_536):
        seen += piece
        times.append(loop.time())
    writer.close()
    numbers = [line.partition(b'"OUTPUT":')[2].partition(b",")[0] for line in seen.split(b"data: ")[1:]]
    assert numbers == [b"0.0", b"1.0", b"2.0", b"3.0", b"4.0"]
    # Triton makes one every tenth of a second.
    assert times[-1] - times[0] > 0.3


async def test_an_empty_stream_is_an_answer(place: Place) -> None:
    answer = await ask(place.address, "POST", f"/v2/models/{place.counter}/generate_stream", '{"INPUT":0}')
    assert (answer.status, answer.body) == (200, b"")


async def test_a_sequence_adds_up(place: Place) -> None:
    sums = []
    for number, (start, end) in enumerate([(True, False), (False, False), (False, True)], 1):
        request = {
            "inputs": [{"name": "INPUT", "shape": [1], "datatype": "FP32", "data": [number]}],
            "parameters": {"sequence_id": 4242, "sequence_start": start, "sequence_end": end},
        }
        answer = await ask(place.address, "POST", f"/v2/models/{place.adder}/infer", json.dumps(request))
        sums.append(answer.json["outputs"][0]["data"])
    assert sums == [[1.0], [3.0], [6.0]]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
async def test_the_blocking_client(place: Place, binary: bool, algorithm: str | None) -> None:
    given = np.arange(8, dtype=np.float32).reshape(2, 4)

    def infer() -> Any:
        with tritonclient.http.InferenceServerClient(place.address) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(place.name)
            assert client.get_server_metadata()["name"] == "triton"
            assert client.get_model_metadata(place.name)["name"] == place.name
            assert client.get_model_config(place.name)["max_batch_size"] == 64
            assert client.get_inference_statistics(place.name)["model_stats"][0]["name"] == place.name
            assert place.name in {row["name"] for row in client.get_model_repository_index()}
            tensor = tritonclient.http.InferInput("INPUT", [2, 4], "FP32")
            tensor.set_data_from_numpy(given, binary_data=binary)
            return client.infer(
                place.name,
                [tensor],
                outputs=[tritonclient.http.InferRequestedOutput("OUTPUT", binary_data=binary)],
                request_id="x",
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )

    answer = await asyncio.to_thread(infer)
    assert (answer.as_numpy("OUTPUT") == given).all()
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("x", place.served, "1")


async def test_the_client_s_errors(place: Place) -> None:
    def infer() -> None:
        with tritonclient.http.InferenceServerClient(place.address) as client:
            tensor = tritonclient.http.InferInput("WRONG", [1, 1], "FP32")
            tensor.set_data_from_numpy(np.zeros([1, 1], np.float32))
            client.infer(place.name, [tensor])

    with pytest.raises(InferenceServerException, match=f"for model '{place.served}'") as raised:
        await asyncio.to_thread(infer)
    assert raised.value.status() == "400"


async def test_the_asyncio_client(place: Place) -> None:
    given = np.arange(3, dtype=np.float32).reshape(1, 3)
    async with tritonclient.http.aio.InferenceServerClient(place.address) as client:
        assert await client.is_model_ready(place.name, "1")
        assert not await client.is_model_ready(place.name, "2")
        tensor = tritonclient.http.InferInput("INPUT", [1, 3], "FP32")
        tensor.set_data_from_numpy(given)
        answers = await asyncio.gather(*(client.infer(place.name, [tensor]) for _ in range(20)))
    assert all((answer.as_numpy("OUTPUT") == given).all() for answer in answers)


async def test_100_mb_there_and_back(place: Place) -> None:
    given = np.arange(25_000_000, dtype=np.float32).reshape(1, -1)
    body, headers = infer_binary(given)
    answer = await ask(place.address, "POST", place.infer, body, headers)
    said, tensor = _tensor(answer, answer.body)
    assert (answer.status, said["outputs"][0]["shape"]) == (200, [1, 25_000_000])
    assert tensor == given.tobytes()
