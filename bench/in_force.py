"""From an observation to the decision in force at the proxy: what a client sees in its receipts.

Broker, carbon service, selector, proxy and Triton are processes of their own; a tritonclient asks all the time, and an
observation counts as in force with the first answer whose receipt has its intensity.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton_client

from bench.selector import Entry, a_reading, entry, publishing
from local_stack.services import Service
from local_stack.triton import PROJECT, Triton
from tradewind import topics
from tradewind.bus import Bus
from tradewind.migrate import upgrade
from tradewind.readings import to_json

ZONE = "BENCH"
PUBLISHER = "bench"
FAMILY = "ident"
OBSERVATIONS = 300
PAUSE_S = 0.05
"""Between one decision in force and the next observation: each finds the services at rest."""
BETWEEN_REQUESTS_S = 0.002
BUDGET_MS = 50.0

_CATALOGUE = """
families:
  ident:
    error_metric: error_pct
    pool: [small, large]
    variants:
      small:
        {model: ident_small, energy_mj: {value: 100, provenance: estimated}, error: {value: 9, provenance: estimated}}
      large:
        {model: ident_large, energy_mj: {value: 900, provenance: estimated}, error: {value: 3, provenance: estimated}}
"""


@contextmanager
def _stack(directory: Path, broker_url: str, urls: Sequence[str], triton: Triton) -> Iterator[str]:
    """Carbon service, selector and proxy; where the proxy answers."""
    catalogue = directory / "in_force.yaml"
    catalogue.write_text(_CATALOGUE, encoding="utf-8")
    common = {"TRADEWIND_BROKER_URL": broker_url, "TRADEWIND_CATALOGUE": str(catalogue)}
    for url in urls:
        upgrade(url)
    carbon_url, selector_url, ledger_url = urls
    with ExitStack() as stack:

        def start(name: str, listen_key: str, database_url: str, own: dict[str, str]) -> str:
            service = Service(name, directory, {**common, "TRADEWIND_DATABASE_URL": database_url, **own}, listen_key)
            stack.callback(service.stop)
            service.start()
            return service.address

        start("carbon_service", "TRADEWIND_CARBON_LISTEN", carbon_url, {})
        zones = {"TRADEWIND_SELECTOR_ZONES": ZONE}
        selector = start("selector_service", "TRADEWIND_SELECTOR_LISTEN", selector_url, zones)
        proxy = {
            "TRADEWIND_PROXY_TRITON_GRPC": triton.grpc,
            "TRADEWIND_PROXY_TRITON_HTTP": triton.http,
            "TRADEWIND_PROXY_HTTP_LISTEN": "127.0.0.1:0",
            "TRADEWIND_PROXY_METRICS_PORT": "0",
            "TRADEWIND_PROXY_SPOOL_DIRECTORY": str(directory / f"spool-{time.monotonic_ns()}"),
            "TRADEWIND_PROXY_SELECTOR": selector,
            "TRADEWIND_PROXY_ZONE": ZONE,
        }
        yield start("inference_proxy", "TRADEWIND_PROXY_LISTEN", ledger_url, proxy)


async def _until_in_force(client: Any, tensor: Any, intensity: float) -> float:
    """When the first answer had a receipt with that intensity."""
    while True:
        result = await client.infer(FAMILY, [tensor])
        said = result.get_response().parameters
        receipt = said["carbon_intensity_g_per_kwh"].string_param if "carbon_intensity_g_per_kwh" in said else ""
        if receipt and float(receipt) == intensity:
            return time.perf_counter()
        await asyncio.sleep(BETWEEN_REQUESTS_S)


async def _observe(bus: Bus, client: Any, tensor: Any, intensity: float) -> float:
    """Milliseconds from the observation's publication to the first receipt that has it."""
    said = to_json(a_reading(ZONE, datetime.now(UTC), intensity))
    started = time.perf_counter()
    publication = asyncio.create_task(bus.publish(topics.observation(PUBLISHER, ZONE), said))
    async with asyncio.timeout(30):
        ended = await _until_in_force(client, tensor, intensity)
    await publication
    return (ended - started) * 1e3


async def measure_in_force(directory: Path, broker_url: str, urls: Mapping[str, Sequence[str]]) -> list[Entry]:
    """On each engine, with a database for each service: readings, decisions, ledger.

    Of one SQLite file one may write at a time. Here readings come a thousand times as often as in earnest, and the
    ledger writes down the interval of each.
    """
    triton = Triton(directory, PROJECT / "tests" / "triton_models")
    triton.start()
    try:
        return [
            figure
            for engine, of_engine in urls.items()
            for figure in await _measure_engine(directory, broker_url, engine, of_engine, triton)
        ]
    finally:
        triton.stop()


async def _measure_engine(
    directory: Path, broker_url: str, engine: str, urls: Sequence[str], triton: Triton
) -> list[Entry]:
    """Through gate, stores, bus, range, policy and stream: p50 and p99, one observation after the other."""
    tensor = triton_client.InferInput("INPUT", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    with _stack(directory, broker_url, urls, triton) as address:
        async with publishing(broker_url) as bus, triton_client.InferenceServerClient(address) as client:
            await _observe(bus, client, tensor, 199.5)
            taken = []
            for index in range(OBSERVATIONS):
                await asyncio.sleep(PAUSE_S)
                taken.append(await _observe(bus, client, tensor, 200.0 + index % 97))
    cuts = statistics.quantiles(taken, n=100)
    name = f"signal: observation to decision in force at the proxy, {engine}"
    return [
        entry(f"{name}, p50", cuts[49], "ms", None, None, True),
        entry(f"{name}, p99", cuts[98], "ms", None, BUDGET_MS, cuts[98] <= BUDGET_MS),
    ]
