"""How commands show themselves to the services that they ask: the same options on every one of them."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tradewind.errors import NotPermitted, TradewindError

_PANEL = "TLS and tokens"

_OPTIONS = {
    "ca": Annotated[
        Path | None,
        typer.Option(
            help="The authority of the service's certificate; says TLS.",
            envvar="TRADEWIND_PEER_CA_FILE",
            rich_help_panel=_PANEL,
        ),
    ],
    "cert": Annotated[
        Path | None,
        typer.Option(help="Your certificate.", envvar="TRADEWIND_PEER_CERTIFICATE_FILE", rich_help_panel=_PANEL),
    ],
    "key": Annotated[
        Path | None, typer.Option(help="Its key.", envvar="TRADEWIND_PEER_KEY_FILE", rich_help_panel=_PANEL)
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(help="A file with your token.", envvar="TRADEWIND_PEER_TOKEN_FILE", rich_help_panel=_PANEL),
    ],
    "tls": Annotated[
        bool,
        typer.Option(
            "--tls", help="TLS, with the usual authorities.", envvar="TRADEWIND_PEER_TLS", rich_help_panel=_PANEL
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class _Given:
    """The options, under the names of the settings that they stand for."""

    peer_ca_file: Path | None
    peer_certificate_file: Path | None
    peer_key_file: Path | None
    peer_token_file: Path | None
    peer_tls: bool


def reaching(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command with a parameter `way` the options that say which way it is."""

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        from tradewind.calling import way

        own = [given.pop(name) for name in _OPTIONS]
        command(**given, way=way("peer_", _Given(*own)))

    shown = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "way"]
    shown += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "tls" else None, annotation=annotation
        )
        for name, annotation in _OPTIONS.items()
    ]
    with_options.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined] # what typer reads
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return with_options


def refusal(error: Any) -> TradewindError | None:
    """The service's own sentence where it does not let the caller in; None of any other gRPC error."""
    import grpc

    if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return NotPermitted(error.details())
    return None
