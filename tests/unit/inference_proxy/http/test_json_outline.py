"""What is read of V2 JSON: right on anything that is JSON, and never a crash on anything that is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.http.json_outline import (
    Outline,
    generate_outline,
    infer_outline,
    inserted,
    members,
    members_spot,
    parameters_spot,
    value_end,
    walked_outline,
)

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
PARAMETERS = st.dictionaries(st.text(max_size=12) | st.sampled_from(["carbon_min_accuracy", "sequence_id"]), SCALARS)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


def written(value: object, separators: tuple[str, str]) -> bytes:
    return json.dumps(value, separators=separators, ensure_ascii=False).encode("utf-8", "surrogatepass")


@given(
    tensors=st.lists(st.tuples(st.lists(st.integers(0, 2**40), max_size=3), VALUES), min_size=1, max_size=3),
    parameters=PARAMETERS,
    others=st.dictionaries(st.sampled_from(["id", "outputs", "x"]), VALUES),
    parameters_first=st.booleans(),
    separators=SEPARATORS,
)
def test_both_ways_read_what_json_says(
    tensors: list[tuple[list[int], Any]],
    parameters: dict[str, Any],
    others: dict[str, Any],
    parameters_first: bool,
    separators: tuple[str, str],
) -> None:
    inputs = [{"name": "I", "data": data, "shape": shape, "parameters": {"a": 1}} for shape, data in tensors]
    parts: dict[str, Any] = {"parameters": parameters, "inputs": inputs}
    if not parameters_first:
        parts = {"inputs": inputs, "parameters": parameters}
    data = written(others | parts, separators)
    shape = tensors[0][0]
    expected = Outline(
        shape[0] if shape else None, {key: value for key, value in parameters.items() if value is not None}
    )
    assert infer_outline(data) == expected
    assert walked_outline(data) == expected


@given(st.binary(max_size=200))
def test_no_bytes_crash_it(data: bytes) -> None:
    for read in (infer_outline, walked_outline, generate_outline, parameters_spot, members_spot):
        read(data)


FRAGMENTS = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b" ",
        b"1",
        b'"inputs"',
        b'"parameters"',
        b'"shape"',
        b'"a"',
        b"\xff",
    ]
)


@given(st.lists(FRAGMENTS, max_size=60).map(b"".join))
def test_no_near_json_crashes_it(data: bytes) -> None:
    walked_outline(data)
    generate_outline(data)
    end = value_end(data, 0)
    assert 0 <= end <= len(data)
    spot = parameters_spot(data)
    assert spot is None or 0 <= spot.position <= len(data)


@given(value=VALUES, rest=st.sampled_from([b"", b",", b"]", b" }", b',"x":1}']), separators=SEPARATORS)
def test_a_value_ends_where_it_ends(value: object, rest: bytes, separators: tuple[str, str]) -> None:
    data = written(value, separators)
    assert value_end(data + rest, 0) == len(data)


@pytest.mark.parametrize("depth", [1, 4, 5, 6, 7, 300])
def test_a_value_of_any_depth_is_skipped(depth: int) -> None:
    data = b"[" * depth + b'"]",1' + b"]" * depth
    assert value_end(data + b",2", 0) == len(data)


@pytest.mark.parametrize("outline", [infer_outline, walked_outline])
@pytest.mark.parametrize(
    ("data", "first_dimension", "parameters"),
    [
        # Triton takes the first of equal keys.
        (b'{"inputs":[{"shape":[1]}],"inputs":[{"shape":[2]}]}', 1, {}),
        (b'{"inputs":[{"shape":[3],"shape":[2]}],"parameters":{"a":1,"a":2},"parameters":{"b":1}}', 3, {"a": 1}),
        (b'{"\\u0069nputs":[{"shape":[4]}],"\\u0070arameters":{"a":true}}', 4, {"a": True}),
        (b'{"inputs":[{"shape":[5]}],"\\u0070arameters":{"a":"\\u0041"}}', 5, {"a": "A"}),
        (b' {\n"inputs" : [ {"shape" : [ 6 , 2 ] } ] } ', 6, {}),
        (b'{"inputs":[],"parameters":[]}', None, {}),
        (b'{"inputs":[{"shape":[-1]}]}', None, {}),
        (b'{"inputs":[{"shape":[1.5]}]}', None, {}),
        (b'{"inputs":[{"shape":["1"]}]}', None, {}),
        (b'{"inputs":[{"shape":[]}]}', None, {}),
        (b'{"inputs":[{"shape":7}]}', None, {}),
        (b'{"parameters":{"a":{"b":1},"c":[1],"d":null,"e":1.5}}', None, {"e": 1.5}),
        (b'{"parameters":null}', None, {}),
        (b"[]", None, {}),
        (b"", None, {}),
    ],
)
def test_outlines(outline: Any, data: bytes, first_dimension: int | None, parameters: dict[str, Any]) -> None:
    assert outline(data) == Outline(first_dimension, parameters)


def test_of_cut_json_the_beginning_counts() -> None:
    assert infer_outline(b'{"parameters":{"sequence_id":5},"inputs":[{"shape":[2,3],"data":[1,') == Outline(
        2, {"sequence_id": 5}
    )


def test_megabytes_of_tensors_before_the_parameters_are_skipped() -> None:
    tensor = {"shape": [2], "data": [[0.5, 'a\\"]']] * 100_000}
    data = json.dumps({"inputs": [tensor], "parameters": {"carbon_pin_variant": "large"}}).encode()
    assert infer_outline(data) == Outline(2, {"carbon_pin_variant": "large"})


def test_a_generate_request_has_parameters_at_both_places() -> None:
    data = json.dumps(
        {"text_input": "x", "carbon_pin_variant": "a", "sequence_id": 3, "parameters": {"carbon_min_accuracy": "90"}}
    ).encode()
    assert generate_outline(data).parameters == {
        "carbon_pin_variant": "a",
        "sequence_id": 3,
        "carbon_min_accuracy": "90",
    }


RECEIPT = {"carbon_variant": "large", "carbon_energy_uj": 5}
FRAGMENT = json.dumps(RECEIPT)[1:-1].encode()


@given(
    answer=st.fixed_dictionaries(
        {"model_name": st.text(max_size=8), "model_version": st.just("1")},
        optional={"id": st.text(max_size=8), "parameters": st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)},
    ),
    outputs=st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), max_size=3),
    tail=st.binary(max_size=8),
    separators=SEPARATORS,
)
def test_a_receipt_goes_among_the_parameters(
    answer: dict[str, Any], outputs: list[Any], tail: bytes, separators: tuple[str, str]
) -> None:
    whole = answer | {"outputs": outputs}
    data = written(whole, separators)
    spot = parameters_spot(data + tail)
    assert spot is not None
    edited = inserted(data + tail, spot, FRAGMENT)
    assert edited.endswith(tail)
    end = len(edited) - len(tail)
    assert json.loads(edited[:end].decode("utf-8", "surrogatepass")) == whole | {
        "parameters": answer.get("parameters", {}) | RECEIPT
    }


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), SEPARATORS)
def test_a_receipt_goes_among_the_members_of_a_generate_answer(
    answer: dict[str, Any], separators: tuple[str, str]
) -> None:
    data = written(answer, separators)
    spot = members_spot(data)
    assert spot is not None
    assert json.loads(inserted(data, spot, FRAGMENT).decode("utf-8", "surrogatepass")) == RECEIPT | answer


@pytest.mark.parametrize("data", [b"", b"{", b'{"model_name":"a",', b'{"parameters":{', b"[1]", b"nonsense"])
def test_an_answer_that_ends_too_early_has_no_spot(data: bytes) -> None:
    assert parameters_spot(data) is None


def test_members_tell_where_they_are() -> None:
    data = b'{ "a": 1, "b" :[2] }'
    assert [(each.key, data[each.key_at :][:3], data[each.value_at :][:1]) for each in members(data)] == [
        ("a", b'"a"', b"1"),
        ("b", b'"b"', b"["),
    ]
