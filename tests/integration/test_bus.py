"""The bus against a real broker: acknowledged, delivered again, and never something old after something new."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from local_stack.broker import Broker
from tradewind import topics
from tradewind.bus import Bus, Message, parse_broker_url
from tradewind.errors import InvalidInput, NotReady
from tradewind.mqtt_packets import PacketReader, acknowledgements


@asynccontextmanager
async def connected(url: str, name: str, **options: Any) -> AsyncIterator[Bus]:
    bus = Bus(parse_broker_url(url), name, **options)
    bus.start()
    try:
        async with asyncio.timeout(20):
            await bus.connected.wait()
        yield bus
    finally:
        await bus.stop()


async def next_messages(bus: Bus, count: int) -> list[Message]:
    taken: list[Message] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            messages = await bus.messages(count - len(taken))
            bus.done(messages)
            taken += messages
    return taken


async def test_what_is_published_arrives_in_order(broker: str, unique_zone: str) -> None:
    topic = topics.revisions(unique_zone)
    async with (
        connected(broker, f"in-{unique_zone}", subscriptions=[topic]) as reader,
        connected(broker, f"out-{unique_zone}") as writer,
    ):
        for number in range(300):
            await writer.publish(topic, str(number))
        messages = await next_messages(reader, 300)
    assert [int(each.payload) for each in messages] == list(range(300))


async def test_a_thousand_at_once_are_all_acknowledged(broker: str, unique_zone: str) -> None:
    topic = topics.revisions(unique_zone)

    async def read_all(reader: Bus) -> set[bytes]:
        seen: set[bytes] = set()
        while len(seen) < 1000:
            messages = await reader.messages()
            reader.done(messages)
            seen |= {each.payload for each in messages}
        return seen

    async with (
        connected(broker, f"in-{unique_zone}", subscriptions=[topic]) as reader,
        connected(broker, f"out-{unique_zone}") as writer,
        asyncio.timeout(30),
    ):
        seen, *_ = await asyncio.gather(
            read_all(reader), *(writer.publish(topic, str(number)) for number in range(1000))
        )
    assert seen == {str(number).encode() for number in range(1000)}


async def test_no_more_is_under_way_than_the_broker_takes() -> None:
    under_way: list[int] = []
    most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def take(_first: int, _topic: str, packet_id: int, _payload: bytes) -> None:
            nonlocal most
            under_way.append(packet_id)
            most = max(most, len(under_way))

        def answer(packet: bytes) -> None:
            if packet[0] == 0x10:
                writer.write(b"\x20\x06\x00\x00\x03\x21\x00\x03")  # Welcome; three at once.

        packets = PacketReader(take, answer)
        while data := await reader.read(65_536):
            packets.feed(data)
            writer.write(acknowledgements(under_way))
            under_way.clear()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connected(f"mqtt://127.0.0.1:{port}", "many") as bus, asyncio.timeout(20):
            await asyncio.gather(*(bus.publish("a", str(number)) for number in range(50)))
    assert 1 <= most <= 3


async def test_a_retained_message_is_there_for_who_comes_later(broker: str, unique_zone: str) -> None:
    topic = topics.intensity(unique_zone)
    async with connected(broker, f"out-{unique_zone}") as writer:
        await writer.publish(topic, "1", retain=True, expiry_s=60)
        await writer.publish(topic, "2", retain=True, expiry_s=60)
    async with connected(broker, f"in-{unique_zone}", subscriptions=[topic]) as reader:
        (message,) = await next_messages(reader, 1)
    assert (message.payload, message.retained, message.topic) == (b"2", True, topic)


async def test_a_broker_that_goes_fails_the_publish_and_comes_back(
    own_broker: Broker, unique_zone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = topics.intensity(unique_zone)
    heard: list[int] = []
    async with connected(own_broker.url, f"out-{unique_zone}") as writer:
        writer.on_connection(lambda: heard.append(writer.reconnections))
        await writer.publish(topic, "before", retain=True)
        own_broker.child.kill()
        async with asyncio.timeout(20):
            await writer.disconnected.wait()
        with pytest.raises(NotReady, match="away"):
            await writer.publish(topic, "lost", retain=True)
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(20):
            await writer.connected.wait()
        await writer.publish(topic, "after", retain=True)
        async with connected(own_broker.url, f"in-{unique_zone}", subscriptions=[topic]) as reader:
            (message,) = await next_messages(reader, 1)
        assert message.payload == b"after"
    assert heard == [1, 2]
    said = "".join(capsys.readouterr())
    assert [said.count(words) for words in ("broker is away", "cannot be reached", "broker is back")] == [1, 0, 1]


async def test_the_status_is_retained_online_then_offline(broker: str, unique_zone: str) -> None:
    topic = topics.service_status(unique_zone)
    async with connected(broker, f"in-{unique_zone}", subscriptions=[topic]) as reader:
        async with connected(broker, f"out-{unique_zone}", status_name=unique_zone):
            assert [each.payload for each in await next_messages(reader, 1)] == [b"online"]
        assert [each.payload for each in await next_messages(reader, 1)] == [b"offline"]


async def test_waiting_for_messages_can_be_cancelled(broker: str, unique_zone: str) -> None:
    topic = topics.revisions(unique_zone)
    async with connected(broker, f"in-{unique_zone}", subscriptions=[topic]) as reader:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.messages()
        await reader.publish(topic, "still there")
        assert [each.payload for each in await next_messages(reader, 1)] == [b"still there"]


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password", "tls"),
    [
        ("mqtt://localhost", "localhost", 1883, None, None, False),
        ("mqtts://roof:s%40lt@broker.example", "broker.example", 8883, "roof", "s@lt", True),
        ("mqtt://[::1]:2883", "::1", 2883, None, None, False),
    ],
)
def test_broker_urls(url: str, host: str, port: int, user: str | None, password: str | None, tls: bool) -> None:
    address = parse_broker_url(url)
    assert (address.host, address.port, address.tls) == (host, port, tls)
    assert (address.username, address.password) == (user, password)
    assert "s@lt" not in repr(address)


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://user:secret@host", "mqtt://", "mqtt://host:port", "mqtt://h:99999"]
)
def test_a_wrong_broker_url_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_broker_url(url)
    assert "secret" not in str(caught.value)
