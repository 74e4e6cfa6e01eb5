"""The broker of the local stack: MQTT 5 and 3.1.1, large payloads, back on its port after a crash."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from local_stack.broker import Broker
from local_stack.ports import free_ports


@contextmanager
def _client(port: int, protocol: MQTTProtocolVersion) -> Iterator[tuple[mqtt.Client, "queue.Queue[mqtt.MQTTMessage]"]]:
    messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.on_message = lambda _client, _userdata, message: messages.put(message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client, messages
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_retained_message_above_the_default_limit_reaches_both_protocols(
    broker_process: Broker, unique_zone: str
) -> None:
    topic, payload = f"test/{unique_zone}", b"x" * 200_000
    with _client(broker_process.port, MQTTProtocolVersion.MQTTv5) as (publisher, _):
        publisher.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    for port, protocol in (
        (broker_process.port, MQTTProtocolVersion.MQTTv5),
        (broker_process.port_v4, MQTTProtocolVersion.MQTTv311),
    ):
        with _client(port, protocol) as (subscriber, messages):
            subscriber.subscribe(topic, qos=1)
            message = messages.get(timeout=10)
            assert (message.payload, message.retain) == (payload, True)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_it_comes_back_on_the_same_port(own_broker: Broker, end: str) -> None:
    before = own_broker.url
    getattr(own_broker.child, end)()
    assert not own_broker.child.alive
    own_broker.start()
    assert own_broker.url == before
    with _client(own_broker.port, MQTTProtocolVersion.MQTTv5) as (client, messages):
        client.subscribe("test/back", qos=1)
        client.publish("test/back", b"1", qos=1)
        assert messages.get(timeout=10).payload == b"1"


def test_it_takes_the_wanted_ports_and_others_where_they_are_taken(tmp_path: Path) -> None:
    wanted = free_ports(2)
    first, second = Broker(tmp_path / "first", wanted), Broker(tmp_path / "second", wanted)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    try:
        first.start()
        second.start()
        assert (first.port, first.port_v4) == wanted
        assert not {second.port, second.port_v4} & set(wanted)
    finally:
        first.stop()
        second.stop()
