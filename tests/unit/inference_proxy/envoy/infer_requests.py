"""ModelInferRequests of every shape, for all that reads them: the Python and the Lua see the same cases."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

names = st.one_of(
    st.sampled_from(["fam", "mix", "small", "medium", "large", "unknown", ""]),
    st.text(min_size=1, max_size=40),
    st.integers(1, 1_024).map(lambda size: "n" * size),
)


def varint(value: int, at_least: int = 1) -> bytes:
    """A number as protobuf reads it, in no fewer bytes than asked."""
    parts = bytearray()
    while value >= 0x80 or len(parts) < at_least - 1:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes, at_least: int = 1) -> bytes:
    """A field with a length."""
    return varint(number << 3 | 2) + varint(len(content), at_least) + content


unknown_fields = st.one_of(
    st.tuples(st.integers(8, 70_000), st.binary(max_size=200)).map(lambda each: field(*each)),
    st.tuples(st.integers(8, 70_000), st.integers(0, 2**64 - 1)).map(
        lambda each: varint(each[0] << 3) + varint(each[1])
    ),
    st.tuples(st.integers(8, 70_000), st.binary(min_size=8, max_size=8)).map(
        lambda each: varint(each[0] << 3 | 1) + each[1]
    ),
    st.tuples(st.integers(8, 70_000), st.binary(min_size=4, max_size=4)).map(
        lambda each: varint(each[0] << 3 | 5) + each[1]
    ),
)

parameter_keys = st.one_of(
    st.sampled_from(["priority", "timeout", "sequence_id", "sequence_start", "carbon_min_accuracy", "carbon", ""]),
    st.text(max_size=20),
)


def parameter(value: bool | int | str | float) -> service_pb2.InferParameter:
    """A parameter's value."""
    if isinstance(value, bool):
        return service_pb2.InferParameter(bool_param=value)
    if isinstance(value, int):
        return service_pb2.InferParameter(int64_param=value)
    if isinstance(value, str):
        return service_pb2.InferParameter(string_param=value)
    return service_pb2.InferParameter(double_param=value)


@st.composite
def inputs(draw: st.DrawFn) -> bytes:
    """An input tensor with or without contents, its fields in any order."""
    tensor = service_pb2.ModelInferRequest.InferInputTensor
    parts = [
        tensor(name=draw(st.text(max_size=20))).SerializeToString(),
        tensor(datatype="FP32").SerializeToString(),
        draw(shapes()),
    ]
    if draw(st.booleans()):
        values = [0.5] * draw(st.sampled_from([0, 1, 7, 300]))
        parts.append(tensor(contents=service_pb2.InferTensorContents(fp32_contents=values)).SerializeToString())
    if draw(st.booleans()):
        made = tensor()
        made.parameters["binary_data_size"].int64_param = 32
        parts.append(made.SerializeToString())
    return b"".join(draw(st.permutations(parts)))


@st.composite
def shapes(draw: st.DrawFn) -> bytes:
    """A shape, packed or not; also none."""
    shape = draw(st.lists(st.integers(-1, 2**62) | st.integers(1, 300), max_size=3))
    if draw(st.booleans()):
        return bytes(service_pb2.ModelInferRequest.InferInputTensor(shape=shape).SerializeToString())
    return b"".join(varint(3 << 3) + varint(each & (2**64 - 1)) for each in shape)


@dataclass(frozen=True)
class Drawn:
    """A request's bytes and the message they are."""

    data: bytes

    @property
    def message(self) -> service_pb2.ModelInferRequest:
        """The message as protobuf reads it."""
        return service_pb2.ModelInferRequest.FromString(self.data)


@st.composite
def requests(draw: st.DrawFn, canonical: bool | None = None) -> Drawn:
    """Any valid ModelInferRequest: fields in any order, repeated, unknown, with lengths written long."""
    in_order = draw(st.booleans()) if canonical is None else canonical
    parts = [field(1, name.encode(), draw(st.integers(1, 3))) for name in draw(st.lists(names, min_size=1, max_size=2))]
    parts += [field(2, each.encode()) for each in draw(st.lists(st.sampled_from(["", "1", "2", "x"]), max_size=1))]
    parts += [field(3, draw(st.text(max_size=30)).encode())] if draw(st.booleans()) else []
    for key in draw(st.lists(parameter_keys, max_size=2, unique=True)) if draw(st.booleans()) else []:
        made = service_pb2.ModelInferRequest()
        made.parameters[key].CopyFrom(parameter(draw(st.booleans() | st.integers(0, 9) | st.text(max_size=9))))
        parts.append(made.SerializeToString())
    parts += [field(5, each) for each in draw(st.lists(inputs(), max_size=2))]
    parts += [service_pb2.ModelInferRequest(outputs=[{"name": "OUTPUT"}]).SerializeToString()]
    parts += [field(7, b"\x01" * size) for size in draw(st.lists(st.sampled_from([0, 4, 130, 3_000]), max_size=2))]
    if not in_order:
        parts += draw(st.lists(unknown_fields, max_size=2))
        parts = list(draw(st.permutations(parts)))
    return Drawn(b"".join(parts))


@st.composite
def chunkings(draw: st.DrawFn, size: int) -> list[int]:
    """Where a body of so many bytes is cut: anywhere, empty chunks included."""
    return sorted(draw(st.lists(st.integers(0, size), max_size=6)))


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """A body in chunks."""
    edges = [0, *places, len(body)]
    return [body[begin:end] for begin, end in pairwise(edges)]


def framed(message: bytes, compressed: int = 0) -> bytes:
    """A message as gRPC sends it."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message
