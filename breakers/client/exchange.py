"""One request of a caller: its attempts, each through the breaker, and the waits between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse, ClientSession

from breakers.client.attempts import acquire, settle_answer, settle_error, settle_with_body
from breakers.client.retries import TRANSIENT, deserves_another, may_send_again, total_of, wait_before, what_remains
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import HttpConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState, Override, Permit, Transition

if TYPE_CHECKING:
    from aiohttp.typedefs import StrOrURL

_OPEN = CircuitBreakerState.OPEN
_FORCED_OPEN = Override.FORCED_OPEN


class Exchange:
    """Made for one request and used once. ``options`` are those of ``ClientSession.request``."""

    __slots__ = (
        "_breaker",
        "_check",
        "_http",
        "_loop",
        "_method",
        "_options",
        "_session",
        "_started",
        "_stream",
        "_url",
    )

    def __init__(
        self,
        breaker: CircuitBreaker,
        session: ClientSession,
        method: str,
        url: StrOrURL,
        stream: bool,
        options: dict[str, Any],  # aiohttp's own, passed on
    ) -> None:
        self._breaker = breaker
        self._session = session
        self._method = method
        self._url = url
        self._stream = stream
        self._check = options.pop("raise_for_status", None)
        self._options = options

    async def response(self) -> ClientResponse:
        """The last attempt's response, or its exception; what came before is released."""
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._http = http = self._breaker.http_config or HttpConfig()
        ended: ClientResponse | Exception
        permit = acquire(self._breaker)
        try:
            ended = await self._attempt(permit, self._options)
        except TRANSIENT as error:
            ended = error
        if deserves_another(http, ended) and may_send_again(http, self._method, self._options):
            ended = await self._send_again(ended)
        if isinstance(ended, Exception):
            raise ended
        await self._raise_for_status(ended)
        return ended

    async def _attempt(self, permit: Permit, options: dict[str, Any]) -> ClientResponse:
        breaker = self._breaker
        try:
            async with asyncio.timeout(breaker.config.timeout):
                response = await self._session.request(self._method, self._url, raise_for_status=False, **options)
                if not self._stream:
                    await response.read()
        except BaseException as error:
            settle_error(breaker, permit, error)
            raise
        if self._stream:
            settle_with_body(breaker, permit, response, self._http, self._time_is_up)
        else:
            settle_answer(breaker, permit, response, self._http)
        return response

    async def _send_again(self, ended: ClientResponse | Exception) -> ClientResponse | Exception:
        """Until an answer stands, attempts or time run out, or the breaker opens; what the last attempt ended with."""
        try:
            for attempt in range(1, self._http.max_retries + 1):
                permit, options = await self._next_permit(wait_before(self._http, attempt, ended))
                if permit is None:
                    break
                if isinstance(ended, ClientResponse):
                    ended.release()
                try:
                    ended = await self._attempt(permit, options)
                except TRANSIENT as error:
                    ended = error
                if not deserves_another(self._http, ended):
                    break
        except BaseException:
            if isinstance(ended, ClientResponse):
                ended.close()
            raise
        return ended

    async def _next_permit(self, wait: float) -> tuple[Permit | None, dict[str, Any]]:
        """A permit after ``wait`` seconds, with the options of its attempt; none when there is to be no attempt."""
        limits = total_of(self._session, self._options)
        if what_remains(limits, self._spent() + wait) is None or not await self._pause(wait):
            return None, {}
        remaining = what_remains(limits, self._spent())
        if remaining is None:
            return None, {}
        with suppress(CircuitBreakerOpenError):
            return self._breaker.acquire(), {**self._options, "timeout": remaining}
        return None, {}

    async def _pause(self, seconds: float) -> bool:
        """Waits; ends at once, with ``False``, when the breaker would reject."""
        opened = asyncio.Event()

        def look(transition: Transition) -> None:
            if self._rejects():
                self._loop.call_soon_threadsafe(opened.set)

        unsubscribe = self._breaker.on_transition(look)
        try:
            if self._rejects():
                return False
            async with asyncio.timeout(seconds):
                await opened.wait()
        except TimeoutError:
            return True
        finally:
            unsubscribe()
        return False

    def _rejects(self) -> bool:
        seen = self._breaker.snapshot()
        return seen.override is _FORCED_OPEN or (seen.override is None and seen.state is _OPEN)

    def _spent(self) -> float:
        return self._loop.time() - self._started

    def _time_is_up(self) -> bool:
        return what_remains(total_of(self._session, self._options), self._spent()) is None

    async def _raise_for_status(self, response: ClientResponse) -> None:
        check: bool | Callable[[ClientResponse], Awaitable[None]] | None = self._check
        if check is None:
            check = self._session.raise_for_status
        if not check:
            return
        try:
            if callable(check):
                await check(response)
            else:
                response.raise_for_status()
        except BaseException:
            response.close()
            raise
