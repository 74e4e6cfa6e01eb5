"""The inference proxy: `python -m inference_proxy`, its settings from the environment."""

import asyncio
import ctypes
import gc
import os

import uvloop

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxySettings
from inference_proxy.span_export import tracing_of
from tradewind.logs import configure_logs
from tradewind.serving import run_service, stop_requested
from tradewind.settings import read_settings

SERVICE = "inference_proxy"

_KEPT_BYTES = 32 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


async def main() -> None:
    """Serves until it is asked to stop, then drains."""
    settings = read_settings(ProxySettings)
    configure_logs(SERVICE, settings.log_level)
    proxy = Proxy(settings, tracing_of(os.environ))
    # Heard from the first moment: whatever was started by then, Envoy too, has to be stopped.
    stop = asyncio.create_task(stop_requested())
    await asyncio.sleep(0)
    try:
        await proxy.start()
        spare_the_collector()
        await stop
    finally:
        await proxy.stop()


def spare_the_allocator() -> None:
    """The memory of one large message serves the next: returned each time, it comes back by hundreds of page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone.
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


def spare_the_collector() -> None:
    """What was loaded at start stays: the garbage collector need not walk it again, nor run every 700 objects.

    What is in flight at a collection grows old with it, and as garbage is freed at one of the oldest alone: every 66th,
    or it piles up for many minutes.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # It leaves the oldest alone until they are a quarter more than it found here: of what is not frozen.
    gc.set_threshold(20_000, 10, 5)


if __name__ == "__main__":
    spare_the_allocator()
    # grpc.aio wakes the loop several times per request, and asyncio's own costs a tenth more for it.
    run_service(SERVICE, main, uvloop.new_event_loop)
