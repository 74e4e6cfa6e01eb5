"""Tokens: what a file may say, whose a token is, and a file that changes while it is followed."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tradewind.clock import Ticking
from tradewind import files
from tradewind.errors import StartupError
from tradewind.tokens import OwnToken, Tokens, bearer, parse_tokens

SECRET = "0123456789abcdef"  # noqa: S105 -- of this test alone
VARIABLE = "TRADEWIND_TOKENS_FILE"


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    made = Ticking()
    monkeypatch.setattr(files, "monotonic", made)
    return made


def test_a_line_is_a_token_or_a_name_and_a_token() -> None:
    known = parse_tokens(f"# comment\n\n{SECRET}\n  ana@example.org   {SECRET}2\n", "file")
    assert [(each.name, each.digest) for each in known] == [
        ("", hashlib.sha256(SECRET.encode()).digest()),
        ("ana@example.org", hashlib.sha256(f"{SECRET}2".encode()).digest()),
    ]


def test_a_digest_stands_for_a_token() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert parse_tokens(f"ana sha256:{digest}", "file") == parse_tokens(f"ana {SECRET}", "file")
    with pytest.raises(StartupError, match="line 2 repeats a token"):
        parse_tokens(f"ana sha256:{digest}\nana {SECRET}", "file")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no token"),
        ("# nothing\n", "has no token"),
        ("short", "line 1: a token has at least 16"),
        (f"{SECRET}\nana {SECRET}", "line 2 repeats a token"),
        (f"ana and {SECRET}", "line 1 has more than"),
        (f"a/b {SECRET}", "line 1: a name has"),
        (f"ana {SECRET}é", "line 1: a token has"),
    ],
)
def test_a_wrong_file_is_named_by_its_line_and_never_quoted(text: str, complaint: str) -> None:
    with pytest.raises(StartupError, match=complaint) as refused:
        parse_tokens(text, "TRADEWIND_TOKENS_FILE: tokens")
    assert SECRET not in str(refused.value)


def test_whose_a_token_is(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ana {SECRET}1\n{SECRET}2\n")
    tokens = Tokens(path, VARIABLE, {"meter": hashlib.sha256(b"a secret with spaces").hexdigest()})
    assert tokens.names_of(f"{SECRET}1") == frozenset({"ana"})
    assert tokens.names_of(f"{SECRET}2") == frozenset({""})
    assert tokens.names_of("a secret with spaces") == frozenset({"meter"})
    for stranger in (None, "", SECRET, f"{SECRET}1 ", f"{SECRET}\udce9"):
        assert tokens.names_of(stranger) is None
    assert len(tokens.digests()) == 3
    assert not any(SECRET in digest for digest in tokens.digests())


def test_without_a_file_nobody_is_known() -> None:
    assert Tokens(None).names_of(SECRET) is None


def test_a_changed_file_is_read_again_and_a_broken_one_leaves_what_was(tmp_path: Path, ticking: Ticking) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ana {SECRET}1\n")
    tokens = Tokens(path, VARIABLE)
    path.write_text(f"eva {SECRET}2\n")
    assert tokens.names_of(f"{SECRET}1") == frozenset({"ana"}), "it is not looked at for every request"
    ticking.now_s += 1
    assert (tokens.names_of(f"{SECRET}1"), tokens.names_of(f"{SECRET}2")) == (None, frozenset({"eva"}))
    for spoil in (lambda: path.write_text("broken"), path.unlink):
        spoil()
        ticking.now_s += 1
        assert tokens.names_of(f"{SECRET}2") == frozenset({"eva"})
    path.write_text(f"{SECRET}3\n")
    ticking.now_s += 1
    assert (tokens.names_of(f"{SECRET}2"), tokens.names_of(f"{SECRET}3")) == (None, frozenset({""}))


def test_a_file_that_is_swapped_for_one_of_the_same_size_and_time_is_seen(tmp_path: Path, ticking: Ticking) -> None:
    path, other = tmp_path / "tokens", tmp_path / "other"
    path.write_text(f"{SECRET}1\n")
    tokens = Tokens(path, VARIABLE)
    other.write_text(f"{SECRET}2\n")
    seen = path.stat()
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.rename(path)
    ticking.now_s += 1
    assert tokens.names_of(f"{SECRET}2") == frozenset({""})


def test_the_own_token_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"# mine\nana {SECRET}\n")
    assert OwnToken(path, "TRADEWIND_PEER_TOKEN_FILE").authorization == f"Bearer {SECRET}"
    for text in ("", f"{SECRET}1\n{SECRET}2\n", "é", f"one two {SECRET}"):
        path.write_text(text)
        with pytest.raises(StartupError, match="TRADEWIND_PEER_TOKEN_FILE"):
            OwnToken(path, "TRADEWIND_PEER_TOKEN_FILE")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"TRADEWIND_TOKENS_FILE: .*nowhere cannot be read"):
        Tokens(tmp_path / "nowhere", VARIABLE)
    with pytest.raises(StartupError, match="cannot be read"):
        Tokens(tmp_path, VARIABLE)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_a_bearer_is_found_whatever_the_case_and_the_spaces(token: str) -> None:
    for value in (f"Bearer {token}", f"bearer   {token}", f" BEARER\t{token} "):
        assert bearer([value]) == token
    for values in ([], [token], [f"Basic {token}"], [f"Bearer {token} x"], [f"Bearer {token}"] * 2, ["Bearer"]):
        assert bearer(values) is None
