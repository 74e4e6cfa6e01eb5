"""`python -m selector_service`: settings, parts, and the wait for the end."""

import uvloop

from selector_service.desks import open_desks
from selector_service.service import SelectorService
from selector_service.settings import SelectorSettings
from tradewind.catalogue import find_catalogue
from tradewind.logs import configure_logs, get_logger
from tradewind.serving import run_service, stop_requested
from tradewind.settings import read_settings

log = get_logger(__name__)


async def main() -> None:
    """Decides until it is told to stop."""
    settings = read_settings(SelectorSettings)
    configure_logs("selector_service", settings.log_level)
    catalogue = find_catalogue(settings.catalogue)
    for warning in catalogue.warnings:
        log.warning(warning)
    desks = open_desks(
        catalogue,
        settings.selector_policy,
        settings.policy_options,
        hold_when_stale=settings.selector_stale == "hold",
    )
    service = SelectorService(settings, catalogue, desks)
    await service.start()
    try:
        await stop_requested()
    finally:
        await service.stop()


if __name__ == "__main__":
    run_service("selector_service", main, uvloop.new_event_loop)
