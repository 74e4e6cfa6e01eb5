"""TLS, client certificates and tokens on both fronts, from the client to Triton; decisions come over TLS as well."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http.aio as http_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from yarl import URL

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxyFront
from inference_proxy.spool import RECORD
from local_stack.ports import free_ports
from local_stack.triton import Triton
from profiler.served_model import connect
from tests.certificates import Certificates, make_certificates
from tests.integration.inference_proxy.guarded_triton import guarded
from tests.integration.inference_proxy.stand import (
    Selector,
    infer_request,
    reading_now,
    receipt_of,
    running,
    settings_for,
)
from tradewind.access import Access
from tradewind.calling import way
from tradewind.messages import timestamp
from tradewind.rpc.v1 import operations_pb2, operations_pb2_grpc
from tradewind.settings import CommonSettings

APP, OPS, PROXY, OLD = ("a-token-of-an-app", "a-token-of-operators", "a-token-of-the-proxy", "a-token-to-be-revoked")
MISSING = "no token was sent: send yours as the header `authorization: Bearer TOKEN`"
UNKNOWN = "the token is not known here: ask the operator for one that is"
FRONTS = list(ProxyFront)
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def secured(
    front: ProxyFront, directory: Path, database: str, triton: Triton, **options: Any
) -> AsyncIterator[Proxy]:
    grpc_port, http_port = free_ports(2)
    settings = settings_for(
        directory,
        database,
        **{
            "proxy_listen": f"127.0.0.1:{grpc_port}",
            "proxy_http_listen": f"127.0.0.1:{http_port}",
            "proxy_triton_grpc": triton.grpc,
            "proxy_triton_http": triton.http,
            "proxy_front": front,
            "proxy_envoy_workers": 1,
            "proxy_selector": "127.0.0.1:1",
            **options,
        },
    )
    async with running(settings) as proxy:
        yield proxy


def channel_to(proxy: Proxy, certificates: Certificates, name: str | None = None) -> grpc.aio.Channel:
    own = (
        (None, None)
        if name is None
        else (certificates.key(name).read_bytes(), certificates.certificate(name).read_bytes())
    )
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes(), *own)
    return grpc.aio.secure_channel(proxy.settings.proxy_listen, credentials)


async def served(channel: grpc.aio.Channel, token: str | None, model: str = "ident", **parameters: Any) -> Any:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return await stub.ModelInfer(infer_request(model, **parameters), metadata=bearer(token), timeout=20)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details()


def straight(proxy: Proxy) -> int:
    """Requests that Envoy recorded itself."""
    assert proxy.envoy is not None
    return sum(int(path.stat().st_size) // RECORD.size for path in proxy.envoy.places.writers.rglob("*.records"))


@pytest.mark.parametrize("front", FRONTS)
async def test_nobody_is_served_without_a_token_and_decisions_come_over_tls(
    front: ProxyFront, models: Triton, tmp_path: Path, sqlite_url: str, certificates: Certificates
) -> None:
    tokens, own = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text(f"# who may call\napp {APP}\nproxy {PROXY}\n{OLD}\n")
    own.write_text(f"{PROXY}\n")
    access = {"tokens_file": tokens, **certificates.serving()}
    selector = Selector(Access(CommonSettings(**access), "127.0.0.1:0"))
    await selector.start()
    selector.decide("ident", {"medium": 1.0}, reading_now(100.0))
    calling = {**certificates.calling(), "peer_token_file": own, "proxy_selector": selector.address}
    async with (
        secured(front, tmp_path, sqlite_url, models, **access, **calling) as proxy,
        channel_to(proxy, certificates) as channel,
    ):
        await served_by(channel, "medium", APP)
        await known_go_straight(proxy, channel)
        await strangers_are_refused_everywhere(channel)
        await health_is_open(channel)
        async with grpc.aio.insecure_channel(proxy.settings.proxy_listen) as plain:
            code, _ = await refusal(served(plain, APP))
            assert code is grpc.StatusCode.UNAVAILABLE
        await over_http(proxy, certificates)
        tokens.write_text(f"app {APP}\nproxy {PROXY}\nlater a-token-that-came-later\n")
        await known_soon(channel, "a-token-that-came-later")
        assert await refusal(served(channel, OLD)) == (UNAUTHENTICATED, UNKNOWN)
        # Clients that others wrote.
        async with grpc_aio.InferenceServerClient(
            proxy.settings.proxy_listen, ssl=True, root_certificates=str(certificates.ca)
        ) as client:
            assert await client.is_model_ready("ident", headers={"authorization": f"Bearer {APP}"})
    await selector.stop()


async def known_go_straight(proxy: Proxy, channel: grpc.aio.Channel) -> None:
    before = straight(proxy) if proxy.envoy is not None else 0
    assert receipt_of(await served(channel, OLD))["carbon_variant"] == "medium"
    assert proxy.envoy is None or straight(proxy) == before + 1


async def strangers_are_refused_everywhere(channel: grpc.aio.Channel) -> None:
    """Where Envoy answers alone, where the proxy does, for names that nobody has, on streams and of metadata."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    for token, sentence in ((None, MISSING), ("a-guess-of-somebody", UNKNOWN), (APP[:-1], UNKNOWN)):
        for call in (
            served(channel, token),
            served(channel, token, carbon_pin_variant="large"),
            served(channel, token, "nobody"),
            stub.ServerMetadata(service_pb2.ServerMetadataRequest(), metadata=bearer(token)),
            stub.ModelStreamInfer(iter([infer_request("ident")]), metadata=bearer(token)).read(),
        ):
            assert await refusal(call) == (UNAUTHENTICATED, sentence)
    twice = [*bearer(APP), *bearer("a-guess-of-somebody")]
    for metadata in ([("authorization", f"Basic {APP}")], twice):
        assert await refusal(served_raw(channel, metadata)) == (UNAUTHENTICATED, MISSING)


async def health_is_open(channel: grpc.aio.Channel) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    assert (await stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=20)).ready


async def served_raw(channel: grpc.aio.Channel, metadata: Any) -> Any:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    return await stub.ModelInfer(infer_request("ident"), metadata=metadata, timeout=20)


async def known_soon(channel: grpc.aio.Channel, token: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await served(channel, token)
            except grpc.aio.AioRpcError as error:
                assert error.code() is UNAUTHENTICATED  # noqa: PT017 -- it is retried until it is let in
                await asyncio.sleep(0.05)
            else:
                return


async def over_http(proxy: Proxy, certificates: Certificates) -> None:
    address = proxy.settings.proxy_http_listen
    context = ssl.create_default_context(cafile=str(certificates.ca))
    async with http_aio.InferenceServerClient(address, ssl=True, ssl_context=context) as client:
        assert await client.is_model_ready("ident", headers={"Authorization": f"Bearer {APP}"})
        assert not await client.is_model_ready("ident")
        assert await client.is_server_live()
    async with aiohttp.ClientSession(f"https://{address}", connector=aiohttp.TCPConnector(ssl=context)) as session:
        for headers, sentence in (({}, MISSING), ({"Authorization": "Bearer a-guess-of-somebody"}, UNKNOWN)):
            async with session.post("/v2/models/ident/infer", data=b"{}" * 5, headers=headers) as answer:
                assert (answer.status, await answer.json(content_type=None)) == (401, {"error": sentence})
                assert answer.headers["WWW-Authenticate"] == "Bearer"
            # A path that only reads like the open one is not open.
            detour = URL(f"https://{address}/v2/models/ident/../../health/live", encoded=True)
            async with session.get(detour, headers=headers) as answer:
                assert (str(detour).count(".."), answer.status) == (2, 401)
        async with session.get("/v2/health/ready") as answer:
            assert answer.status == 200
    async with aiohttp.ClientSession(f"http://{address}") as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get("/v2/health/ready")


@pytest.mark.parametrize("front", FRONTS)
async def test_operators_are_known_by_certificate_or_token_and_nobody_comes_without_a_certificate(
    front: ProxyFront, models: Triton, tmp_path: Path, sqlite_url: str, certificates: Certificates
) -> None:
    options = {**certificates.serving(ask=True), "operators": "ops, night"}
    async with (
        secured(front, tmp_path, sqlite_url, models, **options) as proxy,
        channel_to(proxy, certificates, "app") as app,
        channel_to(proxy, certificates, "ops") as ops,
    ):
        assert (await served(app, None)).model_name == "ident_small"
        for name in (None, "stranger"):
            async with channel_to(proxy, certificates, name) as channel:
                code, _ = await refusal(served(channel, None))
                assert code is grpc.StatusCode.UNAVAILABLE
        force = operations_pb2.ForceVariantRequest(
            family="ident",
            variant="large",
            until=timestamp(datetime.now(UTC) + timedelta(hours=1)),
            operator="ana",
            why="a test",
        )
        forged = [("x-forwarded-client-cert", 'Hash=0;Subject="CN=ops"')]
        code, said = await refusal(operations_pb2_grpc.OperationsStub(app).ForceVariant(force, metadata=forged))
        assert (code, said) == (
            DENIED,
            "this is for operators: call with a token or client certificate that TRADEWIND_OPERATORS names",
        )
        await operations_pb2_grpc.OperationsStub(ops).ForceVariant(force)
        listed = await operations_pb2_grpc.OperationsStub(ops).ListOperations(operations_pb2.ListOperationsRequest())
        assert [each.operator for each in listed.operations] == ["ana (ops)"]
        await served_by(app, "large")
        context = ssl.create_default_context(cafile=str(certificates.ca))
        url = f"https://{proxy.settings.proxy_http_listen}/v2/models/ident/ready"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(url, ssl=context)
            context.load_cert_chain(certificates.certificate("app"), certificates.key("app"))
            async with session.get(url, ssl=context) as answer:
                assert answer.status == 200


async def served_by(channel: grpc.aio.Channel, variant: str, token: str | None = None) -> None:
    async with asyncio.timeout(20):
        while (await served(channel, token)).model_name != f"ident_{variant}":
            pass


@pytest.mark.parametrize("front", FRONTS)
async def test_triton_may_ask_for_tls_a_certificate_and_a_token_of_its_own(
    front: ProxyFront, models: Triton, tmp_path: Path, sqlite_url: str, certificates: Certificates
) -> None:
    tokens, own = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text(f"{PROXY}\n")
    own.write_text(f"{PROXY}\n")
    settings = CommonSettings(tokens_file=tokens, **certificates.serving(ask=True))
    async with guarded(models, Access(settings, "127.0.0.1:0")) as triton:
        options = {
            "proxy_triton_grpc": f"localhost:{triton.grpc_port}",
            "proxy_triton_http": f"localhost:{triton.http_port}",
            "proxy_triton_ca_file": certificates.ca,
            "proxy_triton_certificate_file": certificates.certificate("app"),
            "proxy_triton_key_file": certificates.key("app"),
            "proxy_triton_token_file": own,
        }
        async with (
            secured(front, tmp_path, sqlite_url, models, **options) as proxy,
            grpc.aio.insecure_channel(proxy.settings.proxy_listen) as channel,
        ):
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            theirs = bearer("what-the-client-says")
            for _ in range(3):
                assert (await stub.ModelInfer(infer_request("ident"), metadata=theirs)).model_name == "ident_small"
            assert (await stub.ServerLive(service_pb2.ServerLiveRequest(), metadata=theirs)).live
            answers = stub.ModelStreamInfer(iter([infer_request("ident")]), metadata=theirs)
            assert (await answers.read()).infer_response.model_name == "ident_small"
            async with http_aio.InferenceServerClient(proxy.settings.proxy_http_listen) as client:
                assert (await client.get_model_metadata("ident_small"))["name"] == "ident_small"
            if front is ProxyFront.ENVOY:
                assert straight(proxy) == 3
            profiling = way("proxy_triton_", proxy.settings)
            await asyncio.to_thread(connect, proxy.settings.proxy_triton_grpc, profiling)
        assert set(triton.shown) == {f"Bearer {PROXY}"}
        assert triton.certificates == 0


@pytest.mark.parametrize("front", FRONTS)
async def test_a_triton_that_is_another_than_it_should_be_is_told_nothing(
    front: ProxyFront, models: Triton, tmp_path: Path, sqlite_url: str, certificates: Certificates
) -> None:
    tokens, own = tmp_path / "tokens", tmp_path / "token"
    for path in (tokens, own):
        path.write_text(f"{PROXY}\n")
    others: dict[str, Any] = {
        "tls_certificate_file": certificates.certificate("ops"),
        "tls_key_file": certificates.key("ops"),
    }
    async with guarded(models, Access(CommonSettings(tokens_file=tokens, **others), "127.0.0.1:0")) as triton:
        options = {
            "proxy_triton_grpc": f"127.0.0.1:{triton.grpc_port}",
            "proxy_triton_http": f"127.0.0.1:{triton.http_port}",
            "proxy_triton_ca_file": certificates.ca,
            "proxy_triton_token_file": own,
        }
        async with (
            secured(front, tmp_path, sqlite_url, models, **options) as proxy,
            grpc.aio.insecure_channel(proxy.settings.proxy_listen) as channel,
        ):
            code, _ = await refusal(served(channel, None))
            assert code is grpc.StatusCode.UNAVAILABLE
            async with aiohttp.ClientSession() as session:
                url = f"http://{proxy.settings.proxy_http_listen}/v2/models/ident_small/ready"
                async with session.get(url) as answer:
                    assert answer.status == 503
        assert not triton.shown


@pytest.mark.parametrize("front", FRONTS)
async def test_renewed_certificates_are_shown_without_a_restart(
    front: ProxyFront, models: Triton, tmp_path: Path, sqlite_url: str
) -> None:
    (tmp_path / "renewed").mkdir()
    made = make_certificates(tmp_path / "renewed")
    selector = Selector()
    await selector.start()
    async with guarded(models, Access(CommonSettings(**made.serving(ask=True)), "127.0.0.1:0")) as triton:
        options = {
            "proxy_selector": selector.address,
            "proxy_triton_grpc": f"127.0.0.1:{triton.grpc_port}",
            "proxy_triton_http": f"127.0.0.1:{triton.http_port}",
            "proxy_triton_ca_file": made.ca,
            "proxy_triton_certificate_file": made.certificate("app"),
            "proxy_triton_key_file": made.key("app"),
            **made.serving(ask=True),
        }
        async with (
            secured(front, tmp_path, sqlite_url, models, **options) as proxy,
            channel_to(proxy, made, "app") as early,
        ):
            addresses = (proxy.settings.proxy_listen, proxy.settings.proxy_http_listen)
            pid = None if proxy.envoy is None else proxy.envoy.process.pid
            assert (await served(early, None)).model_name == "ident_small"
            make_certificates(made.directory)
            for address in addresses:
                await shown_soon(address, made)
            assert (await served(early, None)).model_name == "ident_small"  # A connection stays what it was.
            async with channel_to(proxy, made, "app") as late:
                assert (await served(late, None)).model_name == "ident_small"
            if proxy.envoy is not None:
                await read_by_envoy(proxy, made)
                assert proxy.envoy.process.pid == pid
            # Wrong ones change nothing, not even when Envoy looks at them again because of a decision.
            known = made.certificate("server").read_text()
            made.certificate("server").write_text("no certificate")
            selector.decide("ident", {"medium": 1.0}, reading_now(100.0))
            async with channel_to(proxy, made, "app") as late:
                await served_by(late, "medium")
            for address in addresses:
                assert await asyncio.to_thread(shown, address, made) == ssl.PEM_cert_to_DER_cert(known)
    await selector.stop()


def shown(address: str, certificates: Certificates) -> bytes | None:
    """The certificate that a port shows; None where it does not believe these."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.load_cert_chain(certificates.certificate("app"), certificates.key("app"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return secured.getpeercert(binary_form=True)
    except (ssl.SSLError, ConnectionError):
        return None


async def shown_soon(address: str, certificates: Certificates) -> None:
    wanted = ssl.PEM_cert_to_DER_cert(certificates.certificate("server").read_text())
    async with asyncio.timeout(20):
        while True:
            if await asyncio.to_thread(shown, address, certificates) == wanted:
                return
            await asyncio.sleep(0.05)


async def read_by_envoy(proxy: Proxy, certificates: Certificates) -> None:
    """Towards Triton as well: Envoy says the serial numbers of what it shows."""
    assert proxy.envoy is not None
    wanted = {serial_number(certificates.certificate(name)) for name in ("server", "app")}
    transport = httpx.AsyncHTTPTransport(uds=str(proxy.envoy.places.admin))
    async with httpx.AsyncClient(transport=transport, base_url="http://envoy") as client, asyncio.timeout(20):
        while True:
            pairs = (await client.get("/certs")).json()["certificates"]
            if wanted <= {int(each["serial_number"], 16) for pair in pairs for each in pair.get("cert_chain", [])}:
                return
            await asyncio.sleep(0.05)


def serial_number(path: Path) -> int:
    """The integer after the version, which every certificate of today begins with."""
    found = ssl.PEM_cert_to_DER_cert(path.read_text())
    begins = found.index(bytes.fromhex("a003020102")) + 5
    length = found[begins + 1]
    return int.from_bytes(found[begins + 2 : begins + 2 + length])
