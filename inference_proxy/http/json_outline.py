"""What the proxy reads of V2 JSON without parsing it: parameters and batch size, and where a receipt goes.

Tensors may be megabytes of JSON. Members of an object are walked at its top level and values are skipped unread.
Nothing here judges: of what is malformed the readable beginning counts, and Triton is the one to refuse the rest. As in
Triton's own parser, the first of equal keys counts.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ParameterValue = bool | int | str | float

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(rb'[^\[\]{}"]*+(?:' + _STRING + rb"|([\[{])|([\]}]))", re.DOTALL)
_OPENING = re.compile(rb"[ \t\r\n]*+\{")
_KEY = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_COMMA = re.compile(rb"[ \t\r\n]*+,")
_CLOSING = re.compile(rb"[ \t\r\n]*+([^ \t\r\n])")
_SCALAR = re.compile(rb"(?:" + _STRING + rb"|[^ \t\r\n,\[\]{}\"]++)", re.DOTALL)
_FIRST_INPUT = re.compile(rb"\[(?=[ \t\r\n]*+\{)")
_FIRST_NUMBER = re.compile(rb"\[[ \t\r\n]*+(\d{1,19})[ \t\r\n]*+[,\]]")
_USUAL_ANSWER = re.compile(
    rb'\{(?:"id":' + _STRING + rb',)?"model_name":' + _STRING + rb',"model_version":' + _STRING + rb',(?="outputs":)'
)
_LARGEST_PARAMETERS = 1_048_576
_SMALL = 16_384
"""Up to here the parser in C is quicker than to walk, and nothing large is made."""


def _nested(depth: int) -> bytes:
    """Arrays and objects down to a depth; atomic groups, so that nothing is ever tried twice."""
    pattern = rb'[\[{](?>[^\[\]{}"]++|' + _STRING + rb")*+[\]}]"
    for _ in range(depth):
        pattern = rb'[\[{](?>[^\[\]{}"]++|' + _STRING + rb"|" + pattern + rb")*+[\]}]"
    return pattern


# The first of equal keys counts.
_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: dict(reversed(pairs)))

# Tensors are nested arrays of few levels: skipping those in one match is what makes it cheap.
_SHALLOW = re.compile(_nested(4), re.DOTALL)


@dataclass(slots=True)
class Outline:
    """What is read of a request."""

    first_dimension: int | None = None
    """The first number of the first input's shape; None where there is none."""
    parameters: dict[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A key of an object and where it and its value begin."""

    key: str
    key_at: int
    value_at: int


def members(data: bytes, position: int = 0) -> Iterator[Member]:
    """The members of the object that begins there, as far as they can be read."""
    opening = _OPENING.match(data, position)
    if opening is None:
        return
    position = opening.end()
    while (key := _KEY.match(data, position)) is not None:
        yield Member(_text(key[1]), key.start(1), key.end())
        comma = _COMMA.match(data, value_end(data, key.end()))
        if comma is None:
            return
        position = comma.end()


def value_end(data: bytes, position: int) -> int:
    """Where the value that begins there ends; the end of the data where it does not."""
    if data[position : position + 1] not in {b"[", b"{"}:
        scalar = _SCALAR.match(data, position)
        return scalar.end() if scalar is not None else len(data)
    shallow = _SHALLOW.match(data, position)
    if shallow is not None:
        return shallow.end()
    depth = 0
    while (token := _TOKEN.match(data, position)) is not None:
        position = token.end()
        depth += (token[1] is not None) - (token[2] is not None)
        if depth == 0:
            return position
    return len(data)


def infer_outline(data: bytes) -> Outline:
    """The outline of an inference request's JSON."""
    if len(data) <= _SMALL:
        try:
            return _outline_of(_DECODER.decode(data.decode()))
        except (ValueError, RecursionError):
            pass  # Not JSON, or not quite: what is readable of it counts.
    return walked_outline(data)


def walked_outline(data: bytes) -> Outline:
    """The same without parsing, for any size and for what is not quite JSON."""
    outline = Outline()
    wanted = {"inputs", "parameters"}
    for member in members(data):
        if member.key not in wanted:
            continue
        wanted.remove(member.key)
        if member.key == "parameters":
            outline.parameters = _parameters(data, member.value_at)
        else:
            outline.first_dimension = _first_dimension(data, member.value_at)
            # Most large requests have no parameters behind their tensors, and to see that is far quicker than to skip.
            if data.find(b'"parameters"', member.value_at) < 0 and data.find(b"\\u", member.value_at) < 0:
                break
        if not wanted:
            break
    return outline


def generate_outline(data: bytes) -> Outline:
    """The outline of a generate request: its members are tensors and parameters alike, or are in `parameters`."""
    found: dict[str, ParameterValue] = {}
    for member in members(data):
        if member.key == "parameters":
            for key, value in _parameters(data, member.value_at).items():
                found.setdefault(key, value)
        elif member.key.startswith(("carbon_", "sequence_")) and member.key not in found:
            scalar = _scalar(data[member.value_at : value_end(data, member.value_at)])
            if scalar is not None:
                found[member.key] = scalar
    return Outline(first_dimension=None, parameters=found)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where members may be inserted into an object, and what has to stand before and behind them."""

    position: int
    before: bytes
    behind: bytes


def parameters_spot(data: bytes) -> Spot | None:
    """Where the receipt goes in an inference answer: among its parameters, or as such before its outputs.

    None where the data ends too early to tell; Triton writes both before any tensor.
    """
    usual = _USUAL_ANSWER.match(data)
    if usual is not None:
        return Spot(usual.end(), b'"parameters":{', b"},")
    for member in members(data):
        if member.key == "parameters" and data[member.value_at : member.value_at + 1] == b"{":
            following = _CLOSING.match(data, member.value_at + 1)
            if following is None:
                return None
            return Spot(member.value_at + 1, b"", b"" if following[1] == b"}" else b",")
        if member.key == "outputs":
            return Spot(member.key_at, b'"parameters":{', b"},")
    return None


def members_spot(data: bytes) -> Spot | None:
    """Where the receipt goes in a generate answer, whose response parameters are members like its outputs."""
    opening = _OPENING.match(data)
    following = _CLOSING.match(data, opening.end()) if opening is not None else None
    if opening is None or following is None:
        return None
    return Spot(opening.end(), b"", b"" if following[1] == b"}" else b",")


def inserted(data: bytes, spot: Spot, fragment: bytes) -> bytes:
    """The data with the members of the fragment at the spot."""
    return b"".join((data[: spot.position], spot.before, fragment, spot.behind, data[spot.position :]))


def _outline_of(request: Any) -> Outline:
    outline = Outline()
    if isinstance(request, dict):
        parameters, inputs = request.get("parameters"), request.get("inputs")
        if isinstance(parameters, dict):
            outline.parameters = {key: value for key, value in parameters.items() if isinstance(value, ParameterValue)}
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):
            shape = inputs[0].get("shape")
            if isinstance(shape, list) and shape and type(shape[0]) is int and 0 <= shape[0] < 10**19:
                outline.first_dimension = shape[0]
    return outline


def _parameters(data: bytes, position: int) -> dict[str, ParameterValue]:
    if data[position : position + 1] != b"{":
        return {}
    end = value_end(data, position)
    if end - position > _LARGEST_PARAMETERS:
        return {}
    found: dict[str, ParameterValue] = {}
    for member in members(data[:end], position):
        if member.key not in found:
            value = _scalar(data[member.value_at : value_end(data, member.value_at)])
            if value is not None:
                found[member.key] = value
    return found


def _first_dimension(data: bytes, position: int) -> int | None:
    first = _FIRST_INPUT.match(data, position)
    if first is None:
        return None
    for member in members(data, first.end()):
        if member.key == "shape":
            number = _FIRST_NUMBER.match(data, member.value_at)
            return int(number[1]) if number is not None else None
    return None


def _scalar(text: bytes) -> ParameterValue | None:
    try:
        value = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, ParameterValue) else None


def _text(quoted: bytes) -> str:
    if b"\\" not in quoted:
        return quoted[1:-1].decode("utf-8", "replace")
    value = _scalar(quoted)
    return value if isinstance(value, str) else ""
