"""The event bus: MQTT through paho, seen from asyncio.

A message is acknowledged to the broker only when the consumer says that it is done with it, so what a crash
interrupts is delivered again. Publishing returns when the broker has acknowledged; what it has not acknowledged is
forgotten here and is its publisher's to say again, so that nothing old is sent after something new.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tradewind import topics
from tradewind.errors import InvalidInput, NotReady
from tradewind.logs import get_logger
from tradewind.settings import PREFIX, CommonSettings

log = get_logger(__name__)

SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long a broker keeps what a persistent session has missed."""


_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to sign in."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


def parse_broker_url(url: str) -> BrokerAddress:
    """The address in `mqtt://user:password@host:1883` or `mqtts://…`; InvalidInput never repeats the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput("the broker's URL is not one: write it as mqtt://host:1883") from error
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise InvalidInput("the broker's URL must begin with mqtt:// or mqtts:// and name a host")
    tls = parts.scheme == "mqtts"
    return BrokerAddress(
        host=parts.hostname,
        port=port or (8883 if tls else 1883),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=tls,
    )


def broker_address(settings: CommonSettings) -> BrokerAddress:
    """The address that the settings name, with their certificates; InvalidInput when a file is not there."""
    address = parse_broker_url(settings.broker_url)
    for name in ("broker_ca_file", "broker_certificate_file", "broker_key_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise InvalidInput(f"{PREFIX}{name.upper()}: {path} is not a file")
    return replace(
        address,
        ca_file=_text(settings.broker_ca_file),
        certificate_file=_text(settings.broker_certificate_file),
        key_file=_text(settings.broker_key_file),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@dataclass(frozen=True, slots=True)
class Message:
    """What came in on a topic; `done` it once it may be forgotten."""

    topic: str
    payload: bytes
    retained: bool
    packet_id: int
    qos: int
    connection: int
    """Which connection brought it: an acknowledgement on a later one would name a stranger's packet."""


def _send_at_once(_client: mqtt.Client, _data: Any, connection: Any) -> None:
    # Otherwise the second of two small packets waits for the first to be acknowledged: 40 ms and more.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge_at_once(client: mqtt.Client) -> None:
    # A broker that does not send at once either waits for this, again 40 ms. Linux forgets the option each time.
    connection: Any = client.socket()
    if connection is not None and _QUICK_ACK is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)


class Bus:
    """One connection to the broker, kept up by paho in a thread of its own; all methods are for the event loop."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        subscriptions: Sequence[str] = (),
        persistent: bool = False,
        status_name: str | None = None,
        retain_as_published: bool = False,
        receive_maximum: int = 2_000,
    ) -> None:
        """`retain_as_published`: `Message.retained` says how it was published, also of what comes live."""
        self._address = address
        self._subscriptions = subscriptions
        self._persistent = persistent
        self._receive_maximum = receive_maximum
        self._subscribe_options = SubscribeOptions(qos=1, retainAsPublished=retain_as_published)
        self._status_topic = topics.service_status(status_name) if status_name else None
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._wake_scheduled = False
        self._connection = 0
        self._outstanding: dict[int, asyncio.Future[None]] = {}
        self._acknowledged: deque[int] = deque()
        self._settle_scheduled = False
        self._refusal = ""
        self._stopping = False
        self.connected = asyncio.Event()
        self.subscribed = asyncio.Event()
        """What is published from now on arrives here."""
        self.disconnected = asyncio.Event()
        self.disconnected.set()
        self.reconnections = 0
        """How many connections there have been."""
        self._connection_listeners: list[Callable[[], None]] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self._client.max_inflight_messages_set(1_000)
        self._configure()

    def _configure(self) -> None:
        client, address = self._client, self._address
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if address.tls:
            client.tls_set(
                ca_certs=address.ca_file,
                certfile=address.certificate_file,
                keyfile=address.key_file,
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        if self._status_topic:
            client.will_set(self._status_topic, b"offline", qos=1, retain=True)
        client.reconnect_delay_set(min_delay=1, max_delay=10)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def start(self) -> None:
        """Begins connecting; a broker that is away is tried again until `stop`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._persistent else 0
        properties.ReceiveMaximum = self._receive_maximum
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=20,
            clean_start=not self._persistent,
            properties=properties,
        )
        self._client.loop_start()

    async def stop(self) -> None:
        """Says `offline`, disconnects and ends paho's thread."""
        if self._status_topic and self.connected.is_set():
            self._client.publish(self._status_topic, b"offline", qos=1, retain=True)
        self._stopping = True
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        self._fail_outstanding()

    def on_connection(self, listener: Callable[[], None]) -> None:
        """Calls `listener`, in the event loop, at every connection; at once where there is one."""
        self._connection_listeners.append(listener)
        if self.connected.is_set():
            listener()

    async def messages(self, at_most: int = 1_000) -> list[Message]:
        """What has arrived, at least one message; in order of arrival."""
        while not self._inbox:
            self._arrived.clear()
            # From here on the next arrival wakes us; until then arrivals need not.
            self._wake_scheduled = False
            if not self._inbox:
                await self._arrived.wait()
        taken: list[Message] = []
        while self._inbox and len(taken) < at_most:
            taken.append(self._inbox.popleft())
        return taken

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledges messages to the broker: they are stored, or never to be stored."""
        for message in messages:
            if message.qos and message.connection == self._connection:
                self._client.ack(message.packet_id, message.qos)

    async def publish(
        self, topic: str, payload: bytes | str, *, retain: bool = False, expiry_s: float | None = None
    ) -> None:
        """Publishes with QoS 1 and returns once the broker has it; NotReady when the connection is or goes away.

        What was not acknowledged is for the caller to publish again: nothing waits in memory for a broker to return.
        """
        if not self.connected.is_set():
            raise NotReady("the broker is away")
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, round(expiry_s))
        future: asyncio.Future[None] = self._loop.create_future()
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            # The connection went and the loop has not heard of it yet.
            self._client.drop_out_messages()
            self._disconnected()
            raise NotReady("the broker is away")
        # on_publish reaches the loop through call_soon_threadsafe, so it cannot run before this line.
        self._outstanding[sent.mid] = future
        try:
            await future
        finally:
            self._outstanding.pop(sent.mid, None)

    # paho's thread from here on: only call_soon_threadsafe touches the loop.

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            if str(reason) != self._refusal:
                self._refusal = str(reason)
                log.error("broker refuses the connection", host=self._address.host, reason=self._refusal)
            return
        self._refusal = ""
        # Before anything new is said: paho would resend what was unacknowledged, possibly after its successor.
        client.drop_out_messages()
        self._connection += 1  # Only this thread writes it, before the connection's first message.
        if self._subscriptions:
            client.subscribe([(topic, self._subscribe_options) for topic in self._subscriptions])
        if self._status_topic:
            client.publish(self._status_topic, b"online", qos=1, retain=True)
        self._post(self._connected)

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, granted: list[ReasonCode], _props: Properties | None
    ) -> None:
        refused = [topic for topic, code in zip(self._subscriptions, granted, strict=False) if code.is_failure]
        if refused:
            log.error("broker refuses a subscription: its access list must permit it", topics=refused)
        self._post(self.subscribed.set)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        _reason: ReasonCode,
        _props: Properties | None,
    ) -> None:
        self._post(self._disconnected)

    def _on_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        _acknowledge_at_once(client)
        self._inbox.append(
            Message(message.topic, bytes(message.payload), message.retain, message.mid, message.qos, self._connection)
        )
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._post(self._arrived.set)

    def _on_publish(
        self, client: mqtt.Client, _data: Any, mid: int, _reason: ReasonCode, _props: Properties | None
    ) -> None:
        _acknowledge_at_once(client)
        self._acknowledged.append(mid)
        if not self._settle_scheduled:
            self._settle_scheduled = True
            self._post(self._settle)

    def _post(self, call: Any, *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    # The event loop again.

    def _connected(self) -> None:
        if self.reconnections:
            log.info("broker is back", host=self._address.host, port=self._address.port)
        self.reconnections += 1
        self.disconnected.clear()
        self.connected.set()
        for listener in self._connection_listeners:
            listener()

    def _disconnected(self) -> None:
        if self.connected.is_set() and not self._stopping:
            log.warning("broker is away", host=self._address.host, port=self._address.port)
        self.connected.clear()
        self.disconnected.set()
        self.subscribed.clear()
        self._fail_outstanding()

    def _settle(self) -> None:
        # Before the first is taken: what comes after the last was taken then wakes us again.
        self._settle_scheduled = False
        while self._acknowledged:
            future = self._outstanding.get(self._acknowledged.popleft())
            if future is not None and not future.done():
                future.set_result(None)

    def _fail_outstanding(self) -> None:
        for future in self._outstanding.values():
            if not future.done():
                future.set_exception(NotReady("the broker went away before it acknowledged"))
