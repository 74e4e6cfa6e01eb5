"""How commands show themselves to the services that they ask: the same options on every one of them."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from tradewind.errors import NotPermitted, TradewindError

Command = Callable[..., None]

_PANEL = "TLS and tokens"
_HELP = {
    "ca": "The authority of the peer's certificate; says TLS.",
    "cert": "Your certificate.",
    "key": "Its key.",
    "token_file": "A file with your token.",
    "tls": "TLS, with the usual authorities.",
}
_SETTINGS = {
    "ca": "ca_file",
    "cert": "certificate_file",
    "key": "key_file",
    "token_file": "token_file",
    "tls": "tls",
}
"""Each option stands for the setting that a service has for the same."""


def reaching(command: Command) -> Command:
    """Gives a command that asks our services, and so has a parameter `way`, the options that say which way it is."""
    return _with_options(command, "peer_")


def reaching_triton(command: Command) -> Command:
    """The same for a command that asks Triton."""
    return _with_options(command, "proxy_triton_")


def _with_options(command: Command, prefix: str) -> Command:
    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        from tradewind.calling import way

        files = SimpleNamespace(**{f"{prefix}{name}": given.pop(option) for option, name in _SETTINGS.items()})
        command(**given, way=way(prefix, files))

    shown = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "way"]
    shown += [_option(option, f"TRADEWIND_{prefix}{name}".upper()) for option, name in _SETTINGS.items()]
    with_options.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined] # what typer reads
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return with_options


def _option(name: str, variable: str) -> inspect.Parameter:
    option = f"--{name.replace('_', '-')}"
    kind, default = (bool, False) if name == "tls" else (Path | None, None)
    told = typer.Option(option, help=_HELP[name], envvar=variable, rich_help_panel=_PANEL)
    annotation = Annotated[kind, told]  # type: ignore[valid-type] # for typer, at run time
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def refusal(error: Any) -> TradewindError | None:
    """The service's own sentence where it does not let the caller in; None of any other gRPC error."""
    import grpc

    if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return NotPermitted(error.details())
    return None
