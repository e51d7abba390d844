"""Breakers for programs that use httpx, by the rules of the aiohttp ones; needs the extra ``httpx``::

    transport = CircuitBreakerTransport("data_service")
    with httpx.Client(transport=transport) as client: ...

    transport = AsyncCircuitBreakerTransport("data_service")
    async with httpx.AsyncClient(transport=transport) as client: ...

What goes over the wire is counted: each redirect and each retry takes a permit of its own. The body counts too: an
attempt is settled when its body has ended, failed or been let go of, at once where the status is a failure.
"""

from __future__ import annotations

import asyncio

import httpx

from breakers.client.httpx_attempts import (
    TRANSIENT,
    AsyncBody,
    Body,
    Breakers,
    Ended,
    HttpxCircuitBreakerOpenError,
    HttpxCircuitBreakerTimeout,
    Naming,
    acquire,
    acquire_again,
    bounded,
    may_follow,
    settle_error,
    settle_failed,
    settle_late,
    wait_before,
)
from breakers.client.pauses import pause, pause_sync
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import Permit

__all__ = [
    "AsyncCircuitBreakerTransport",
    "CircuitBreakerTransport",
    "HttpxCircuitBreakerOpenError",
    "HttpxCircuitBreakerTimeout",
]


class CircuitBreakerTransport(httpx.BaseTransport):
    """Around ``transport`` (default: httpx's own), for plain functions; any number of threads may share it.

    ``name`` names one breaker of the registry, or is a function that names it by the request; without it each host and
    port has its own: the registry keeps at most ``max_breakers``, a closed one until ``idle_after`` seconds after its
    last use.

    A plain function cannot be stopped from outside, so the breaker's ``timeout`` bounds what httpx waits for up to the
    headers: to connect, to write and to read have it together. Who sends its headers byte by byte can take longer, as
    httpx reads them all with the limit of the first; that counts as a timeout when they are here. Raises what httpx
    raises, and :class:`HttpxCircuitBreakerOpenError`.
    """

    def __init__(
        self,
        name: str | Naming | None = None,
        config: CircuitBreakerConfig | None = None,
        http: HttpConfig | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        max_breakers: int = 1000,
        idle_after: float = 600.0,
    ) -> None:
        self._breakers = Breakers(name, config, http, max_breakers, idle_after)
        self._transport = transport or httpx.HTTPTransport()

    def close(self) -> None:
        self._transport.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        breaker, http = self._breakers.of(request)
        attempt, permit = 1, acquire(breaker)
        while True:
            ended = self._attempt(breaker, permit, http, request)
            again = may_follow(http, request, ended, attempt) and self._pause(breaker, http, attempt, ended)
            following = acquire_again(breaker) if again else None
            if following is None:
                break
            if isinstance(ended, httpx.Response):
                ended.close()
            attempt, permit = attempt + 1, following
        if isinstance(ended, Exception):
            try:
                raise ended
            finally:
                del ended  # its traceback holds this frame
        return ended

    def _attempt(self, breaker: CircuitBreaker, permit: Permit, http: HttpConfig, request: httpx.Request) -> Ended:
        try:
            with bounded(request, breaker.config.timeout) as waits:
                response = self._transport.handle_request(request)
                late = waits is not None and waits.is_over
        except BaseException as error:
            settle_error(breaker, permit, error)
            if isinstance(error, TRANSIENT):
                return error
            raise
        response.request = request
        if late:
            settle_late(breaker, permit)
        elif not settle_failed(breaker, permit, http, response):
            assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101  # as httpx's own client does
            response.stream = Body(response.stream, breaker, permit)
        return response

    def _pause(self, breaker: CircuitBreaker, http: HttpConfig, attempt: int, ended: Ended) -> bool:
        try:
            return pause_sync(breaker, wait_before(http, attempt, ended))
        except BaseException:
            if isinstance(ended, httpx.Response):
                ended.close()
            raise


class AsyncCircuitBreakerTransport(httpx.AsyncBaseTransport):
    """The same for coroutines, on asyncio; the breaker's ``timeout`` covers one attempt up to its headers."""

    def __init__(
        self,
        name: str | Naming | None = None,
        config: CircuitBreakerConfig | None = None,
        http: HttpConfig | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        max_breakers: int = 1000,
        idle_after: float = 600.0,
    ) -> None:
        self._breakers = Breakers(name, config, http, max_breakers, idle_after)
        self._transport = transport or httpx.AsyncHTTPTransport()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        breaker, http = self._breakers.of(request)
        attempt, permit = 1, acquire(breaker)
        while True:
            ended = await self._attempt(breaker, permit, http, request)
            again = may_follow(http, request, ended, attempt) and await self._pause(breaker, http, attempt, ended)
            following = acquire_again(breaker) if again else None
            if following is None:
                break
            if isinstance(ended, httpx.Response):
                await ended.aclose()
            attempt, permit = attempt + 1, following
        if isinstance(ended, Exception):
            try:
                raise ended
            finally:
                del ended  # its traceback holds this frame
        return ended

    async def _attempt(
        self, breaker: CircuitBreaker, permit: Permit, http: HttpConfig, request: httpx.Request
    ) -> Ended:
        try:
            response = await self._limited(request, breaker.config.timeout)
        except BaseException as error:
            settle_error(breaker, permit, error)
            if isinstance(error, TRANSIENT):
                return error
            raise
        response.request = request
        if not settle_failed(breaker, permit, http, response):
            assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101  # as httpx's own client does
            response.stream = AsyncBody(response.stream, breaker, permit)
        return response

    async def _limited(self, request: httpx.Request, limit: float | None) -> httpx.Response:
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                return await self._transport.handle_async_request(request)
        except TimeoutError as error:
            if deadline.expired():
                raise HttpxCircuitBreakerTimeout(f"no answer within {limit:g} s") from error
            raise

    async def _pause(self, breaker: CircuitBreaker, http: HttpConfig, attempt: int, ended: Ended) -> bool:
        try:
            return await pause(breaker, wait_before(http, attempt, ended))
        except BaseException:
            if isinstance(ended, httpx.Response):
                await ended.aclose()
            raise
