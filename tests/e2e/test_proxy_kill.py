"""Through `kill -9` of proxy and database under load: answered within recorded within executed, and nothing twice."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from local_stack.ports import free_ports
from local_stack.postgres import Postgres
from local_stack.triton import Triton
from tests.e2e.proxy_process import proxy_process
from tests.e2e.three_counts import CLIENTS, Deaths, Load, executed, over_grpc, store_the_rest
from tests.integration.inference_proxy.stand import infer_request, settings_for
from tradewind.database import open_engine
from tradewind.migrate import upgrade
from tradewind.rpc.v1 import emissions_pb2, emissions_pb2_grpc


def reconciliation_at(address: str) -> Any:
    """What a proxy's report says beside Triton's counts."""
    with grpc.insecure_channel(address) as channel:
        answer = emissions_pb2_grpc.EmissionsStub(channel).GetReport(emissions_pb2.GetReportRequest(), timeout=60)
    return answer.reconciliation.rows


@pytest.mark.timeout(900)
def test_answered_within_recorded_within_executed(
    models: Triton, tmp_path: Path, own_postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    url = own_postgres.create_database("kills")
    upgrade(url)
    (port,) = free_ports(1)
    settings = settings_for(
        tmp_path, url, proxy_triton_grpc=models.grpc, proxy_listen=f"127.0.0.1:{port}", proxy_sole_client=True
    )
    before = executed(models)
    proxy = proxy_process(settings, tmp_path)
    proxy.start()
    proxy.wait_listening()

    def kill_proxy() -> None:
        proxy.kill()
        proxy.start()
        proxy.wait_listening()

    deaths = Deaths({"proxy": kill_proxy}, own_postgres)
    try:
        with Load(over_grpc(settings.proxy_listen, lambda _number: infer_request("ident"))) as load:
            deaths.strike(load)
        answered = load.total
        proxy.kill()
        engine = open_engine(url)
        stored, done = store_the_rest(settings, engine), executed(models) - before
        engine.dispose()
        proxy.start()
        proxy.wait_listening()
        reconciled = reconciliation_at(settings.proxy_listen)
    finally:
        proxy.stop()

    with capsys.disabled():
        print(deaths.tell("over gRPC", answered, stored, done))
    assert answered <= stored <= done
    # Through all deaths the report has the same two counts.
    assert [(list(row.variants), row.recorded, row.executed) for row in reconciled] == [(["small"], stored, done)]
    # A kill of the proxy costs at most what was in flight; one of the database costs nothing.
    assert stored - answered <= (deaths.fell["proxy"] + 1) * CLIENTS
