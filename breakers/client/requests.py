"""One request to the control plane: address, key, time limit, JSON both ways, and the error that a bad answer is."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientTimeout
from yarl import URL

from breakers.client.errors import ServiceError, ServiceUnreachableError, error_of
from breakers.client.retries import retry_after
from breakers.client.sessions import LoopSessions
from breakers.core.errors import ConfigError

DEFAULT_URL = "http://localhost:8012"
DEFAULT_TIMEOUT = 30.0
_URL, _TIMEOUT, _TOKEN = (f"CIRCUIT_BREAKER_SERVICE_{name}" for name in ("URL", "TIMEOUT", "TOKEN"))

Json = Any  # what json.loads gives
Query = Mapping[str, str | int | None]


class Requests:
    """Where the control plane is and how it is asked; what is not given is read from the environment each time."""

    def __init__(self, url: str | None, token: str | None, timeout: float | None) -> None:
        self._url, self._token, self._timeout = url, token, timeout
        self._sessions = LoopSessions()

    @property
    def url(self) -> str:
        """Without a slash at its end. Raises :class:`ConfigError` when it is not an HTTP address."""
        text = (self._url or os.environ.get(_URL, "").strip() or DEFAULT_URL).rstrip("/")
        try:
            known = URL(text)
        except ValueError:
            known = URL()
        said = "url" if self._url else _URL
        if known.user is not None or known.password is not None:
            raise ConfigError({said: "must have no user or password in it: the key is a setting of its own"})
        if known.scheme not in ("http", "https") or not known.host or known.query_string or known.fragment:
            raise ConfigError({said: f"must be http://host:port or https://host, not {shown(text)!r}"})
        return text

    @property
    def timeout(self) -> float:
        """Seconds for one request, its answer included. Raises :class:`ConfigError`."""
        given: float | str = self._timeout if self._timeout is not None else os.environ.get(_TIMEOUT, "").strip()
        try:
            seconds = DEFAULT_TIMEOUT if given == "" else float(given)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            name = "timeout" if self._timeout is not None else _TIMEOUT
            raise ConfigError({name: f"must be a finite number of seconds > 0, not {given!r}"})
        return seconds

    def _headers(self, if_match: int | None) -> dict[str, str]:
        token = (self._token if self._token is not None else os.environ.get(_TOKEN, "")).strip()
        headers = {"Accept": "application/json"}
        if not token.isprintable():
            raise ConfigError({"token" if self._token is not None else _TOKEN: "must be on one line, all printable"})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        return headers

    async def send(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        telling: str | None,
        query: Query | None = None,
        if_match: int | None = None,
    ) -> Json:
        """The object of the answer, which has the key ``telling``; ``None`` where none is due.

        Raises :class:`ServiceError`.
        """
        answered = await self.exchange(method, path, body, telling=telling, query=query, if_match=if_match, also=())
        return answered[1]

    async def exchange(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        telling: str | None,
        query: Query | None = None,
        if_match: int | None = None,
        also: tuple[int, ...],
    ) -> tuple[int, Json]:
        """Status and JSON; a status outside 2xx raises, but for those in ``also`` that come with JSON."""
        url = URL(self.url + path, encoded=True).with_query({k: v for k, v in (query or {}).items() if v is not None})
        session, timeout = await self._sessions.current(), self.timeout
        try:
            async with session.request(
                method,
                url,
                json=body,
                headers=self._headers(if_match),
                timeout=ClientTimeout(total=timeout),
                allow_redirects=method == "GET",  # a redirected POST would arrive as a GET
            ) as response:
                return response.status, _answer(response, await response.read(), telling, also)
        except TimeoutError as error:
            raise ServiceUnreachableError(f"{self.url} did not answer within {timeout:g} s", code="timeout") from error
        except (ClientError, OSError) as error:
            raise ServiceUnreachableError(
                f"{self.url} could not be asked: {_what(error)}", code="unreachable"
            ) from error

    async def pages(self, path: str, query: Query) -> AsyncGenerator[Json, None]:
        """Every result of every page; a page is fetched when the one before has been used up.

        Each result once, also when new ones push it on to the next page meanwhile.
        """
        seen: set[int | str] = set()
        following: Query | None = query
        while following is not None:
            asked, page = following, await self.send("GET", path, query=following, telling="results")
            results, following = self._turned(page, asked)
            for result in results:
                key = result.get("id", result.get("name"))
                if key not in seen:
                    seen.add(key)
                    yield result

    def _turned(self, page: Json, asked: Query) -> tuple[list[Json], Query | None]:
        """What stands on a page, and what to ask for the one after it. Raises :class:`ServiceError`."""
        results, address = page["results"], page.get("next", "")
        if isinstance(results, list) and all(isinstance(result, dict) for result in results):
            if address is None:
                return results, None
            # only its query: behind a proxy the control plane may not know the address that we reach it by
            following = _query_of(address)
            if following and following != {name: str(value) for name, value in asked.items() if value is not None}:
                return results, following
        raise ServiceError(f"{self.url} did not answer with pages", 200, "unexpected")

    async def close(self) -> None:
        await self._sessions.close()


def shown(url: str) -> str:
    """Without a password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//***@", url)


def _what(error: Exception) -> str:
    """What kept us from an answer, in the system's own words where it has any."""
    cause = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:  # asyncio's text is about its own call
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def path_of(name: str, *further: str) -> str:
    """``/circuit-breakers/{name}/...``; no name can lead to another path."""
    segment = name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")
    return "/".join(["/circuit-breakers", segment, *further])


def _query_of(address: Json) -> Query:
    try:
        return dict(URL(address).query)
    except (TypeError, ValueError):
        return {}


def _answer(response: ClientResponse, content: bytes, telling: str | None, also: tuple[int, ...]) -> Json:
    readable, answer = _decoded(content)
    if 200 <= response.status < 300:
        if telling is None or (isinstance(answer, dict) and telling in answer):
            return answer
        what, code = ("as a control plane does", "unexpected") if readable else ("with JSON", "not_json")
        raise ServiceError(f"{response.url.origin()} did not answer {what}", response.status, code)
    if response.status in also and isinstance(answer, dict) and "error" not in answer:
        return answer
    elsewhere = f", at {location}" if (location := response.headers.get("Location")) else ""
    reason = f"{response.reason or ''}{elsewhere}"
    raise error_of(response.status, reason, answer, retry_after(response.headers))


def _decoded(content: bytes) -> tuple[bool, Json]:
    if not content:
        return True, None
    try:
        return True, json.loads(content)
    except (ValueError, RecursionError):
        return False, None
