"""Charged by what calibration measured, on every front: receipt, ledger and report say so."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.proxy import Proxy
from inference_proxy.report import Known, Span, Sums, read_report
from inference_proxy.settings import ProxyFront
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.conftest import UNLIMITED
from tests.integration.inference_proxy.stand import (
    Selector,
    eventually,
    infer_request,
    receipt_of,
    running,
    settings_for,
)
from tests.unit.inference_proxy.test_charging import calibration


def total(proxy: Proxy) -> Sums:
    return read_report(proxy.engine, Span(), [], lambda _family, _variant: Known(None, "estimated")).total


async def answered(client: Any, energy_uj: int, source: str | None) -> None:
    """Waits until a request is charged so; behind Envoy a change takes a moment."""

    async def charged() -> tuple[object, object]:
        receipt = receipt_of(await client.ModelInfer(infer_request("ident")))
        return receipt["carbon_energy_uj"], receipt.get("carbon_energy_source")

    for _ in range(2_000):
        if await charged() == (energy_uj, source):
            return
    raise AssertionError(f"requests are charged {await charged()}, not {(energy_uj, source)}")


@pytest.mark.parametrize("front", list(ProxyFront))
async def test_receipt_ledger_and_report_say_what_was_measured(
    models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str, front: ProxyFront
) -> None:
    file, (port,) = tmp_path / "calibration.json", free_ports(1)
    file.write_text(calibration(1.25), encoding="utf-8")
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_listen=f"127.0.0.1:{port}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_selector=selector.address,
        proxy_front=front,
        proxy_envoy_workers=1,
        proxy_calibration=file,
    )
    async with (
        running(settings) as proxy,
        grpc.aio.insecure_channel(settings.proxy_listen, options=UNLIMITED) as channel,
    ):
        client = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await answered(client, 125_000, "calibrated")
        await eventually(lambda: total(proxy).inferences == 1)
        found = total(proxy)
        assert (found.energy_uj, found.calibrated_energy_uj) == (125_000, 125_000)
        assert found.energy_provenances == {"calibrated"}

        file.write_text("broken", encoding="utf-8")
        assert proxy.charging is not None
        await proxy.charging.look()
        await answered(client, 100_000, None)
        await eventually(lambda: total(proxy).calibrated_energy_uj < total(proxy).energy_uj)
        assert total(proxy).energy_provenances == {"calibrated", "estimated"}
