"""The Lua that runs in Envoy, as one script: its modules bundled, so that Envoy needs no path to find them."""

from pathlib import Path

MODULES = ("wire", "receipts", "table", "spool", "tenants", "sha256", "access", "front")

_FOLDER = Path(__file__).with_name("lua")
_ENTRY = """
local front = require("tradewind.front")
function envoy_on_request(handle) front.on_request(handle) end
function envoy_on_response(handle) front.on_response(handle) end
"""


def modules() -> str:
    """Every module, to be had with `require("tradewind.NAME")`."""
    return "".join(
        f'package.preload["tradewind.{name}"] = function(...)\n'
        f"{(_FOLDER / f'{name}.lua').read_text(encoding='utf-8')}end\n"
        for name in MODULES
    )


def script() -> str:
    """The modules and the two functions that Envoy calls."""
    return modules() + _ENTRY
