"""`follow: mqtt` on a real broker: retained decisions, nonsense, and the broker's absence."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import paho.mqtt.publish as mqtt_publish
from paho.mqtt.enums import MQTTProtocolVersion
from tritonclient.grpc import service_pb2_grpc

from inference_proxy.settings import Follow
from local_stack.broker import Broker
from local_stack.triton import Triton
from tests.integration.inference_proxy.stand import (
    ZONE,
    address_of,
    eventually,
    infer_request,
    reading_now,
    receipt_of,
    running,
    settings_for,
)
from tradewind import topics
from tradewind.decisions import Decision, DecisionReason, Share, decision_to_json
from tradewind.readings import to_json


def decision(variant: str, zone: str = ZONE) -> str:
    """A decision as the selector announces it."""
    now = datetime.now(UTC)
    return decision_to_json(
        Decision(
            id=f"id-{variant}",
            zone=zone,
            family="ident",
            revision=1,
            mix=(Share(variant, 1.0),),
            valid_from=now,
            valid_until=now + timedelta(hours=1),
            policy="test",
            reason=DecisionReason.FIXED,
            explanation="the test says so",
            current=None,
            range=None,
            decided_at=now,
        )
    )


def say(broker: Broker, topic: str, payload: str) -> None:
    """Publishes, retained, as the services do."""
    mqtt_publish.single(
        topic,
        payload,
        qos=1,
        retain=True,
        hostname="127.0.0.1",
        port=broker.port,
        protocol=MQTTProtocolVersion.MQTTv5,
    )


async def test_decisions_and_readings_come_from_the_bus(
    models: Triton, own_broker: Broker, tmp_path: Path, sqlite_url: str
) -> None:
    mine = topics.decision(ZONE, "ident")
    say(own_broker, mine, decision("large"))
    say(own_broker, topics.intensity(ZONE), to_json(reading_now(250.0)))
    settings = settings_for(
        tmp_path,
        sqlite_url,
        proxy_triton_grpc=models.grpc,
        proxy_follow=Follow.MQTT,
        broker_url=own_broker.url,
        proxy_selector="127.0.0.1:1",
    )
    async with running(settings) as proxy, grpc.aio.insecure_channel(address_of(proxy)) as channel:
        stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        family = proxy.families["ident"]

        def decided() -> str:
            return family.decision.mix[0].variant if family.decision is not None else ""

        await eventually(lambda: decided() == "large")
        await eventually(lambda: bool(proxy.intervals._starts))
        receipt = receipt_of(await stub.ModelInfer(infer_request("ident")))
        assert (receipt["carbon_variant"], receipt["carbon_intensity_g_per_kwh"]) == ("large", "250")

        say(own_broker, mine, "not a decision")
        say(own_broker, topics.intensity(ZONE), "[]")
        say(own_broker, topics.decision("FR", "ident"), decision("small", "FR"))
        say(own_broker, mine, decision("medium"))
        await eventually(lambda: decided() == "medium")

        own_broker.child.kill()
        assert (await stub.ModelInfer(infer_request("ident"))).model_name == "ident_medium"
        own_broker.start()
        say(own_broker, mine, decision("small"))
        await eventually(lambda: decided() == "small")
