"""Families over HTTP as Triton would show them if they were models."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.web import BaseRequest, Response, StreamResponse

from inference_proxy.http.answers import bytes_of, empty_answer, error_answer, json_answer
from inference_proxy.http.bodies import Body
from inference_proxy.http.places import Place, model_path
from inference_proxy.http.summed_statistics import summed_statistics
from inference_proxy.http.tritons import Tritons, statistics_answer
from inference_proxy.refusals import VERSION, no_version_ready, unknown_version
from inference_proxy.routes import FamilyRoute
from inference_proxy.targets import Target

_NOT_READY = "Model version not ready"
_JSON = "application/json"

Call = Callable[[BaseRequest, Place, FamilyRoute], Awaitable[StreamResponse]]


class VirtualModels:
    """Answers what is asked about a family."""

    def __init__(self, tritons: Tritons) -> None:
        self._tritons = tritons
        self.calls: dict[tuple[str, str], Call] = {
            ("GET", "ready"): self._ready,
            ("GET", "metadata"): self._metadata,
            ("GET", "config"): self._config,
            ("GET", "stats"): self._statistics,
            ("GET", "trace/setting"): self._trace,
            ("POST", "trace/setting"): self._trace,
            ("POST", "load"): self._load,
            ("POST", "unload"): self._load,
        }

    async def index(self, request: BaseRequest, place: Place, families: dict[str, FamilyRoute]) -> StreamResponse:
        """Triton's repository index with the families in it, in order of name as Triton has them."""
        body = await Body(request).whole()
        rows = await self._tritons.index(request, place.path + place.query, body)
        if isinstance(rows, Response):
            return rows
        only_ready = _asks_for_ready(body)
        for name, family in families.items():
            if _is_ready(family):
                rows.append({"name": name, "version": VERSION, "state": "READY"})
            elif not only_ready:
                rows.append({"name": name, "version": VERSION, "state": "UNAVAILABLE", "reason": "no variant is ready"})
        return json_answer(sorted(rows, key=lambda row: str(row.get("name", ""))))

    async def statistics_of_all(
        self, request: BaseRequest, place: Place, families: dict[str, FamilyRoute]
    ) -> StreamResponse:
        """Triton's statistics of every model, and each family's row behind them."""
        rows = await self._tritons.statistics(request, place.path + place.query)
        if isinstance(rows, Response):
            return rows
        summed = [
            summed_statistics(name, VERSION, own)
            for name, family in families.items()
            if (own := _rows_of(family, rows))
        ]
        return statistics_answer(rows + summed)

    async def _ready(self, _request: BaseRequest, place: Place, family: FamilyRoute) -> StreamResponse:
        refusal = unknown_version(family.name, place.version)
        if refusal is not None and "specified version string" in refusal.text:
            return error_answer(400, refusal.text)
        return empty_answer() if refusal is None and _is_ready(family) else error_answer(400, _NOT_READY)

    async def _metadata(self, request: BaseRequest, place: Place, family: FamilyRoute) -> StreamResponse:
        """A variant's under the family's name: load tools take the name from here and then ask for it."""
        return await self._about_a_variant(
            request, place, family, "", lambda metadata: metadata | {"name": family.name, "versions": [VERSION]}
        )

    async def _config(self, request: BaseRequest, place: Place, family: FamilyRoute) -> StreamResponse:
        """A variant's under the family's name, with the largest batch that every ready variant takes."""
        batches = [each.max_batch_size for each in family.targets if each.ready and each.max_batch_size is not None]
        own: dict[str, Any] = {"name": family.name} | ({"max_batch_size": min(batches)} if batches else {})
        return await self._about_a_variant(request, place, family, "config", lambda config: config | own)

    async def _about_a_variant(
        self,
        request: BaseRequest,
        place: Place,
        family: FamilyRoute,
        action: str,
        edit: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> StreamResponse:
        refusal = unknown_version(family.name, place.version)
        ready = [target for target in family.targets if target.ready]
        if refusal is not None or not ready:
            status = 400 if refusal is not None and "specified version string" in refusal.text else 404
            return error_answer(status, (refusal or no_version_ready(family.name)).text, content_type=_JSON)
        target = model_path(ready[0].model, ready[0].version, action)
        answer = await self._tritons.ask(request, "GET", target, where=ready[0].endpoints)
        return json_answer(edit(json.loads(bytes_of(answer)))) if answer.status == 200 else answer

    async def _statistics(self, request: BaseRequest, place: Place, family: FamilyRoute) -> StreamResponse:
        refusal = unknown_version(family.name, place.version)
        if refusal is not None:
            text = refusal.text
            if "specified version string" not in text:
                text = f"requested model version is not available for model '{family.name}'"
            return error_answer(400, text, content_type=_JSON)
        answers = await self._ask_each(request, family, "GET", "stats", b"")
        rows = [row for each in answers if each.status == 200 for row in json.loads(bytes_of(each))["model_stats"]]
        if not rows:
            return error_answer(400, f"requested model '{family.name}' is not available", content_type=_JSON)
        return json_answer({"model_stats": [summed_statistics(family.name, VERSION, rows)]})

    async def _trace(self, request: BaseRequest, _place: Place, family: FamilyRoute) -> StreamResponse:
        """Read from the first variant that Triton knows, set on all of them."""
        answers = await self._ask_each(request, family, request.method, "trace/setting", await Body(request).whole())
        return next((answer for answer in answers if answer.status == 200), answers[0])

    async def _load(self, _request: BaseRequest, place: Place, family: FamilyRoute) -> StreamResponse:
        models = ", ".join(target.model for target in family.targets)
        return error_answer(
            400,
            f"'{family.name}' is a family of models, which cannot be {place.action}ed: {place.action} {models} instead",
            content_type=_JSON,
        )

    async def _ask_each(
        self, request: BaseRequest, family: FamilyRoute, method: str, action: str, body: bytes
    ) -> list[Response]:
        async def ask(target: Target) -> list[Response]:
            version = "" if action == "trace/setting" else target.version
            return await self._tritons.ask_all(request, method, model_path(target.model, version, action), body)

        return [answer for answers in await asyncio.gather(*map(ask, family.targets)) for answer in answers]


def _rows_of(family: FamilyRoute, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models = {(target.model, target.version) for target in family.targets}
    return [row for row in rows if not {(row["name"], row["version"]), (row["name"], "")}.isdisjoint(models)]


def _is_ready(family: FamilyRoute) -> bool:
    return any(target.ready for target in family.targets)


def _asks_for_ready(body: bytes) -> bool:
    try:
        asked = json.loads(body) if body else {}
    except ValueError:
        return False
    return isinstance(asked, dict) and asked.get("ready") is True
