"""One polite HTTP client for every provider: timeouts, retries with jitter, Retry-After, caching, bounded answers."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import stamina

from carbon_service.sources.source import SourceError

MOST_BYTES = 8 * 1024 * 1024
LONGEST_RETRY_AFTER = timedelta(hours=1)
_CACHED_ANSWERS = 64


@dataclass(frozen=True)
class HttpLimits:
    """How patient the client is."""

    connect_s: float = 10.0
    read_s: float = 20.0
    whole_s: float = 45.0
    """For one answer from beginning to end: a body that trickles is not waited for for ever."""
    attempts: int = 3
    first_wait_s: float = 0.5


class _Transient(Exception):
    """Worth another attempt: the connection failed, or the provider has a problem of its own."""


@dataclass(frozen=True, slots=True)
class _Cached:
    payload: Any
    fresh_until: float
    etag: str | None


class Api:
    """The API of one provider."""

    def __init__(self, provider: str, url: str, limits: HttpLimits | None = None) -> None:
        self._provider = provider
        self._limits = limits or HttpLimits()
        self._cache: dict[str, _Cached] = {}
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            headers={"accept": "application/json", "user-agent": "tradewind"},
        )

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON of an answer; SourceError says in a sentence why there is none."""
        key = str(httpx.URL(path, params=dict(params or {})))
        cached = self._cache.get(key)
        if cached is not None and time.monotonic() < cached.fresh_until:
            return cached.payload
        sent = dict(headers or {}) | ({"if-none-match": cached.etag} if cached and cached.etag else {})
        response, body = await self._ask_patiently(path, dict(params or {}), sent, None)
        return self._keep(key, response, body)

    async def login(self, path: str, username: str, password: str) -> Any:
        """The JSON of a sign-in with user and password; never cached."""
        _, body = await self._ask_patiently(path, {}, {}, httpx.BasicAuth(username, password))
        return self._parse(body)

    async def close(self) -> None:
        """Ends the connections."""
        await self._client.aclose()

    async def _ask_patiently(
        self, path: str, params: dict[str, str], headers: dict[str, str], auth: httpx.Auth | None
    ) -> tuple[httpx.Response, bytes]:
        """An answer that is one; SourceError when the last attempt has failed, too."""
        retries = stamina.retry_context(
            on=_Transient, attempts=self._limits.attempts, timeout=None, wait_initial=self._limits.first_wait_s
        )
        try:
            async for attempt in retries:
                with attempt:
                    request = self._client.build_request("GET", path, params=params, headers=headers)
                    response, body = await self._whole(request, auth)
                    self._check(response)
                    return response, body
        except _Transient as error:
            raise SourceError(str(error)) from error
        raise AssertionError  # The retries end with a result or an exception.

    async def _whole(self, request: httpx.Request, auth: httpx.Auth | None) -> tuple[httpx.Response, bytes]:
        try:
            async with asyncio.timeout(self._limits.whole_s):
                response = await self._client.send(request, auth=auth, stream=True)
                try:
                    return response, await self._body(response)
                finally:
                    await response.aclose()
        except (httpx.TimeoutException, TimeoutError) as error:
            raise _Transient(f"{self._provider} did not answer in time") from error
        except httpx.HTTPError as error:
            raise _Transient(f"{self._provider} cannot be reached, or its answer broke off") from error

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise SourceError(f"{self._provider} answered with more than {MOST_BYTES} bytes")
        return bytes(body)

    def _keep(self, key: str, response: httpx.Response, body: bytes) -> Any:
        cached = self._cache.get(key)
        if response.status_code == httpx.codes.NOT_MODIFIED and cached is not None:
            payload, etag = cached.payload, cached.etag
        else:
            payload, etag = self._parse(body), response.headers.get("etag")
        fresh_s = _max_age_s(response.headers.get("cache-control", ""))
        self._cache.pop(key, None)
        if fresh_s or etag:
            self._cache[key] = _Cached(payload, time.monotonic() + fresh_s, etag)
        while len(self._cache) > _CACHED_ANSWERS:
            del self._cache[next(iter(self._cache))]
        return payload

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.OK or (
            status == httpx.codes.NOT_MODIFIED and "if-none-match" in response.request.headers
        ):
            return
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise AccessDenied(f"{self._provider} refuses the key or login (status {status}): check it")
        if status == httpx.codes.TOO_MANY_REQUESTS or "retry-after" in response.headers:
            wait = _retry_after(response.headers.get("retry-after"))
            raise SourceError(f"{self._provider} asks to be left alone (status {status})", wait)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _Transient(f"{self._provider} has a problem of its own (status {status})")
        if httpx.codes.is_redirect(status):
            raise Refused(f"{self._provider} has moved elsewhere (status {status}): give its new address as the url")
        raise Refused(f"{self._provider} does not give this (status {status}): check the zone's area")

    def _parse(self, body: bytes) -> Any:
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._provider} answered with something that is not JSON") from error


class Refused(SourceError):
    """The provider understood what was asked, and does not give it: it helps to ask for something else, not again."""


class AccessDenied(Refused):
    """The key or token is not accepted; a token may be renewed."""


def _refuse_constant(_name: str) -> float:
    raise ValueError


def _max_age_s(header: str) -> float:
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() in {"no-store", "no-cache"}:
            return 0.0
        if name.lower() == "max-age" and value.isdigit():
            return min(float(value), 3600.0)
    return 0.0


def _retry_after(header: str | None) -> timedelta | None:
    """Seconds or a date; bounded, so that a wrong header does not silence a source for days."""
    if header is None:
        return None
    try:
        wait = timedelta(seconds=float(header))
    except (ValueError, OverflowError):
        try:
            wait = parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)
