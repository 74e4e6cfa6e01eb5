"""Where named Tritons are: every address once, and the last that was known where a name is not found."""

import socket

import pytest

from inference_proxy.envoy.names import Names
from inference_proxy.envoy.pushed import Place, pushed_endpoints


async def test_names_become_places_and_stay_where_they_were_while_nobody_knows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"triton": ["10.0.0.2", "fd00::2", "10.0.0.1"], "six": ["fd00::6"]}

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host not in known:
            raise socket.gaierror
        return [(0, 0, 0, "", (ip, 0)) for ip in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    addresses = ["triton:8001", "10.0.0.1:8001", "six:8001", "[fd00::9]:8001", "absent:8001"]
    names = Names(addresses)
    await names.look()
    expected = [
        Place("triton", "10.0.0.1", 8001),
        Place("triton", "10.0.0.2", 8001),
        Place("six", "fd00::6", 8001),
        Place("fd00::9", "fd00::9", 8001),
    ]
    assert names.places(addresses) == expected
    known.clear()
    await names.look()
    assert names.places(addresses) == expected
    known["triton"] = ["10.0.0.3"]
    await names.look()
    assert names.places(["triton:8001"]) == [Place("triton", "10.0.0.3", 8001)]


def test_an_endpoint_keeps_the_name_that_a_certificate_has() -> None:
    (resource,) = pushed_endpoints("triton-0", [Place("triton", "10.0.0.1", 8001)], "r")["resources"]
    (endpoint,) = (each["endpoint"] for each in resource["endpoints"][0]["lb_endpoints"])
    assert endpoint == {
        "hostname": "triton",
        "address": {"socket_address": {"address": "10.0.0.1", "port_value": 8001}},
    }
