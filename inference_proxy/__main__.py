"""The inference proxy: `python -m inference_proxy`, its settings from the environment."""

from inference_proxy.proxy import Proxy
from inference_proxy.settings import ProxySettings
from tradewind.logs import configure_logs
from tradewind.serving import run_service, stop_requested
from tradewind.settings import read_settings

SERVICE = "inference_proxy"


async def main() -> None:
    """Serves until it is asked to stop, then drains."""
    settings = read_settings(ProxySettings)
    configure_logs(SERVICE, settings.log_level)
    proxy = Proxy(settings)
    try:
        await proxy.start()
        await stop_requested()
    finally:
        await proxy.stop()


if __name__ == "__main__":
    run_service(SERVICE, main)
