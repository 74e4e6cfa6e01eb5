"""The Lua that rewrites requests, over the same cases as the Python that reads them."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from inference_proxy import wire
from tests.unit.inference_proxy.envoy.infer_requests import Drawn, chunkings, cut, field, framed, requests
from tests.unit.inference_proxy.envoy.lua import Lua

LUA = Lua()


def lane(model: str, *, version: str = "", batches: bool = True) -> dict[str, Any]:
    sizes = [{"batch": 1, "energy_mj": 100.0}]
    return {
        "id": model,
        "cluster": "triton",
        "model": model,
        "model_version": version,
        "batches": batches,
        "sizes": sizes,
        "decided": sizes,
        "smallest": sizes,
        "largest": sizes,
        "charge": '"family": "fam"',
    }


def way(model: str, *, renamed: bool) -> dict[str, Any]:
    return {"renamed": renamed, "version": "1", "shares": [{"variant": model, "weight": 1.0, "lane": model}]}


TOLD: dict[str, Any] = {
    "revision": "r1",
    "names": {
        "fam": way("large", renamed=True),
        "n" * 1_000: way("m" * 900, renamed=True),
        "pinned": way("versioned", renamed=True),
        "small": way("small", renamed=False),
    },
    "lanes": {
        "large": lane("large"),
        "m" * 900: lane("m" * 900),
        "versioned": lane("versioned", version="7"),
        "small": lane("small"),
    },
    "longest_target": 905,
    "intervals": [],
    "receipts": True,
    "tenant_key": "",
    "tenants": 1,
    "spool": "",
    "segment_bytes": 4096,
}
TARGETS = {"fam": ("large", ""), "n" * 1_000: ("m" * 900, ""), "pinned": ("versioned", "7"), "small": ("small", "")}


def steered(message: service_pb2.ModelInferRequest) -> bool:
    """Whether a request's parameters concern who serves it."""
    return any(key.startswith(("carbon_", "sequence_")) for key in message.parameters)


def sent(body: bytes) -> service_pb2.ModelInferRequest:
    """The message that goes on, whose frame must be right and whose filler must say nothing."""
    assert body[0] == 0
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    return service_pb2.ModelInferRequest.FromString(body[5:])


def outside(message: service_pb2.ModelInferRequest) -> bytes:
    """The message without its names and without what nobody knows."""
    copy = service_pb2.ModelInferRequest.FromString(message.SerializeToString())
    copy.DiscardUnknownFields()
    copy.model_name = copy.model_version = ""
    return bytes(copy.SerializeToString(deterministic=True))


@given(st.data())
def test_a_request_goes_to_triton_renamed_or_to_the_proxy_as_it_came(data: st.DataObject) -> None:
    drawn = data.draw(requests())
    body = framed(drawn.data)
    chunks = cut(body, data.draw(chunkings(len(body))))
    passed, mark = LUA.request(TOLD, chunks)
    asked, gone = drawn.message, sent(passed)
    assert outside(gone) == outside(asked)
    if mark is None:
        assert gone.model_name == asked.model_name
        assert gone.model_version == asked.model_version
        return
    model, version = TARGETS[asked.model_name]
    assert gone.model_name == model
    assert gone.model_version == (version if asked.model_name != "small" else asked.model_version)
    assert not steered(asked)
    cluster, lane_id, inferences, tenant = mark.split(b"|")
    assert (cluster, lane_id, tenant) == (b"triton", model.encode(), b"")
    read = wire.read_request(drawn.data)
    assert int(inferences) == min(wire.first_dimension(read.first_input), 2**32 - 1)


@given(st.data())
def test_what_python_would_route_goes_straight_in_the_order_that_libraries_write(data: st.DataObject) -> None:
    drawn = data.draw(requests(canonical=True))
    read = wire.read_request(drawn.data)
    message = drawn.message
    known = message.model_name in TARGETS and (message.model_version in {"", "1"} or message.model_name == "small")
    body = framed(drawn.data)
    _, mark = LUA.request(TOLD, cut(body, data.draw(chunkings(len(body)))))
    assert read.model_name == message.model_name.encode()
    assert (mark is not None) == (known and not steered(message))


@given(st.binary(max_size=300), st.data())
def test_nonsense_goes_to_the_proxy_and_stays_nonsense(message: bytes, data: st.DataObject) -> None:
    body = framed(message)
    passed, mark = LUA.request(TOLD, cut(body, data.draw(chunkings(len(body)))))
    try:
        asked = service_pb2.ModelInferRequest.FromString(message)
    except DecodeError:
        if mark is None and int.from_bytes(passed[1:5], "big") == len(passed) - 5:
            with pytest.raises(DecodeError):
                service_pb2.ModelInferRequest.FromString(passed[5:])
        return
    assert outside(sent(passed)) == outside(asked)


@given(st.data())
def test_a_mutated_request_never_crashes_it(data: st.DataObject) -> None:
    body = bytearray(framed(data.draw(requests()).data))
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[place] = data.draw(st.integers(0, 255))
    LUA.request(TOLD, cut(bytes(body), data.draw(chunkings(len(body)))))


@given(st.binary(max_size=60), st.data())
def test_bytes_that_are_no_frame_go_on_as_they_are(body: bytes, data: st.DataObject) -> None:
    passed, mark = LUA.request(TOLD, cut(body, data.draw(chunkings(len(body)))))
    if len(body) >= 5 and (body[0] or len(body) > 5 + int.from_bytes(body[1:5], "big")):
        assert mark is None
    if len(body) >= 5 and body[0]:
        assert passed == body


@given(st.data())
def test_every_single_cut_of_a_usual_request_is_read(data: st.DataObject) -> None:
    message = service_pb2.ModelInferRequest(model_name="fam", id="a")
    message.inputs.add(name="INPUT", datatype="FP32", shape=[5, 8])
    message.raw_input_contents.append(b"\0" * 160)
    body = framed(message.SerializeToString())
    place = data.draw(st.integers(0, len(body)))
    passed, mark = LUA.request(TOLD, cut(body, [place]))
    assert mark == b"triton|large|5|"
    assert sent(passed).model_name == "large"


@pytest.mark.parametrize(
    ("parameter", "goes"),
    [("priority", True), ("carbon_pin_variant", False), ("sequence_id", False), ("carbon", True), ("carbon_", False)],
)
def test_a_parameter_that_concerns_who_serves_is_the_proxys(parameter: str, goes: bool) -> None:
    message = service_pb2.ModelInferRequest(model_name="fam")
    message.parameters[parameter].int64_param = 1
    _, mark = LUA.request(TOLD, [framed(message.SerializeToString())])
    assert (mark is not None) is goes


def test_a_compressed_request_is_the_proxys_untouched() -> None:
    body = framed(b"\x0a\x03fam", compressed=1)
    assert LUA.request(TOLD, [body]) == (body, None)
    assert LUA.request(TOLD, [body[:2], body[2:]]) == (body, None)


def test_two_messages_in_one_unary_call_are_the_proxys_to_refuse() -> None:
    body = framed(b"\x0a\x03fam") * 2
    assert LUA.request(TOLD, [body]) == (body, None)


def test_without_a_table_all_goes_to_the_proxy() -> None:
    body = framed(b"\x0a\x03fam")
    assert Lua().request(None, [body]) == (body, None)


def test_a_name_after_the_tensors_is_found() -> None:
    drawn = Drawn(field(7, b"\0" * 5_000) + field(5, b"\x1a\x02\x03\x08") + field(1, b"fam"))
    body = framed(drawn.data)
    for places in ([], [20], [20, 4_000], [4_000, 5_020]):
        passed, mark = LUA.request(TOLD, cut(body, places))
        assert mark == b"triton|large|3|"
        assert sent(passed).model_name == "large"


def test_most_of_a_large_tensor_is_not_looked_at() -> None:
    message = service_pb2.ModelInferRequest(model_name="fam")
    message.inputs.add(name="INPUT", datatype="FP32", shape=[2, 8])
    message.raw_input_contents.append(b"\0" * 100_000)
    body = framed(message.SerializeToString())
    passed, mark = LUA.request(TOLD, [body[:16_384]])
    assert mark == b"triton|large|2|"
    assert service_pb2.ModelInferRequest.FromString(passed[5:] + body[16_384:]).model_name == "large"
