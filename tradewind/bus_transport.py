"""paho over asyncio: many packets per read and per write, and messages past it.

paho reads a packet in three calls to the system, wakes a thread for each and answers it in a fourth call. Here asyncio
reads whatever has come; messages are taken out of it, everything else is paho's, packet by packet; and what is written
in one turn of the event loop leaves in one call.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import cast

from tradewind.mqtt_packets import MalformedPacket, OnMessage, PacketReader

_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class BusTransport(asyncio.Protocol):
    """A connection to the broker, which to paho is a socket that never blocks."""

    def __init__(self, on_message: OnMessage, on_packet: Callable[[], None]) -> None:
        """`on_packet` lets paho read one packet, or the end."""
        self._reader = PacketReader(on_message, self._hand_over)
        self._on_packet = on_packet
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._options: socket.socket | None = None
        self._packet = b""
        self._ended = False
        self._unsent = bytearray()
        self.closed = self._loop.create_future()
        """Done once nothing comes or goes any more."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; asyncio has switched Nagle's algorithm off, too."""
        self._transport = cast("asyncio.Transport", transport)
        # A handle of our own: not every event loop's transport lets options be set.
        self._options = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))

    def data_received(self, data: bytes) -> None:
        """Something has come: any number of packets, the last of them perhaps not whole."""
        self._acknowledge_at_once()
        try:
            self._reader.feed(data)
        except MalformedPacket:
            self.abort()

    def _hand_over(self, packet: bytes) -> None:
        self._packet = packet
        self._on_packet()
        if self._packet:
            raise MalformedPacket  # paho did not read it: it has given the connection up.

    def connection_lost(self, exc: Exception | None) -> None:
        """The broker, or we, have hung up."""
        del exc
        self._ended = True
        if self._options is not None:
            self._options.close()
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_packet()

    # What paho calls, as if this were a socket.

    def recv(self, buffer_size: int) -> bytes:
        """The next bytes of the packet that paho is to read."""
        if not self._packet:
            if self._ended:
                return b""
            raise BlockingIOError
        taken, self._packet = self._packet[:buffer_size], self._packet[buffer_size:]
        return taken

    def send(self, buffer: bytes | bytearray) -> int:
        """Takes all of it; it leaves with whatever else this turn of the event loop writes."""
        if self._ended or self._transport is None:
            raise ConnectionResetError
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += buffer
        return len(buffer)

    def close(self) -> None:
        """Hangs up once everything is written."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return -1 if self._options is None else self._options.fileno()

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def abort(self) -> None:
        """Hangs up at once."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            self._transport.write(bytes(self._unsent))
            self._unsent.clear()

    def _acknowledge_at_once(self) -> None:
        # A broker that does not send at once either waits for this: 40 ms. Linux forgets the option each time.
        if _QUICK_ACK is not None and self._options is not None:
            with contextlib.suppress(OSError):
                self._options.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
