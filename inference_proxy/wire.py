"""What the proxy reads and writes of the V2 messages without parsing them: names, versions, parameters, batch size.

Protobuf allows both halves: top-level fields can be walked by tag and length without looking into tensors, and what is
appended wins over what came before (the last value of a singular field; the last entry of a map key).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5
_MAX_VARINT_BYTES = 10
_DOUBLE = struct.Struct("<d")
_MAX_GROUP_DEPTH = 100

# Tags of ModelInferRequest: field number << 3 | wire type.
_NAME, _VERSION, _ID, _PARAMETERS, _INPUTS = 0x0A, 0x12, 0x1A, 0x22, 0x2A
_SHAPE_PACKED, _SHAPE_SINGLE = 0x1A, 0x18
_STREAM_ERROR, _STREAM_RESPONSE = 0x0A, 0x12

ParameterValue = bool | int | str | float


class Malformed(ValueError):
    """The bytes are no protobuf message; Triton is the one to refuse them."""


@dataclass(slots=True)
class InferRequest:
    """The outside of a ModelInferRequest."""

    model_name: bytes
    model_version: bytes
    id: bytes
    parameters: list[bytes] | None
    """The raw map entries, where there are any."""
    first_input: bytes | None
    """The first input tensor's message, contents included; None where there is no input."""


def read_request(data: bytes) -> InferRequest:
    """Walks the top-level fields of a ModelInferRequest; Malformed where they do not add up."""
    name = version = request_id = b""
    parameters: list[bytes] | None = None
    first_input: bytes | None = None
    position, end = 0, len(data)
    try:
        while position < end:
            tag = data[position]
            length = data[position + 1]
            # Nearly every field is a one-byte tag of wire type 2 with a one-byte length: no call for those.
            if length < 0x80 and tag < 0x80 and tag & 7 == _BYTES:
                start = position + 2
                position = start + length
            else:
                tag, start, position = _next_field(data, position)
            if position > end:
                raise Malformed("a field ends after the message")
            if tag == _INPUTS:
                if first_input is None:
                    first_input = data[start:position]
            elif tag == _NAME:
                name = data[start:position]
            elif tag == _VERSION:
                version = data[start:position]
            elif tag == _ID:
                request_id = data[start:position]
            elif tag == _PARAMETERS:
                if parameters is None:
                    parameters = []
                parameters.append(data[start:position])
    except IndexError as error:
        raise Malformed("the message ends inside a field") from error
    return InferRequest(name, version, request_id, parameters, first_input)


def as_triton_reads(name: bytes) -> bytes:
    """The name that Triton takes a name for: it ends at the first NUL, as a text of C does."""
    return name.partition(b"\0")[0]


def first_dimension(tensor: bytes | None) -> int:
    """The first number of an input tensor's shape, which is the batch size of models that batch; 1 without any."""
    if tensor is None:
        return 1
    try:
        position, end = 0, len(tensor)
        while position < end:
            tag = tensor[position]
            length = tensor[position + 1]
            if length < 0x80 and tag < 0x80 and tag & 7 == _BYTES:
                start = position + 2
                position = start + length
            else:
                tag, start, position = _next_field(tensor, position)
            if (tag == _SHAPE_PACKED and position > start) or tag == _SHAPE_SINGLE:
                first = tensor[start]
                return first if first < 0x80 else max(_signed(_varint(tensor, start)[0]), 0)
    except (Malformed, IndexError):
        # Triton refuses it; whatever is answered here is never charged.
        return 1
    return 1


def parameters_of(request: InferRequest) -> dict[str, ParameterValue]:
    """The request's parameters; entries of a kind that is not known here are left out."""
    found: dict[str, ParameterValue] = {}
    for entry in request.parameters or ():
        try:
            key, value = _map_entry(entry)
        except (Malformed, IndexError, UnicodeDecodeError):
            continue
        if value is not None:
            found[key] = value
    return found


def retarget(model: bytes, version: bytes | None) -> bytes:
    """What to append to a ModelInferRequest so that it names this model; `version` None leaves the version alone."""
    suffix = bytes([_NAME]) + _with_length(model)
    return suffix if version is None else suffix + bytes([_VERSION]) + _with_length(version)


def response_parameters(parameters: Mapping[str, int | str]) -> bytes:
    """What to append to a ModelInferResponse so that it carries these parameters (int64 and string)."""
    return b"".join(
        bytes([_PARAMETERS])
        + _with_length(b"\x0a" + _with_length(key.encode()) + b"\x12" + _with_length(_value(value)))
        for key, value in parameters.items()
    )


def boolean_parameter(key: str, value: bool) -> bytes:
    """What to append to a ModelInferRequest so that it has this parameter."""
    entry = b"\x0a" + _with_length(key.encode()) + b"\x12" + _with_length(bytes([0x08, value]))
    return bytes([_PARAMETERS]) + _with_length(entry)


def stream_response(infer_response: bytes) -> bytes:
    """A ModelStreamInferResponse around the bytes of a ModelInferResponse."""
    return bytes([_STREAM_RESPONSE]) + _with_length(infer_response)


def stream_error(message: str, request_id: bytes) -> bytes:
    """A ModelStreamInferResponse that says what went wrong with a request."""
    about = bytes([_ID]) + _with_length(request_id) if request_id else b""
    return bytes([_STREAM_ERROR]) + _with_length(message.encode()) + stream_response(about)


@dataclass(slots=True)
class StreamResponse:
    """A ModelStreamInferResponse taken apart at its top level."""

    error: bytes
    infer_response: bytes | None


def read_stream_response(data: bytes) -> StreamResponse:
    """The error text and the ModelInferResponse's bytes of a stream's message."""
    error, response = b"", None
    for tag, start, stop in _fields(data):
        if tag == _STREAM_ERROR:
            error = data[start:stop]
        elif tag == _STREAM_RESPONSE:
            # A repeated occurrence of a message field is merged, which concatenation is.
            response = (response or b"") + data[start:stop]
    return StreamResponse(error, response)


@dataclass(slots=True)
class InferResponse:
    """The outside of a ModelInferResponse."""

    model_name: bytes
    id: bytes
    parameters: dict[str, ParameterValue]
    outputs: bool
    """Whether it has any output: the last word of a decoupled model may have none."""


def read_response(data: bytes) -> InferResponse:
    """Walks the top-level fields of a ModelInferResponse, which are numbered as the request's are."""
    read = read_request(data)
    return InferResponse(read.model_name, read.id, parameters_of(read), read.first_input is not None)


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, start of the value, end of the value) of every field at the top level."""
    position, end = 0, len(data)
    while position < end:
        try:
            tag, start, position = _next_field(data, position)
        except IndexError as error:
            raise Malformed("the message ends inside a field") from error
        if position > end:
            raise Malformed("a field ends after the message")
        yield tag, start, position


def _next_field(data: bytes, position: int, depth: int = 0) -> tuple[int, int, int]:
    tag, start = _varint(data, position)
    kind = tag & 7
    if tag >> 3 == 0 or tag >= 1 << 32:
        raise Malformed("a field's number is out of range")
    if kind == _BYTES:
        length, start = _varint(data, start)
        return tag, start, start + length
    if kind == _VARINT:
        return tag, start, _varint(data, start)[1]
    if kind == _FIXED64:
        return tag, start, start + 8
    if kind == _FIXED32:
        return tag, start, start + 4
    if kind == _GROUP:
        return tag, start, _end_of_group(data, start, tag >> 3, depth + 1)
    raise Malformed("a wire type that does not exist or ends no group")


def _end_of_group(data: bytes, position: int, number: int, depth: int) -> int:
    if depth > _MAX_GROUP_DEPTH:
        raise Malformed("groups are nested too deep")
    while True:
        tag, after = _varint(data, position)
        if tag & 7 == _END_GROUP:
            if tag >> 3 != number:
                raise Malformed("a group is ended that was not begun")
            return after
        _, _, position = _next_field(data, position, depth)
        if position > len(data):
            raise Malformed("a field ends after the message")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for _ in range(_MAX_VARINT_BYTES):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise Malformed("a number is longer than ten bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _map_entry(entry: bytes) -> tuple[str, ParameterValue | None]:
    key, value = "", None
    for tag, start, stop in _fields(entry):
        if tag == 0x0A:
            key = entry[start:stop].decode()
        elif tag == 0x12:
            value = _parameter(entry[start:stop])
    return key, value


def _parameter(data: bytes) -> ParameterValue | None:
    value: ParameterValue | None = None
    for tag, start, stop in _fields(data):
        if tag == 0x08:
            value = bool(_varint(data, start)[0])
        elif tag == 0x10:
            value = _signed(_varint(data, start)[0])
        elif tag == 0x1A:
            value = data[start:stop].decode()
        elif tag == 0x21:
            (value,) = _DOUBLE.unpack(data[start:stop])
        elif tag == 0x28:
            value = _varint(data, start)[0]
    return value


def _value(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x1a" + _with_length(value.encode())
    return b"\x10" + _encode_varint(value)


def _with_length(data: bytes) -> bytes:
    return _encode_varint(len(data)) + data


def _encode_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
