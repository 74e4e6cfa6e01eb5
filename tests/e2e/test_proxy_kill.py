"""Through `kill -9` of the proxy under load: answered within recorded within executed, and nothing twice."""

import random
from pathlib import Path

import pytest

from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.e2e.three_counts import CLIENTS, KILLS, Load, executed, over_grpc, store_the_rest
from tests.integration.inference_proxy.stand import infer_request, settings_for
from tradewind.database import open_engine
from tradewind.migrate import upgrade


@pytest.mark.timeout(500)
def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(sqlite_url)
    settings = settings_for(tmp_path, sqlite_url, proxy_triton_grpc=models.grpc)
    before, chance = executed(models), random.Random(7)
    running = proxy_process(settings, tmp_path)
    running.start()
    address = f"127.0.0.1:{running.wait_listening()}"
    again = proxy_process(settings.model_copy(update={"proxy_listen": address}), tmp_path)
    with Load(over_grpc(address, lambda _number: infer_request("ident"))) as load:
        for _ in range(KILLS):
            load.wait_for(chance.randint(50, 400))
            running.kill()
            running = again
            running.start()
            running.wait_listening()
        load.wait_for(50)
    answered = load.total
    running.kill()

    engine = open_engine(sqlite_url)
    stored, done = store_the_rest(settings, engine), executed(models) - before
    engine.dispose()
    with capsys.disabled():
        print(f"\n  {KILLS} kills -9: answered {answered} <= recorded {stored} <= executed {done}")
    assert answered <= stored <= done
    # A kill costs at most what was in flight, and what the next life was started with.
    assert stored - answered <= (KILLS + 1) * CLIENTS
