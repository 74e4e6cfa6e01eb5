"""A proxy that begins anew while nobody decides serves the last decision, on each front and each way of following."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.settings import Follow, ProxyFront
from local_stack.ports import free_ports
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    Selector,
    eventually,
    infer_request,
    reading_now,
    receipt_of,
    running,
    settings_for,
)


@pytest.mark.parametrize("front", list(ProxyFront))
@pytest.mark.parametrize("follow", list(Follow))
async def test_the_last_decision_outlives_the_process_without_a_selector(
    models: Triton, selector: Selector, tmp_path: Path, sqlite_url: str, front: ProxyFront, follow: Follow
) -> None:
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_listen=f"127.0.0.1:{free_ports(1)[0]}",
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_selector=selector.address,
        proxy_front=front,
        proxy_envoy_workers=1,
    )
    made = selector.decide("ident", {"large": 1.0}, reading_now(200.0), age=timedelta(minutes=7))
    async with running(settings) as proxy:
        await eventually(lambda: proxy.families["ident"].decision == made)
    await selector.stop()

    # Nobody is there on the bus, either.
    changes = {"proxy_follow": follow, "broker_url": "mqtt://127.0.0.1:1"}
    async with (
        running(settings.model_copy(update=changes)),
        grpc.aio.insecure_channel(settings.proxy_listen) as channel,
    ):
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        receipt = receipt_of(await stub.ModelInfer(infer_request("ident"), wait_for_ready=True))
    assert (receipt["carbon_variant"], receipt["carbon_decision"]) == ("large", made.id)
    assert receipt["carbon_intensity_g_per_kwh"] == "200"
    assert receipt["carbon_decision_age_s"] >= 7 * 60
    assert "carbon_fallback" not in receipt
