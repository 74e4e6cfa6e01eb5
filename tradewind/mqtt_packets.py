"""Which packets are in these bytes? Messages of MQTT 5 are read here; every other packet is somebody else's to read."""

from collections.abc import Callable, Iterable

_PUBLISH = 0x30
_PACKET_TYPE = 0xF0
_QOS_1, _QOS_2 = 0x02, 0x04
_LONGEST_LENGTH = 4
"""Bytes that the length of a packet may take."""

OnMessage = Callable[[int, str, int, bytes], None]
"""Takes the first byte (QoS and flags), topic, packet id (0 at QoS 0) and payload of a message."""


class MalformedPacket(ValueError):
    """What the broker sent is no MQTT: hang up."""


class PacketReader:
    """Takes a connection apart into packets, in order. QoS 2 is not asked for, and none of this is for it."""

    def __init__(self, on_message: OnMessage, on_packet: Callable[[bytes], None]) -> None:
        self._on_message = on_message
        self._on_packet = on_packet
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Takes what has come, the last packet of it perhaps not whole; MalformedPacket when it is no MQTT."""
        data = self._rest + data if self._rest else data
        self._rest = data[self._take_packets(data) :]

    def _take_packets(self, data: bytes) -> int:
        """Up to where whole packets reached."""
        at, size = 0, len(data)
        while size - at >= 2:
            length, body = data[at + 1], at + 2
            if length > 0x7F:
                length, body = _read_length(data, at + 1)
                if body == 0:
                    break
            end = body + length
            if end > size:
                break
            first = data[at]
            if first & _PACKET_TYPE == _PUBLISH and not first & _QOS_2:
                self._take_message(first, data, body, end)
            else:
                self._on_packet(data[at:end])
            at = end
        return at

    def _take_message(self, first: int, data: bytes, at: int, end: int) -> None:
        topic_end = at + 2 + int.from_bytes(data[at : at + 2])
        # Brokers refuse topics that are not UTF-8; one that does not must not stop what follows.
        topic = data[at + 2 : topic_end].decode("utf-8", "replace")
        packet_id, properties = 0, topic_end
        if first & _QOS_1:
            packet_id = int.from_bytes(data[topic_end : topic_end + 2])
            properties = topic_end + 2
        if properties >= end:
            raise MalformedPacket
        length, payload = data[properties], properties + 1
        if length > 0x7F:
            length, payload = _read_length(data, properties)
        payload += length
        if not properties < payload <= end:
            raise MalformedPacket
        self._on_message(first, topic, packet_id, data[payload:end])


def acknowledgements(packet_ids: Iterable[int]) -> bytes:
    """The PUBACKs of messages that were taken."""
    return b"".join(b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """A length of several bytes and where it ends; 0 for where while it has not come whole."""
    length = 0
    for index, each in enumerate(data[at : at + _LONGEST_LENGTH]):
        length |= (each & 0x7F) << (7 * index)
        if each <= 0x7F:
            return length, at + index + 1
    if len(data) - at >= _LONGEST_LENGTH:
        raise MalformedPacket
    return 0, 0
