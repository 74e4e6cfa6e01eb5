"""What a family answers where a model would be refused: Triton's own codes and texts under the family's name."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

VERSION = "1"
"""A family has one version: which version of which model serves is the catalogue's to say."""

_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status and its text."""

    code: grpc.StatusCode
    text: str


def no_version_ready(name: str) -> Refusal:
    """None of the permitted variants is ready."""
    return Refusal(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' has no available versions")


def no_server() -> Refusal:
    """None of the inference servers answers."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "the inference server does not answer: try again when it is back")


def not_loadable(family: str, action: str, models: Sequence[str]) -> Refusal:
    """A family is loaded and unloaded by its models."""
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"'{family}' is a family of models, which cannot be {action}ed: {action} {', '.join(models)} instead",
    )


def not_available(family: str) -> Refusal:
    """Triton's words where it has no statistics of a model."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"requested model '{family}' is not available")


def no_statistics_of_version(family: str) -> Refusal:
    """Triton's words where it has no statistics of a version."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"requested model version is not available for model '{family}'")


def unsatisfiable(text: str) -> Refusal:
    """The request's own requirements cannot be met, or are none."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)


def too_much(limit: int) -> Refusal:
    """More in flight than the operator admits."""
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED, f"the proxy has its limit of {limit} requests in flight: try again later"
    )


def unknown_version(name: str, version: str) -> Refusal | None:
    """Why a version of a family is refused; None when it is not."""
    if version in {"", VERSION}:
        return None
    if version.isdecimal() and version.isascii() and int(version) <= _LARGEST_VERSION:
        return Refusal(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' version {version} is not found")
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"failed to get model version from specified version string '{version}' (details: stol), "
        f"version should be an integral value > 0",
    )
