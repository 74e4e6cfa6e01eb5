"""Who may call and who may operate, by the settings and by where a service listens."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.certificates import Certificates
from tradewind.access import NO_TOKEN, UNKNOWN_TOKEN, Access, common_names
from tradewind.calling import way
from tradewind.errors import NotPermitted, StartupError
from tradewind.serving import is_loopback, warn_if_exposed
from tradewind.settings import CommonSettings

SECRET = "0123456789abcdef"  # noqa: S105 -- of this test alone
HERE, EVERYWHERE = "127.0.0.1:8001", "0.0.0.0:8001"


class Caller:
    """What a call's context says of who calls."""

    def __init__(self, *metadata: tuple[str, str], certificate: str | None = None) -> None:
        self._metadata, self._certificate = metadata, certificate

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What it sent."""
        return self._metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        """What its certificate says."""
        return {} if self._certificate is None else {"x509_common_name": [self._certificate.encode()]}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"ana {SECRET}a\napp {SECRET}b\n{SECRET}c\n")
    return path


def token(letter: str) -> tuple[str, str]:
    return "authorization", f"Bearer {SECRET}{letter}"


def access(listen: str = HERE, **settings: Any) -> Access:
    return Access(CommonSettings(**settings), listen)


def test_without_configuration_everybody_on_this_machine_operates() -> None:
    assert access().operator(Caller()) == ""
    assert access().interceptors == ()
    assert access().digests() is None
    with pytest.raises(NotPermitted, match="nothing tells who calls"):
        access(EVERYWHERE).operator(Caller())


def test_operators_are_those_who_are_named(tokens: Path) -> None:
    for listen in (HERE, EVERYWHERE):
        given = access(listen, tokens_file=tokens, operators="ana, ops")
        assert given.operator(Caller(token("a"))) == "ana"
        assert given.operator(Caller(token("b"), certificate="ops")) == "ops"
        for stranger in (Caller(), Caller(token("b")), Caller(token("c")), Caller(certificate="other")):
            with pytest.raises(NotPermitted, match="this is for operators"):
                given.operator(stranger)


def test_where_callers_are_known_and_no_operator_is_named_nobody_operates(tokens: Path) -> None:
    with pytest.raises(NotPermitted, match="TRADEWIND_OPERATORS"):
        access(tokens_file=tokens).operator(Caller(token("a")))


def test_operators_whom_nobody_can_know_are_refused_at_start() -> None:
    with pytest.raises(StartupError, match="TRADEWIND_OPERATORS names operators, and nothing tells who calls"):
        access(operators="ana")


def test_a_request_is_refused_in_one_sentence(tokens: Path) -> None:
    given = access(tokens_file=tokens)
    assert given.refusal([f"Bearer {SECRET}a"]) is None
    assert str(given.refusal([])) == NO_TOKEN
    assert str(given.refusal([f"Bearer {SECRET}"])) == UNKNOWN_TOKEN


def test_what_envoy_says_of_a_certificate_is_believed_behind_envoy_alone(certificates: Certificates) -> None:
    said = Caller(("x-forwarded-client-cert", 'Hash=ab;Subject="CN=ops,O=Example"'))
    settings = CommonSettings(**certificates.serving(ask=True), operators="ops")
    assert Access(settings, HERE, behind_envoy=True).operator(said) == "ops"
    with pytest.raises(NotPermitted):
        Access(settings, HERE).operator(said)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ('Hash=ab;Subject="CN=ops"', ["ops"]),
        ('Hash=ab;Subject="O=Example\\, Ltd,CN=ops"', ["ops"]),
        ('Subject="CN=a\\,CN=ops"', ["a,CN=ops"]),
        ('Subject="O=CN\\=ops"', []),
        ('Hash=ab;URI=spiffe://x;Subject=""', []),
        ("", []),
    ],
)
def test_the_common_name_in_envoys_account(said: str, names: list[str]) -> None:
    assert common_names(said) == names


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        (":1", False),
        ("10.0.0.1:1", False),
        ("proxy:1", False),
    ],
)
def test_what_only_this_machine_reaches(address: str, local: bool) -> None:
    assert is_loopback(address) is local


def test_certificates_that_do_not_fit_are_named_at_start(certificates: Certificates, tmp_path: Path) -> None:
    good = certificates.serving(ask=True)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for change, complaint in (
        ({"tls_key_file": None}, "TRADEWIND_TLS_CERTIFICATE_FILE and TRADEWIND_TLS_KEY_FILE belong together"),
        (
            {"tls_key_file": certificates.key("app")},
            "TRADEWIND_TLS_CERTIFICATE_FILE: .* are not a certificate and its key",
        ),
        ({"tls_key_file": tmp_path / "none"}, "TRADEWIND_TLS_KEY_FILE: .* cannot be read"),
        ({"tls_client_ca_file": broken}, "TRADEWIND_TLS_CLIENT_CA_FILE: .* has no certificate in PEM"),
        ({"tls_certificate_file": None, "tls_key_file": None}, "TRADEWIND_TLS_CLIENT_CA_FILE asks for client"),
    ):
        with pytest.raises(StartupError, match=complaint):
            access(**{**good, **change})


def test_a_token_goes_to_another_machine_over_tls_alone(tmp_path: Path, certificates: Certificates) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    plain = way("peer_", CommonSettings(peer_token_file=path))
    plain.check("127.0.0.1:9102")
    with pytest.raises(StartupError, match="the token for selector:9102 would be sent in the clear"):
        plain.check("selector:9102")
    way("peer_", CommonSettings(peer_token_file=path, **certificates.calling())).check("selector:9102")


def test_what_clients_show_to_us_is_replaced_by_what_we_show(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    theirs = (("x-key", "1"), ("authorization", "Bearer theirs"), ("x-forwarded-client-cert", "Hash=1"))
    assert way("peer_", CommonSettings()).dress is None
    dropping = way("peer_", CommonSettings(), frozenset({"authorization", "x-forwarded-client-cert"})).dress
    assert dropping is not None
    assert dropping(theirs) == (("x-key", "1"),)
    ours = way("peer_", CommonSettings(peer_token_file=path)).dress
    assert ours is not None
    assert ours(theirs) == (
        ("x-key", "1"),
        ("x-forwarded-client-cert", "Hash=1"),
        ("authorization", f"Bearer {SECRET}"),
    )
    assert ours(None) == (("authorization", f"Bearer {SECRET}"),)


def test_a_port_beyond_this_machine_in_the_clear_is_said_once() -> None:
    with capture_logs() as said:
        warn_if_exposed(HERE, tls=False)
        warn_if_exposed(EVERYWHERE, tls=True)
        assert said == []
        warn_if_exposed(EVERYWHERE, tls=False)
    assert [(each["log_level"], each["listen"]) for each in said] == [("warning", EVERYWHERE)]


@pytest.mark.parametrize(
    ("listen", "known", "said"),
    [
        (HERE, False, "the switches are open to everybody on this machine"),
        (EVERYWHERE, False, "the switches are refused to everybody"),
        (EVERYWHERE, True, "the switches are for operators"),
    ],
)
def test_who_may_operate_is_said_at_start(listen: str, known: bool, said: str, tokens: Path) -> None:
    with capture_logs() as logged:
        access(listen, **({"tokens_file": tokens, "operators": "ana"} if known else {})).tell("the switches")
    assert len(logged) == 1
    assert logged[0]["event"].startswith(said)
