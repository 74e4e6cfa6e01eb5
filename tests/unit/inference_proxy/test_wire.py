"""Rewriting of V2 messages: whatever protobuf allows goes through unharmed, whatever it does not is left to Triton."""

import random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from inference_proxy.wire import (
    Malformed,
    boolean_parameter,
    first_dimension,
    parameters_of,
    read_request,
    read_response,
    read_stream_response,
    response_parameters,
    retarget,
    stream_error,
    stream_response,
)

short_names = st.text(max_size=12)
long_names = st.text(min_size=1, max_size=4).map(lambda text: (text * 1024)[:1024])
names = short_names | long_names
int64s = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats(allow_nan=False)  # Which is not equal to itself.


@st.composite
def infer_requests(draw: st.DrawFn) -> service_pb2.ModelInferRequest:
    """Any valid request, tensors in either form."""
    request = service_pb2.ModelInferRequest(
        model_name=draw(names), model_version=draw(st.sampled_from(["", "1", "7"])), id=draw(names)
    )
    for key, value in draw(st.dictionaries(names, st.booleans() | int64s | doubles | names, max_size=4)).items():
        if isinstance(value, bool):
            request.parameters[key].bool_param = value
        elif isinstance(value, int):
            request.parameters[key].int64_param = value
        elif isinstance(value, float):
            request.parameters[key].double_param = value
        else:
            request.parameters[key].string_param = value
    for shape in draw(st.lists(st.lists(int64s, max_size=4), max_size=3)):
        tensor = request.inputs.add(name=draw(names), datatype="FP32", shape=shape)
        tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        request.outputs.add(name=draw(names))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=300), max_size=3)))
    return request


def top_level_fields(data: bytes) -> list[bytes]:
    """The fields of a message as the library wrote them, one by one."""
    fields, position = [], 0
    while position < len(data):
        start, (length, body) = position, _varint(data, position + 1)
        position = body + length
        fields.append(data[start:position])
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


unknown_fields = st.sampled_from(
    [
        b"\xf8\x07\x05",  # field 127, varint
        b"\xf9\x07" + b"8bytes!!",  # fixed64
        b"\xfd\x07" + b"four",  # fixed32
        b"\xfa\x07\x03abc",  # bytes
        b"\xfb\x07\xf8\x07\x01\xfb\x07\xfc\x07\xfc\x07",  # a group within a group
    ]
)


@given(infer_requests(), st.randoms(use_true_random=False), st.lists(unknown_fields, max_size=3), names, names)
def test_a_request_in_any_field_order_is_read_and_retargeted_and_else_unchanged(
    request: service_pb2.ModelInferRequest, order: random.Random, unknown: list[bytes], model: str, version: str
) -> None:
    fields = [*top_level_fields(request.SerializeToString()), *unknown]
    inputs = [field for field in fields if field[0] == 0x2A]
    order.shuffle(fields)
    shuffled = b"".join(fields)
    parsed = service_pb2.ModelInferRequest.FromString(shuffled)

    read = read_request(shuffled)

    assert read.model_name.decode() == parsed.model_name
    assert read.model_version.decode() == parsed.model_version
    assert read.id.decode() == parsed.id
    assert parameters_of(read) == {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in parsed.parameters.items()
    }
    if inputs:
        shape = parsed.inputs[0].shape
        assert first_dimension(read.first_input) == (max(shape[0], 0) if shape else 1)
    rewritten = service_pb2.ModelInferRequest.FromString(shuffled + retarget(model.encode(), version.encode()))
    assert (rewritten.model_name, rewritten.model_version) == (model, version)
    rewritten.model_name, rewritten.model_version = parsed.model_name, parsed.model_version
    assert rewritten.SerializeToString(deterministic=True) == parsed.SerializeToString(deterministic=True)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_message_are_never_more_than_malformed(data: bytes) -> None:
    for read in (read_request, read_response, read_stream_response):
        try:
            read(data)
        except Malformed:
            continue
    first_dimension(data)


@given(infer_requests(), st.data())
def test_a_cut_message_is_read_only_where_protobuf_reads_it(
    request: service_pb2.ModelInferRequest, data: st.DataObject
) -> None:
    whole = request.SerializeToString()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        parsed = service_pb2.ModelInferRequest.FromString(cut)
    except DecodeError:
        return
    assert read_request(cut).model_name.decode() == parsed.model_name


def test_a_shape_that_is_not_packed_is_read_as_well() -> None:
    assert first_dimension(b"\x0a\x01x\x18\x05\x18\x07") == 5
    assert first_dimension(b"") == 1
    assert first_dimension(None) == 1
    assert first_dimension(b"\x1a\x02\xac\x02") == 300


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x0c", b"\x0e", b"\x0a" + b"\xff" * 11])
def test_what_protobuf_refuses_is_malformed(data: bytes) -> None:
    with pytest.raises(DecodeError):
        service_pb2.ModelInferRequest.FromString(data)
    with pytest.raises(Malformed):
        read_request(data)


@given(st.dictionaries(names, int64s | names, max_size=6))
def test_appended_response_parameters_win_over_those_before(parameters: dict[str, int | str]) -> None:
    answer = service_pb2.ModelInferResponse(model_name="m")
    for key in parameters:
        answer.parameters[key].bool_param = True
    data = answer.SerializeToString() + response_parameters(parameters)
    parsed = service_pb2.ModelInferResponse.FromString(data)
    assert {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in parsed.parameters.items()
    } == parameters
    assert read_response(data).parameters == parameters


@given(names, st.booleans())
def test_an_appended_boolean_is_what_protobuf_reads(key: str, value: bool) -> None:
    parsed = service_pb2.ModelInferRequest.FromString(boolean_parameter(key, value))
    assert parsed.parameters[key].bool_param is value


@given(names, names)
def test_stream_messages_are_what_protobuf_reads(text: str, request_id: str) -> None:
    failed = service_pb2.ModelStreamInferResponse.FromString(stream_error(text, request_id.encode()))
    assert (failed.error_message, failed.infer_response.id) == (text, request_id)
    answer = service_pb2.ModelInferResponse(model_name="m", id=request_id)
    passed = service_pb2.ModelStreamInferResponse.FromString(stream_response(answer.SerializeToString()))
    assert passed.infer_response == answer
    assert read_stream_response(passed.SerializeToString()).infer_response == answer.SerializeToString()


def test_a_response_says_whether_it_has_outputs() -> None:
    answer = service_pb2.ModelInferResponse(model_name="m", id="7")
    assert not read_response(answer.SerializeToString()).outputs
    answer.outputs.add(name="OUTPUT")
    read = read_response(answer.SerializeToString())
    assert (read.model_name, read.id, read.outputs) == (b"m", b"7", True)
