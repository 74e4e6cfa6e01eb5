"""The Lua lets in whom the Python lets in, and knows no more of a token than its digest."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inference_proxy.envoy.lua import Lua
from tradewind.tokens import bearer

LUA = Lua()
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)


@given(st.binary(max_size=300))
def test_the_digest_is_sha256(message: bytes) -> None:
    assert LUA.module("sha256")(message).decode() == hashlib.sha256(message).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 8_191])
def test_the_digest_at_the_edges_of_its_blocks(size: int) -> None:
    message = bytes(number % 251 for number in range(size))
    assert LUA.module("sha256")(message).decode() == hashlib.sha256(message).hexdigest()


@given(
    st.one_of(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["Bearer ", "bearer  ", " BEARER\t", "Basic ", "Bearer"]),
            VISIBLE,
            st.sampled_from(["", " ", " x"]),
        ),
        VISIBLE,
        st.just(""),
    )
)
def test_a_bearer_is_read_alike(value: str) -> None:
    found = LUA.module("access")[b"bearer"](value.encode())
    assert (None if found is None else found.decode()) == bearer([value])


def test_who_is_let_in() -> None:
    token = "a-token-of-somebody"  # noqa: S105 -- of this test alone
    told = {"known": {hashlib.sha256(token.encode()).hexdigest(): True}, "missing": "none", "unknown": "strange"}

    def refusal(*values: str) -> bytes | None:
        headers = LUA.table({"get": None, "getNumValues": None})
        headers[b"get"] = lambda _self, _key: values[0].encode() if values else None
        headers[b"getNumValues"] = lambda _self, _key: len(values)
        found: bytes | None = LUA.module("access")[b"refusal"](LUA.table(told), headers)
        return found

    assert refusal(f"Bearer {token}") is None
    assert refusal() == b"none"
    assert refusal(f"Bearer {token}", f"Bearer {token}") == b"none"
    assert refusal(f"Basic {token}") == b"none"
    assert refusal(f"Bearer {token}x") == b"strange"
    assert refusal(f"Bearer {'x' * 9_000}") == b"none"
