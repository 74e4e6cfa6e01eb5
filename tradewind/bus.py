"""The event bus: MQTT through paho, in the event loop.

A message is acknowledged to the broker only when the consumer says that it is done with it, so what a crash
interrupts is delivered again. Publishing returns when the broker has acknowledged; what it has not acknowledged is
forgotten here and is its publisher's to say again, so that nothing old is sent after something new.
"""

import asyncio
import contextlib
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
from tradewind.bus_transport import BusTransport
from tradewind.errors import InvalidInput, NotPermitted, NotReady
from tradewind.logs import get_logger
from tradewind.mqtt_packets import acknowledgements
from tradewind.settings import PREFIX, CommonSettings

log = get_logger(__name__)

SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long a broker keeps what a persistent session has missed."""

KEEP_ALIVE_S = 20
MOST_UNDER_WAY = 1_000
"""Messages that are said and not acknowledged; a broker that takes fewer says so, and hangs up on who says more."""
CONNECT_TIMEOUT_S = 10.0
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
"""Between attempts to connect; it doubles from the first on."""

_UNREACHABLE = "broker cannot be reached: it is tried until it answers"


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
    """0 at QoS 0: it is not acknowledged."""
    connection: int
    """Which connection brought it: an acknowledgement on a later one would name a stranger's packet."""


class _Client(mqtt.Client):
    """paho on a connection that asyncio has made."""

    connection: BusTransport

    def _create_socket(self) -> BusTransport:
        # The one place where paho would connect by itself, and block meanwhile.
        return self.connection


def _tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    if not address.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if address.ca_file is not None:
        context.load_verify_locations(address.ca_file)
    else:
        context.load_default_certs()
    if address.certificate_file is not None:
        context.load_cert_chain(address.certificate_file, address.key_file)
    return context


class Bus:
    """One connection to the broker, kept up in the event loop: all methods are for it alone."""

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
        self._tls = _tls_context(address)
        self._subscriptions = subscriptions
        self._persistent = persistent
        self._receive_maximum = receive_maximum
        self._subscribe_options = SubscribeOptions(qos=1, retainAsPublished=retain_as_published)
        self._status_topic = topics.service_status(status_name) if status_name else None
        self._loop = asyncio.get_running_loop()
        self._keeping: asyncio.Task[None] | None = None
        self._transport: BusTransport | None = None
        self._inbox: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._awaited = 1
        self._outstanding: dict[int, tuple[str, asyncio.Future[None]]] = {}
        self._said: set[str] = set()
        self._stopping = False
        self.connected = asyncio.Event()
        self.subscribed = asyncio.Event()
        """What is published from now on arrives here."""
        self.disconnected = asyncio.Event()
        self.disconnected.set()
        self.reconnections = 0
        """How many connections there have been."""
        self._connection_listeners: list[Callable[[], None]] = []
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        # Beside those of `publish` there is the status.
        self._client.max_inflight_messages_set(MOST_UNDER_WAY + 1)
        self._room = asyncio.Semaphore(MOST_UNDER_WAY)
        self._configure()

    def _configure(self) -> None:
        client, address = self._client, self._address
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        if self._status_topic:
            client.will_set(self._status_topic, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish

    def start(self) -> None:
        """Begins connecting; a broker that is away is tried again until `stop`."""
        self._keeping = self._loop.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Says `offline` and disconnects."""
        if self._status_topic and self.connected.is_set():
            self._client.publish(self._status_topic, b"offline", qos=1, retain=True)
        self._stopping = True
        self._client.disconnect()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self._transport is not None:
            await self._hang_up(self._transport)
        self._fail_outstanding()

    def on_connection(self, listener: Callable[[], None]) -> None:
        """Calls `listener` at every connection; at once where there is one."""
        self._connection_listeners.append(listener)
        if self.connected.is_set():
            listener()

    async def messages(self, at_most: int = 1_000, *, expected: int = 1, within_s: float = 0.0) -> list[Message]:
        """What has arrived, at least one message; in order of arrival.

        For as many as are expected it waits so long: a transaction of a hundred costs little more than one of ten.
        """
        if within_s > 0.0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._until_arrived(min(expected, at_most))
        await self._until_arrived(1)
        return [self._inbox.popleft() for _ in range(min(at_most, len(self._inbox)))]

    async def _until_arrived(self, count: int) -> None:
        while len(self._inbox) < count:
            self._awaited = count
            self._arrived.clear()
            await self._arrived.wait()

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledges messages to the broker: they are stored, or never to be stored."""
        connection = self.reconnections
        ids = [each.packet_id for each in messages if each.packet_id and each.connection == connection]
        if ids and self._transport is not None and self.connected.is_set():
            with contextlib.suppress(ConnectionError):
                self._transport.send(acknowledgements(ids))

    async def publish(
        self, topic: str, payload: bytes | str, *, retain: bool = False, expiry_s: float | None = None
    ) -> None:
        """Publishes with QoS 1 and returns once the broker has it; NotReady when the connection is or goes away.

        NotPermitted when the broker refuses it. What was not acknowledged is for the caller to publish again: nothing
        waits in memory for a broker to return.
        """
        async with self._room:
            await self._publish(topic, payload, retain, expiry_s)

    async def _publish(self, topic: str, payload: bytes | str, retain: bool, expiry_s: float | None) -> None:
        if not self.connected.is_set():
            raise NotReady("the broker is away")
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, round(expiry_s))
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            # The connection went and paho has not heard of it yet.
            self._client.drop_out_messages()
            self._disconnected()
            raise NotReady("the broker is away")
        future: asyncio.Future[None] = self._loop.create_future()
        self._outstanding[sent.mid] = topic, future
        try:
            await future
        finally:
            self._outstanding.pop(sent.mid, None)

    # Connecting.

    async def _keep_connected(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            before = self.reconnections
            try:
                await self._hold_a_connection()
            except (OSError, TimeoutError, UnicodeError) as error:  # The last is a name that can be no host.
                self._say_once(_UNREACHABLE, why=str(error) or "it does not answer")
            wait_s = FIRST_WAIT_S if self.reconnections != before else min(2 * wait_s, LONGEST_WAIT_S)
            await asyncio.sleep(wait_s)

    async def _hold_a_connection(self) -> None:
        """Returns once the connection has ended."""
        address = self._address
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, transport = await self._loop.create_connection(
                lambda: BusTransport(self._on_message, self._let_paho_read), address.host, address.port, ssl=self._tls
            )
        self._transport = self._client.connection = transport
        try:
            self._sign_in()
            while not transport.closed.done():
                await asyncio.wait({transport.closed}, timeout=1.0)
                self._client.loop_misc()
        finally:
            if not self._stopping:
                await self._hang_up(transport)

    def _sign_in(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._persistent else 0
        properties.ReceiveMaximum = self._receive_maximum
        self._client.connect(
            self._address.host,
            self._address.port,
            keepalive=KEEP_ALIVE_S,
            clean_start=not self._persistent,
            properties=properties,
        )

    async def _hang_up(self, transport: BusTransport) -> None:
        """Closes what is not closed; a peer that takes nothing any more is not waited for."""
        transport.close()
        await asyncio.wait({transport.closed}, timeout=1.0)
        transport.abort()

    def _let_paho_read(self) -> None:
        client = self._client
        client.loop_read()
        if client.want_write():  # What callbacks have said.
            client.loop_write()

    def _say_once(self, what: str, **why: object) -> None:
        """One outage is one line, however often it is tried."""
        if what not in self._said and not self._stopping:
            self._said.add(what)
            log.error(what, host=self._address.host, port=self._address.port, **why)

    # What paho and the transport call.

    def _on_message(self, first: int, topic: str, packet_id: int, payload: bytes) -> None:
        self._inbox.append(Message(topic, payload, bool(first & 1), packet_id, self.reconnections))
        if len(self._inbox) >= self._awaited:
            self._arrived.set()

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, reason: ReasonCode, props: Properties | None
    ) -> None:
        if reason.is_failure:
            self._say_once("broker refuses the connection", reason=str(reason))
            return
        # Before anything new is said: paho would resend what was unacknowledged, possibly after its successor.
        client.drop_out_messages()
        if self.reconnections or self._said:
            log.info("broker is back", host=self._address.host, port=self._address.port)
        self._said.clear()
        self.reconnections += 1
        takes = getattr(props, "ReceiveMaximum", MOST_UNDER_WAY + 1) - (self._status_topic is not None)
        self._room = asyncio.Semaphore(max(1, min(takes, MOST_UNDER_WAY)))
        if self._subscriptions:
            client.subscribe([(topic, self._subscribe_options) for topic in self._subscriptions])
        if self._status_topic:
            client.publish(self._status_topic, b"online", qos=1, retain=True)
        self.disconnected.clear()
        self.connected.set()
        for listener in self._connection_listeners:
            listener()

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, granted: list[ReasonCode], _props: Properties | None
    ) -> None:
        refused = [topic for topic, code in zip(self._subscriptions, granted, strict=False) if code.is_failure]
        if refused:
            log.error("broker refuses a subscription: its access list must permit it", topics=refused)
        self.subscribed.set()

    def _on_disconnect(self, *_: Any) -> None:
        self._disconnected()

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _props: Properties | None
    ) -> None:
        topic, future = self._outstanding.get(mid, ("", None))
        if future is None or future.done():
            return
        if not reason.is_failure:
            future.set_result(None)
            return
        self._say_once("broker refuses a message: its access list must permit it", topic=topic, reason=str(reason))
        future.set_exception(
            NotPermitted(
                f"the broker refuses what this login says on {topic} ({reason}): its access list must permit it"
            )
        )

    def _disconnected(self) -> None:
        if self.connected.is_set() and not self._stopping:
            log.warning("broker is away", host=self._address.host, port=self._address.port)
            self._said.add(_UNREACHABLE)  # That is one outage, and one line.
        self.connected.clear()
        self.disconnected.set()
        self.subscribed.clear()
        self._fail_outstanding()

    def _fail_outstanding(self) -> None:
        for _, future in self._outstanding.values():
            if not future.done():
                future.set_exception(NotReady("the broker went away before it acknowledged"))
