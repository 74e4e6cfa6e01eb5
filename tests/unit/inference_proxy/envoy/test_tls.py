"""What Envoy is configured to show and to ask for, and what of Triton's requests it changes."""

from pathlib import Path
from typing import Any

from inference_proxy.envoy.places import Places
from inference_proxy.envoy.pushed import pushed_routes
from inference_proxy.envoy.tls import pushed_secrets, towards_clients, towards_triton
from tests.certificates import Certificates
from tradewind.access import Access
from tradewind.calling import PLAIN, way
from tradewind.settings import CommonSettings

HERE = "127.0.0.1:1"
PLACES = Places(Path("/spool/envoy"), Path("/sockets"))


def secret_of(config: Any) -> Path:
    source = config["sds_config"]["path_config_source"]
    assert source["watched_directory"] == {"path": str(PLACES.pushed)}
    return Path(source["path"])


def routes_to_triton(way_to_triton: Any) -> list[dict[str, Any]]:
    (routes,) = pushed_routes(["triton"], "1", {}, way_to_triton)["resources"]
    return [each for each in routes["virtual_hosts"][0]["routes"] if each["route"]["cluster"] != "proxy"]


def test_without_tls_there_is_nothing_of_it() -> None:
    assert towards_clients(None, PLACES) == {}
    assert towards_triton(None, ["triton"], PLACES) == {}
    assert pushed_secrets(None, None, PLACES) == {}
    assert routes_to_triton(PLAIN)[0]["request_headers_to_remove"] == ["grpc-accept-encoding"]


def test_the_names_of_all_tritons_are_compared(certificates: Certificates) -> None:
    tls = way("peer_", CommonSettings(**certificates.calling("app"))).tls
    hosts = ["b.example.org", "10.0.0.1", "b.example.org"]
    context = towards_triton(tls, hosts, PLACES)["transport_socket"]["typed_config"]["common_tls_context"]
    combined = context["combined_validation_context"]
    assert combined["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.1"}},
        {"san_type": "DNS", "matcher": {"exact": "b.example.org"}},
    ]
    secrets = pushed_secrets(None, tls, PLACES)
    (own,) = context["tls_certificate_sds_secret_configs"]
    authority = combined["validation_context_sds_secret_config"]
    assert secrets.keys() == {secret_of(own), secret_of(authority)}
    (shown,) = secrets[secret_of(own)]["resources"]
    assert shown["name"] == own["name"]
    assert shown["tls_certificate"]["private_key"] == {"filename": str(certificates.key("app"))}
    (believed,) = secrets[secret_of(authority)]["resources"]
    assert believed["validation_context"]["trusted_ca"] == {"filename": str(certificates.ca)}


def test_a_client_certificate_is_demanded_where_its_authority_is_named(certificates: Certificates) -> None:
    for ask in (False, True):
        tls = Access(CommonSettings(**certificates.serving(ask=ask)), HERE).tls
        config = towards_clients(tls, PLACES)["transport_socket"]["typed_config"]
        assert config["require_client_certificate"] is ask
        assert ("validation_context_sds_secret_config" in config["common_tls_context"]) is ask
        assert len(pushed_secrets(tls, None, PLACES)) == 1 + ask


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
