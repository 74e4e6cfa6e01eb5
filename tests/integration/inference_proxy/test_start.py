"""How the proxy starts: each thing that is wrong is one sentence, and what is merely away is waited for."""

from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxySettings
from inference_proxy.spool import read_records
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    CATALOGUE,
    Selector,
    address_of,
    eventually,
    infer_request,
    running,
    settings_for,
)
from tradewind.errors import StartupError
from tradewind.migrate import upgrade
from tradewind.settings import read_settings


def with_catalogue(directory: Path, text: str) -> None:
    """The catalogue that the settings of a test name."""
    (directory / "catalogue.yaml").write_text(text, encoding="utf-8")


async def refusal(settings: ProxySettings) -> str:
    """The sentence with which a start fails."""
    with pytest.raises(StartupError) as failed:
        async with running(settings):
            pass
    return str(failed.value)


async def test_a_variant_that_triton_does_not_have(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    with_catalogue(tmp_path, CATALOGUE.replace("model: ident_large", "model: ident_gigantic"))
    text = await refusal(settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc))
    assert text.startswith(
        f"Triton at {models.grpc} does not have ident_gigantic (variant large of family ident): "
        f"add the model to its repository"
    )


async def test_a_family_whose_variants_disagree(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    with_catalogue(tmp_path, CATALOGUE.replace("model: ident_large", "model: sum_small").replace("  sum:", "  su:"))
    text = await refusal(settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc))
    assert "family ident: its variants disagree: small has input INPUT FP32 [-1, -1]" in text
    assert "large has input INPUT FP32 [1]" in text


async def test_a_port_in_use(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_listen=models.grpc)
    assert "cannot listen on" in await refusal(settings)


async def test_a_metrics_port_in_use(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_metrics_port=models.metrics_port)
    assert "TRADEWIND_PROXY_METRICS_PORT" in await refusal(settings)


async def test_a_database_that_is_not_migrated(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    proxy = Proxy(settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc))
    with pytest.raises(StartupError, match="not migrated"):
        await proxy.start()
    await proxy.stop()


async def test_a_triton_that_is_away_at_start_is_waited_for(
    selector: Selector, tmp_path: Path, sqlite_url: str, own_models: Triton
) -> None:
    own_models.stop()
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=own_models.grpc, proxy_selector=selector.address)
    async with running(settings) as proxy:
        own_models.start()
        await eventually(lambda: proxy.targets["ident"][0].ready)
        async with grpc.aio.insecure_channel(address_of(proxy)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_small"
            assert (await stub.ModelReady(service_pb2.ModelReadyRequest(name="ident"))).ready


async def test_a_database_that_is_away_at_start_is_waited_for(models: Triton, tmp_path: Path, sqlite_url: str) -> None:
    upgrade(sqlite_url)
    away = f"postgresql://nobody@/none?host={tmp_path}"
    proxy = Proxy(settings_for(tmp_path, away, proxy_triton_grpc=models.grpc))
    await proxy.start()
    try:
        async with grpc.aio.insecure_channel(address_of(proxy)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_small"
    finally:
        await proxy.stop()
    assert len(read_records(proxy.spool.directory, 0, 0, 10)) == 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PROXY_ZONE", "not a zone", "is not a zone's name"),
        ("PROXY_TENANT_KEY", "X Tenant", "is not a metadata key"),
        ("PROXY_TRITON_GRPC", " , ", "names no Triton"),
        ("PROXY_TRITON_GRPC", "gpu:8001,gpu", "'gpu' is not an address: write host:port"),
        ("PROXY_TRITON_GRPC", "a:8001,b:8001", "names 2 and TRADEWIND_PROXY_TRITON_HTTP 1: give both of each Triton"),
        ("PROXY_TRITON_HTTP", "gpu:http", "'gpu:http' is not an address"),
        ("PROXY_LISTEN", "8001", "'8001' is not an address"),
        ("PROXY_LISTEN", "127.0.0.1:80010", "'127.0.0.1:80010' is not an address"),
        ("PROXY_HTTP_LISTEN", "localhost", "'localhost' is not an address"),
        ("PROXY_ROLLOUT_PCT", "101", "less than or equal to 100"),
        ("PROXY_MODE", "guess", "'serve' or 'observe'"),
        ("PROXY_TYPO", "1", "unknown setting"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str) -> None:
    monkeypatch.setenv(f"TRADEWIND_{name}", value)
    with pytest.raises(StartupError, match=f"TRADEWIND_{name}.*{text}"):
        read_settings(ProxySettings)
