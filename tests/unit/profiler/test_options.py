"""How options are written, and what is said when they are not."""

import pytest

from profiler.options import k_of, parse_numbers, parse_pairs, parse_percentages, parse_variants
from tradewind.errors import InvalidInput


def test_variants_models_and_versions() -> None:
    assert parse_variants("a, b=model,c=model:2,d:3") == {
        "a": ("a", ""),
        "b": ("model", ""),
        "c": ("model", "2"),
        "d": ("d", "3"),
    }


@pytest.mark.parametrize("text", ["", "a,,b", "a=", "a:x", "a,a"])
def test_broken_variants(text: str) -> None:
    with pytest.raises(InvalidInput, match="--variants"):
        parse_variants(text)


def test_numbers() -> None:
    assert parse_numbers("--batch", "1, 4,16") == (1, 4, 16)
    for text in ("", "0", "1,x", "-1"):
        with pytest.raises(InvalidInput, match="--batch"):
            parse_numbers("--batch", text)


def test_pairs() -> None:
    assert parse_pairs("--shape", ["INPUT:3,224,224"]) == {"INPUT": "3,224,224"}
    with pytest.raises(InvalidInput, match="--shape"):
        parse_pairs("--shape", ["INPUT"])


def test_percentages() -> None:
    assert parse_percentages("--error", ["a=7.138", "b=0"]) == {"a": 7.138, "b": 0.0}
    for text in ("a=x", "a=101", "a=-1", "a=nan"):
        with pytest.raises(InvalidInput, match="--error"):
            parse_percentages("--error", [text])


def test_error_metrics() -> None:
    assert (k_of("top1_error_pct"), k_of("top5_error_pct")) == (1, 5)
    for text in ("wer", "top0_error_pct", "topx_error_pct"):
        with pytest.raises(InvalidInput, match="--error-metric"):
            k_of(text)
