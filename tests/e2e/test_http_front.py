"""Through `kill -9` of proxy and database under load over HTTP: answered within recorded within executed."""

import http.client
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from local_stack.ports import free_ports
from local_stack.postgres import Postgres
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.e2e.three_counts import CLIENTS, Deaths, Load, executed, store_the_rest
from tests.integration.inference_proxy.stand import settings_for
from tradewind.database import open_engine
from tradewind.migrate import upgrade


def over_http(port: int) -> Callable[[int, Load], None]:
    """Clients of the HTTP front: one asks for a stream, the others for answers."""

    def ask(number: int, load: Load) -> None:
        tensor = {"name": "INPUT", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        path, request = "infer", json.dumps({"inputs": [tensor]})
        if number == 0:
            path, request = "generate_stream", '{"INPUT":1.5}'
        while load.goes_on:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                while load.goes_on:
                    connection.request("POST", f"/v2/models/ident/{path}", request)
                    answer = connection.getresponse()
                    body = answer.read()
                    assert answer.status == 503 or b"carbon_energy_uj" in body
                    if answer.status == 200:
                        load.answered(number)
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()

    return ask


@pytest.mark.timeout(900)
def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, own_postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    url = own_postgres.create_database("kills")
    upgrade(url)
    (port,) = free_ports(1)
    settings = settings_for(
        tmp_path,
        url,
        proxy_triton_grpc=models.grpc,
        proxy_triton_http=models.http,
        proxy_http_listen=f"127.0.0.1:{port}",
    )
    before = executed(models)
    proxy = proxy_process(settings, tmp_path)
    proxy.start()
    proxy.wait_listening("HTTP")

    def kill_proxy() -> None:
        proxy.kill()
        proxy.start()
        proxy.wait_listening("HTTP")

    deaths = Deaths({"proxy": kill_proxy}, own_postgres)
    try:
        with Load(over_http(port)) as load:
            deaths.strike(load)
        answered = load.total
        proxy.kill()
    finally:
        proxy.stop()

    engine = open_engine(url)
    stored, done = store_the_rest(settings, engine), executed(models) - before
    engine.dispose()
    with capsys.disabled():
        print(deaths.tell("over HTTP", answered, stored, done))
    assert answered <= stored <= done
    # A kill of the proxy costs at most what was in flight; one of the database costs nothing.
    assert stored - answered <= (deaths.fell["proxy"] + 1) * CLIENTS
