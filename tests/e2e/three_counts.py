"""What was answered, recorded and executed, while clients ask without end and processes are killed."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from sqlalchemy import Engine, func, select
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference_proxy.flusher import Flusher
from inference_proxy.ledger import Ledger
from inference_proxy.settings import ProxySettings
from inference_proxy.spool import Spool
from inference_proxy.store import ledger, unattributed
from local_stack.postgres import Postgres
from local_stack.triton import Triton
from tradewind.database import reading

KILLS = int(os.environ.get("TRADEWIND_TEST_KILLS", "5"))
"""More are for those who have the time."""
CLIENTS = 4


class Load:
    """Clients that ask again and again, whatever becomes of it, and count the answers."""

    def __init__(self, ask: Callable[[int, "Load"], None]) -> None:
        """`ask` is one client's work: its number, and the load that it reports answers to until it may leave."""
        self._leave = threading.Event()
        self._answered = [0] * CLIENTS
        self._threads = [threading.Thread(target=ask, args=(number, self), daemon=True) for number in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()

    @property
    def goes_on(self) -> bool:
        """Whether the clients are to ask again."""
        return not self._leave.is_set()

    def answered(self, number: int) -> None:
        """Counts an answer that client `number` has got whole."""
        self._answered[number] += 1

    @property
    def total(self) -> int:
        """Answers so far."""
        return sum(self._answered)

    def wait_for(self, more: int) -> None:
        """Waits for so many more answers."""
        wanted, deadline = self.total + more, time.monotonic() + 60
        while self.total < wanted:
            assert time.monotonic() < deadline, "no answers within a minute"
            time.sleep(0.002)


def over_grpc(address: str, request_of: Callable[[int], Any]) -> Callable[[int, Load], None]:
    """Clients of the gRPC front; `request_of` gives each its request."""

    def ask(number: int, load: Load) -> None:
        options = [("grpc.max_reconnect_backoff_ms", 50), ("grpc.initial_reconnect_backoff_ms", 50)]
        request = request_of(number)
        with grpc.insecure_channel(address, options=options) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while load.goes_on:
                try:
                    stub.ModelInfer(request, timeout=20)
                except grpc.RpcError:
                    continue
                load.answered(number)

    return ask


class Deaths:
    """Kills processes at random moments under load; the database stays away for a while, also while others die."""

    def __init__(self, victims: Mapping[str, Callable[[], None]], database: Postgres) -> None:
        """`victims` by name: each kills, and brings back what does not come back by itself."""
        self._victims = dict(victims) | {"database": database.child.kill}
        self._database = database
        self._chance = random.Random(7)
        self.fell: Counter[str] = Counter()

    def strike(self, load: Load) -> None:
        """So many kills as were asked for, each victim as often as the others."""
        names = sorted(self._victims)
        order = [names[number % len(names)] for number in range(KILLS)]
        self._chance.shuffle(order)
        for name in order:
            load.wait_for(self._chance.randint(20, 200))
            if name == "database" or self._chance.random() < 0.5:
                self.revive_database()
            self._victims[name]()
            self.fell[name] += 1
        load.wait_for(50)
        self.revive_database()
        load.wait_for(50)

    def revive_database(self) -> None:
        """Starts it where it is dead."""
        if not self._database.child.alive:
            self._database.start()

    def tell(self, front: str, answered: int, stored: int, done: int) -> str:
        """The three counts."""
        fell = ", ".join(f"{count} of {name}" for name, count in sorted(self.fell.items()))
        counts = f"answered {answered} <= recorded {stored} <= executed {done}"
        return f"\n  {self.fell.total()} kills -9 {front} ({fell}): {counts}"


def executed(models: Triton) -> int:
    """Inferences by Triton's own count."""
    with grpc.insecure_channel(models.grpc) as channel:
        stats = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStatistics(service_pb2.ModelStatisticsRequest())
    return sum(each.inference_stats.success.count for each in stats.model_stats if each.name.startswith("ident"))


def recorded(engine: Engine) -> int:
    """Inferences in the ledger."""
    with reading(engine) as connection:
        return sum(
            connection.execute(select(func.coalesce(func.sum(table.c.inferences), 0))).scalar_one()
            for table in (ledger, unattributed)
        )


def store_the_rest(settings: ProxySettings, engine: Engine) -> int:
    """Stores what a dead proxy's spool still holds, twice over; what the ledger has then."""
    spool = Spool(settings.proxy_spool_directory, settings.proxy_segment_bytes)
    spool.open()
    flusher = Flusher(spool, Ledger(engine), interval_s=1)
    flusher.flush()
    stored = recorded(engine)
    assert flusher.flush() == 0
    assert recorded(engine) == stored
    spool.close()
    return stored
