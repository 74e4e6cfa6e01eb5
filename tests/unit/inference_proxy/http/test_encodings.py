"""Compression over HTTP, by what Triton 2.51 was seen to do."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.http.encodings import Compressor, Inflater, chosen_encoding


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip , deflate", "deflate"),
        ("identity, gzip", None),
        ("gzip,identity", "gzip"),
        ("identity;q=0.5,gzip;q=0.5", None),
        ("identity;q=0.2,deflate;q=0.1,gzip", "gzip"),
        ("br, gzip", "gzip"),
        ("br", None),
        ("*", None),
        ("GZIP", None),
        ("gzip;q=0", None),
        ("gzip;q=-1", None),
        ("gzip;q=abc", None),
        ("gzip;q=", None),
        ("gzip;q=1.5", "gzip"),
        ("gzip;q=0.5x,deflate;q=0.4", "gzip"),
        ("gzip;q=.1,deflate;q=.5", "deflate"),
        ("gzip; q=0.5", None),
        ("gzip;Q=0.5", None),
        ("gzip;level=1", None),
        ("deflate;q=0.4;gzip", "deflate"),
        (",gzip", "gzip"),
        ("gzip deflate", None),
        ("x-gzip", None),
    ],
)
def test_the_encoding_is_triton_s_choice(accept: str | None, encoding: str | None) -> None:
    assert chosen_encoding(accept) == encoding


@given(st.text(max_size=60))
def test_no_header_crashes_it(accept: str) -> None:
    assert chosen_encoding(accept) in {None, "gzip", "deflate"}


@pytest.mark.parametrize(("encoding", "inflate"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
async def test_pieces_are_compressed(encoding: str, inflate: object) -> None:
    assert callable(inflate)
    compressor = Compressor(encoding)
    pieces = [b"a" * 10, b"b" * 200_000, b""]
    data = b"".join([await compressor.compress(piece) for piece in pieces]) + await compressor.finish()
    assert inflate(data) == b"".join(pieces)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_the_beginning_of_a_compressed_request_is_seen(compress: object) -> None:
    assert callable(compress)
    data, inflater = compress(b"0123456789" * 50_000), Inflater()
    for position in range(0, len(data), 100):
        await inflater.feed(data[position : position + 100], 25)
    assert inflater.text == b"0123456789012345678901234"


async def test_what_inflates_without_end_is_not_looked_at_beyond_the_limit() -> None:
    inflater = Inflater()
    await inflater.feed(gzip.compress(bytes(50_000_000)), 1_000_000)
    assert inflater.length == 1_000_000


@given(st.binary(max_size=100))
async def test_what_is_not_compressed_is_no_error(data: bytes) -> None:
    inflater = Inflater()
    await inflater.feed(data, 1_000)
    await inflater.feed(data, 1_000)
    assert inflater.length == len(inflater.text)
