"""What of a client's request is for Triton, and where a token of ours may go."""

from pathlib import Path
from typing import Any

import pytest

from inference_proxy.admission import access_of, triton_way
from inference_proxy.endpoints import parse_endpoints
from inference_proxy.settings import ProxyFront, ProxySettings
from tests.certificates import Certificates
from tradewind.calling import Way
from tradewind.errors import StartupError

SECRET = "0123456789abcdef"  # noqa: S105 -- of this test alone


def way_of(**settings: Any) -> Way:
    given = ProxySettings(**settings)
    return triton_way(given, access_of(given))


def test_triton_sees_of_a_client_what_is_not_for_the_proxy(tmp_path: Path, certificates: Certificates) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(SECRET)
    assert way_of().drops == frozenset()
    assert way_of(tokens_file=tokens).drops == {"authorization"}
    envoy = way_of(tokens_file=tokens, proxy_front=ProxyFront.ENVOY, **certificates.serving(ask=True))
    assert envoy.drops == {"authorization", "x-forwarded-client-cert"}


@pytest.mark.parametrize(("over_grpc", "over_http"), [("gpu:8001", ""), ("127.0.0.1:8001", "gpu:8000")])
async def test_a_token_for_triton_leaves_this_machine_over_tls_alone(
    over_grpc: str, over_http: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    with pytest.raises(StartupError, match=r"the token for gpu:800[01] would be sent in the clear"):
        parse_endpoints(over_grpc, over_http, way_of(proxy_triton_token_file=token))
