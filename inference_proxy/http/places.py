"""Which of Triton's routes a path is. The path is taken as it was sent: Triton decodes nothing in it."""

import re
from dataclasses import dataclass
from functools import lru_cache

_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[0-9]+))?"
    r"(?:/(?P<action>infer|generate|generate_stream|ready|config|stats|trace/setting))?"
)
_REPOSITORY = re.compile(
    r"/v2/repository(?:/[^/]+)?/(?:(?P<index>index)|models/(?P<name>[^/]+)/(?P<action>load|unload))"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A path, taken apart."""

    path: str
    query: str
    action: str = ""
    """The last part of a model's path, `metadata` for none, `index`, `load`, `unload`; empty: any other path.

    `all stats` are the statistics of every model.
    """
    name: str = ""
    version: str = ""
    """The version in the path without leading zeros, as Triton takes it; empty: none."""


@lru_cache(maxsize=4_096)
def place_of(target: str) -> Place:
    """The place of a request line's target."""
    if not target.startswith("/"):
        # The absolute form, which names the host once more.
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, separator, query = target.partition("?")
    query = separator + query
    model = _MODEL.fullmatch(path)
    if path == "/v2/models/stats":
        return Place(path, query, "all stats")
    if model is not None:
        return Place(path, query, model["action"] or "metadata", model["name"], _plain(model["version"] or ""))
    repository = _REPOSITORY.fullmatch(path)
    if repository is not None:
        return Place(path, query, repository["index"] or repository["action"], repository["name"] or "")
    return Place(path, query)


def model_path(model: str, version: str, action: str) -> str:
    """The path of a model's route."""
    return f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + (f"/{action}" if action else "")


def _plain(version: str) -> str:
    return version.lstrip("0") or version[-1:]
