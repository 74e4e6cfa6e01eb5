"""Messages come out of the bytes of a connection whole and in order, however the network cuts them."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradewind.mqtt_packets import MalformedPacket, PacketReader, acknowledgements


@dataclass(frozen=True)
class Said:
    """A message, or (without a topic) a packet of another kind."""

    topic: str
    packet_id: int
    payload: bytes
    properties: bytes = b""
    retained: bool = False

    @property
    def packet(self) -> bytes:
        """As the broker sends it."""
        if not self.topic:
            return b"\x40" + length(len(self.payload)) + self.payload
        qos = 1 if self.packet_id else 0
        topic = self.topic.encode()
        body = len(topic).to_bytes(2) + topic + (self.packet_id.to_bytes(2) if qos else b"")
        body += length(len(self.properties)) + self.properties + self.payload
        return bytes([0x30 | qos << 1 | self.retained]) + length(len(body)) + body


def length(value: int) -> bytes:
    """A length of one to four bytes."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


messages = st.builds(
    Said,
    topic=st.text(st.characters(codec="utf-8"), max_size=20),
    packet_id=st.integers(0, 65_535),
    payload=st.binary(max_size=300) | st.integers(16_000, 17_000).map(bytes),
    properties=st.binary(max_size=200),
    retained=st.booleans(),
)


class Heard:
    """What a reader made of bytes, written as it was said."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.reader = PacketReader(self._message, self._packet)

    def _message(self, first: int, topic: str, packet_id: int, payload: bytes) -> None:
        self.said.append(Said(topic, packet_id, payload, retained=bool(first & 1)))

    def _packet(self, packet: bytes) -> None:
        self.said.append(Said("", 0, packet))


@given(st.lists(messages, max_size=8), st.data())
def test_any_cut_gives_the_same_messages(said: list[Said], data: st.DataObject) -> None:
    stream = b"".join(each.packet for each in said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    heard = Heard()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard.reader.feed(stream[start:end])
    expected = [
        Said(each.topic, each.packet_id, each.payload, retained=each.retained)
        if each.topic
        else Said("", 0, each.packet)
        for each in said
    ]
    assert heard.said == expected


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_anything_else_is_malformed_or_waited_for(chunks: list[bytes]) -> None:
    heard = Heard()
    try:
        for chunk in chunks:
            heard.reader.feed(chunk)
    except MalformedPacket:
        pass
    assert sum(len(each.payload) for each in heard.said) <= sum(map(len, chunks))


@pytest.mark.parametrize(
    "stream",
    [
        b"\x30\x80\x80\x80\x80\x01",  # A length of more than four bytes.
        b"\x32\x05\x00\x09topic",  # A topic longer than its packet.
        b"\x30\x04\x00\x01a\x09",  # Properties longer than their packet.
        b"\x30\x03\x00\x01a",  # No properties at all.
        b"\x32\x02\x00\x00",  # No packet id.
    ],
)
def test_what_is_no_message_ends_the_connection(stream: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Heard().reader.feed(stream + bytes(10))


def test_acknowledgements_are_packets_of_four_bytes() -> None:
    assert acknowledgements([1, 258]) == b"\x40\x02\x00\x01\x40\x02\x01\x02"
