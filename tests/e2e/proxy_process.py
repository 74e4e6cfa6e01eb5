"""The proxy as the process that operators run."""

import os
import sys
from pathlib import Path

from inference_proxy.settings import ProxySettings
from local_stack.processes import Child


def proxy_process(settings: ProxySettings, directory: Path) -> Child:
    """`python -m inference_proxy` with these settings in its environment."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    environment = {f"TRADEWIND_{name.upper()}": str(value) for name, value in given.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWIND_")}
    return Child("inference_proxy", [sys.executable, "-m", "inference_proxy"], directory, kept | environment)
