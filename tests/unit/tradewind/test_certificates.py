"""Certificates that are renewed while a service runs, as its HTTP and its gRPC ports show them."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.certificates import Certificates, make_certificates
from tests.unit.tradewind.clock import Ticking
from tradewind import files
from tradewind.access import Access
from tradewind.calling import way
from tradewind.settings import CommonSettings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    made = Ticking()
    monkeypatch.setattr(files, "monotonic", made)
    return made


async def shown_to(context: ssl.SSLContext, port: int) -> bytes:
    """The certificate that a port shows, once it has answered: a refusal comes after the handshake of TLS 1.3."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(20):
            assert await reader.read(1)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found
    finally:
        writer.transport.abort()


def der(certificates: Certificates, name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificates.certificate(name).read_text())


async def test_both_ends_of_a_connection_are_renewed(tmp_path: Path, clock: Ticking) -> None:
    made = make_certificates(tmp_path)
    server = Access(CommonSettings(**made.serving(ask=True)), "127.0.0.1:0").ssl_context()
    calling = way("peer_", CommonSettings(**made.calling("app"))).tls
    assert calling is not None
    client = calling.for_http()
    seen: list[bytes] = []

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(b"!")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert await shown_to(client, port) == der(made, "server")
        first = der(made, "app")
        make_certificates(tmp_path)
        assert await shown_to(client, port) != der(made, "server")  # A look a second, at most.
        clock.now_s += 1.0
        assert await shown_to(client, port) == der(made, "server")
        assert seen == [first, first, der(made, "app")]
        made.key("server").write_text("no key")
        clock.now_s += 1.0
        assert await shown_to(client, port) == der(made, "server")


async def test_a_grpc_port_shows_what_was_renewed(tmp_path: Path, clock: Ticking) -> None:
    made = make_certificates(tmp_path)
    credentials = Access(CommonSettings(**made.serving(ask=True)), "127.0.0.1:0").grpc_credentials()
    assert credentials is not None
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()

    def client() -> Any:
        context = ssl.create_default_context(cafile=str(made.ca))
        context.load_cert_chain(made.certificate("app"), made.key("app"))
        context.set_alpn_protocols(["h2"])
        return context

    before = client()
    assert await shown_to(before, port) == der(made, "server")
    make_certificates(tmp_path)
    clock.now_s += 1.0
    assert await shown_to(client(), port) == der(made, "server")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shown_to(before, port)  # It believes, and shows one of, the authority before.
    made.certificate("server").write_text("no certificate")
    kept = client()
    clock.now_s += 1.0
    assert await shown_to(kept, port) != b""
    make_certificates(tmp_path)
    clock.now_s += 1.0
    assert await shown_to(client(), port) == der(made, "server")
    await server.stop(None)
