"""Starts the carbon service: `python -m carbon_service`, configured by TRADEWIND_… variables."""

import asyncio
from contextlib import AsyncExitStack

import uvloop

from carbon_service.service import CarbonService
from carbon_service.settings import CarbonSettings
from tradewind.logs import configure_logs
from tradewind.serving import run_service, stop_requested
from tradewind.settings import read_settings

SERVICE = "carbon_service"


async def main() -> None:
    """Runs until it is asked to stop."""
    settings = read_settings(CarbonSettings)
    configure_logs(SERVICE, settings.log_level)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(CarbonService(settings))
        stop = asyncio.create_task(stop_requested())
        failed = asyncio.create_task(service.failure())
        await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if failed.done():
            failed.result()
        failed.cancel()


if __name__ == "__main__":
    run_service(SERVICE, main, uvloop.new_event_loop)
