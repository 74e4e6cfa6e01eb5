"""What Envoy is configured to show and to ask for, and what of Triton's requests it changes."""

from pathlib import Path
from typing import Any

from inference_proxy.envoy.pushed import pushed_routes
from inference_proxy.envoy.tls import fingerprint, towards_clients, towards_triton
from tests.certificates import Certificates, make_certificates
from tradewind.access import Access
from tradewind.calling import PLAIN, way
from tradewind.settings import CommonSettings

HERE = "127.0.0.1:1"


def routes_to_triton(way_to_triton: Any) -> list[dict[str, Any]]:
    (routes,) = pushed_routes(["triton"], "1", {}, way_to_triton)["resources"]
    return [each for each in routes["virtual_hosts"][0]["routes"] if each["route"]["cluster"] != "proxy"]


def test_without_tls_there_is_nothing_of_it() -> None:
    assert towards_clients(None) == {}
    assert towards_triton(None, ["triton"]) == {}
    assert routes_to_triton(PLAIN)[0]["request_headers_to_remove"] == ["grpc-accept-encoding"]


def test_the_names_of_all_tritons_are_compared(certificates: Certificates) -> None:
    tls = way("peer_", CommonSettings(**certificates.calling("app"))).tls
    config = towards_triton(tls, ["b.example.org", "10.0.0.1", "b.example.org"])["transport_socket"]["typed_config"]
    context = config["common_tls_context"]
    assert context["validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.1"}},
        {"san_type": "DNS", "matcher": {"exact": "b.example.org"}},
    ]
    assert context["validation_context"]["trusted_ca"] == {"filename": str(certificates.ca)}
    assert context["tls_certificates"][0]["private_key"] == {"filename": str(certificates.key("app"))}


def test_a_client_certificate_is_demanded_where_its_authority_is_named(certificates: Certificates) -> None:
    for ask in (False, True):
        tls = Access(CommonSettings(**certificates.serving(ask=ask)), HERE).tls
        config = towards_clients(tls)["transport_socket"]["typed_config"]
        assert config["require_client_certificate"] is ask
        assert ("validation_context" in config["common_tls_context"]) is ask


def test_a_renewed_certificate_makes_another_configuration(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    settings = CommonSettings(**made.serving(ask=True))
    before = fingerprint(Access(settings, HERE).tls, None)
    assert fingerprint(Access(settings, HERE).tls, None) == before
    make_certificates(tmp_path)
    assert fingerprint(Access(settings, HERE).tls, None) != before


def test_tritons_token_takes_the_place_of_the_clients(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a%token")
    straight, *either = routes_to_triton(way("peer_", CommonSettings(peer_token_file=token), frozenset({"x-theirs"})))
    assert len(either) == 3
    for route in (straight, *either):
        assert "x-theirs" in route["request_headers_to_remove"]
        (added,) = route["request_headers_to_add"]
        assert added["header"] == {"key": "authorization", "value": "Bearer a%%token"}
        assert added["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
