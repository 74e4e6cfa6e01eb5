"""Paths, as Triton tells them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.http.places import Place, model_path, place_of


@pytest.mark.parametrize(
    ("target", "action", "name", "version"),
    [
        ("/v2/models/net", "metadata", "net", ""),
        ("/v2/models/net/versions/1", "metadata", "net", "1"),
        ("/v2/models/net/infer", "infer", "net", ""),
        ("/v2/models/net/versions/12/infer", "infer", "net", "12"),
        ("/v2/models/net/versions/007/ready", "ready", "net", "7"),
        ("/v2/models/net/versions/0/ready", "ready", "net", "0"),
        ("/v2/models/net/generate", "generate", "net", ""),
        ("/v2/models/net/generate_stream", "generate_stream", "net", ""),
        ("/v2/models/net/trace/setting", "trace/setting", "net", ""),
        ("/v2/models/a%20b/config", "config", "a%20b", ""),
        ("/v2/models/stats/ready", "ready", "stats", ""),
        ("/v2/models/net/stats?x=1", "stats", "net", ""),
        ("/v2/repository/index", "index", "", ""),
        ("/v2/repository/mine/index", "index", "", ""),
        ("/v2/repository/models/net/load", "load", "net", ""),
        ("/v2/repository/mine/models/net/unload", "unload", "net", ""),
        ("http://host:8000/v2/models/net/infer", "infer", "net", ""),
        ("/v2/models/stats", "all stats", "", ""),
        # None of these is a route of Triton's.
        ("/v2/models/net/", "", "", ""),
        ("/v2/models/net/versions/x/infer", "", "", ""),
        ("/v2/models/net/versions/-1", "", "", ""),
        ("/v2/models/net/nonsense", "", "", ""),
        ("/v2//models/net", "", "", ""),
        ("/v2/models", "", "", ""),
        ("/v2", "", "", ""),
        ("/", "", "", ""),
        ("*", "", "", ""),
    ],
)
def test_places(target: str, action: str, name: str, version: str) -> None:
    place = place_of(target)
    assert (place.action, place.name, place.version) == (action, name, version)


def test_path_and_query_stay_as_they_were() -> None:
    assert place_of("/v2/models/net/infer?a=b?c") == Place("/v2/models/net/infer", "?a=b?c", "infer", "net", "")


@given(st.text(max_size=80))
def test_no_target_crashes_it(target: str) -> None:
    place = place_of(target)
    assert place.path.startswith("/")


def test_the_path_of_a_model() -> None:
    assert model_path("net", "", "infer") == "/v2/models/net/infer"
    assert model_path("net", "2", "") == "/v2/models/net/versions/2"
