"""How a service reads its settings: from the environment, once, in its `__main__`; unknown keys are refused."""

import difflib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tradewind.errors import StartupError

PREFIX = "TRADEWIND_"
SECTIONS = ("CARBON_", "SELECTOR_", "PROXY_", "PROFILER_")
"""Each service reads the keys of its own section and the common ones; the sections of others are not its concern."""
COMMAND_LINE = frozenset({"TRADEWIND_CARBON_ADDRESS", "TRADEWIND_REPORT_PROXY"})
"""What the `tradewind` command alone reads: an operator has them in the same environment as a service's settings."""

_LAST_PORT = 65_535
_LONGEST, _TOO_LONG = timedelta(days=36_525), "it is more than 100 years (36525d)"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: Any) -> Any:
    """A timedelta from `90s`, `24h`, `28d`, `250ms` or `5m`; ISO 8601 is left to pydantic."""
    if isinstance(value, str):
        text = value.strip()
        for unit in sorted(_UNITS, key=len, reverse=True):
            number = text.removesuffix(unit)
            if number != text and number.replace(".", "", 1).isdigit():
                try:
                    return timedelta(seconds=float(number) * _UNITS[unit])
                except OverflowError as error:
                    raise ValueError(_TOO_LONG) from error
        if not text.startswith(("P", "-P")):
            raise ValueError(f"{text[:40]!r} is not a duration: write 90s, 5m, 24h or 28d")
    return value


def check_duration(span: timedelta) -> timedelta:
    """A span that a date can be moved by; ValueError says so of anything else."""
    if span < timedelta(0):
        raise ValueError("it is negative: write 90s, 5m, 24h or 28d")
    if span > _LONGEST:
        raise ValueError(_TOO_LONG)
    return span


Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(check_duration)]


def check_address(address: str) -> str:
    """A `host:port`, or a socket's `unix:PATH`; ValueError says so of anything else."""
    host, _, port = address.rpartition(":")
    if not address.startswith("unix:") and not (host and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
        raise ValueError(f"{address[:80]!r} is not an address: write host:port, such as 127.0.0.1:8001")
    return address


Listen = Annotated[str, AfterValidator(check_address)]
"""Where a service listens."""


class CommonSettings(BaseSettings):
    """What every service needs to know; `TRADEWIND_` + the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: str = "sqlite:///tradewind.db"
    """SQLite file or Postgres, as SQLAlchemy writes it."""
    broker_url: str = "mqtt://127.0.0.1:1883"
    """mqtt:// or mqtts://, with user and password where the broker wants them."""
    broker_ca_file: Path | None = None
    """The authority that signed the broker's certificate; the system's authorities when absent."""
    broker_certificate_file: Path | None = None
    """This client's certificate, where the broker asks for one."""
    broker_key_file: Path | None = None

    tls_certificate_file: Path | None = None
    """This service's certificate, with those between it and its authority; with it every port takes TLS alone."""
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    """The authority of the callers' certificates; with it nobody is heard who does not show one."""
    tokens_file: Path | None = None
    """What callers may say to be let in: a line `TOKEN` or `NAME TOKEN` each, or a digest (`sha256:HEX`) for the token;
    read again when it changes."""
    operators: str = ""
    """Names of tokens or client certificates that may do what operators may, separated by commas."""

    peer_tls: bool = False
    """Whether other services of Tradewind are called over TLS; an authority or a certificate below says so as well."""
    peer_ca_file: Path | None = None
    """The authority that signed their certificates; those that gRPC knows when absent."""
    peer_certificate_file: Path | None = None
    """This process's certificate as a caller, where they ask for one."""
    peer_key_file: Path | None = None
    peer_token_file: Path | None = None
    """The one token that this process says when it calls them; read again when it changes."""

    catalogue: Path | None = None
    """The catalogue's YAML file; the shipped families when absent."""
    log_level: str = "info"


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT], environment: Mapping[str, str] | None = None) -> SettingsT:
    """The settings of one service; StartupError names the variable and what is wrong with it."""
    environment = os.environ if environment is None else environment
    unknown = unknown_keys(kind, environment)
    if unknown:
        known = sorted(known_keys(kind))
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
        raise StartupError(f"{', '.join(unknown)}: unknown setting; {hint}")
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        prefix = kind.model_config.get("env_prefix") or PREFIX
        message = first["msg"].removeprefix("Value error, ")
        name = f"{prefix}{field.upper()}" if field else "the settings"
        raise StartupError(f"{name}: {message}") from error


def known_keys(kind: type[BaseSettings]) -> set[str]:
    """The environment variables that a settings class reads."""
    return {f"{PREFIX}{name.upper()}" for name in kind.model_fields}


def unknown_keys(kind: type[BaseSettings], environment: Mapping[str, str]) -> list[str]:
    """Variables that begin like ours, belong to no other service's section, and mean nothing."""
    known = known_keys(kind)
    own = {section for section in SECTIONS if any(key.startswith(PREFIX + section) for key in known)}
    others = tuple(PREFIX + section for section in SECTIONS if section not in own)
    return sorted(
        key
        for key in environment
        if key.startswith(PREFIX) and key not in known | COMMAND_LINE and not key.startswith(others)
    )
