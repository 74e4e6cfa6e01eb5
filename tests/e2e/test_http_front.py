"""Through `kill -9` of the proxy under load over HTTP: answered within recorded within executed, and nothing twice."""

import http.client
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.e2e.three_counts import CLIENTS, KILLS, Load, executed, store_the_rest
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


@pytest.mark.timeout(500)
def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(sqlite_url)
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc, proxy_triton_http=models.http)
    before, chance = executed(models), random.Random(7)
    running = proxy_process(settings, tmp_path)
    running.start()
    port = running.wait_listening("HTTP")
    again = proxy_process(settings.model_copy(update={"proxy_http_listen": f"127.0.0.1:{port}"}), tmp_path)
    try:
        with Load(over_http(port)) as load:
            for _ in range(KILLS):
                load.wait_for(chance.randint(20, 150))
                running.kill()
                running = again
                running.start()
                running.wait_listening("HTTP")
            load.wait_for(50)
        answered = load.total
        running.kill()
    finally:
        running.stop()

    engine = open_engine(sqlite_url)
    stored, done = store_the_rest(settings, engine), executed(models) - before
    engine.dispose()
    with capsys.disabled():
        print(f"\n  {KILLS} kills -9 over HTTP: answered {answered} <= recorded {stored} <= executed {done}")
    assert answered <= stored <= done
    # A kill costs at most what was in flight, and what the next life was started with.
    assert stored - answered <= (KILLS + 1) * CLIENTS
