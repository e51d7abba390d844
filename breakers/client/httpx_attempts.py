"""One attempt of httpx on the wire: its breaker, what it proves, and whether another may follow."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf

import httpx

from breakers.client.attempts import DROPPED, statuses
from breakers.client.hosts import Hosts, name_of
from breakers.client.link import get_circuit_breaker
from breakers.client.retries import IDEMPOTENT, wait_after
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState, Outcome, Permit

Naming = Callable[[httpx.Request], str]
Ended = httpx.Response | Exception

_NOT_SENT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.PoolTimeout, CircuitBreakerOpenError)
"""Nothing went out: a wrong address or request, no free connection of our own, or a breaker further inside."""
TRANSIENT = (httpx.TransportError, TimeoutError, OSError)


class HttpxCircuitBreakerOpenError(CircuitBreakerOpenError, httpx.ConnectError):
    """A rejection that handlers of httpx's errors already catch; the request was not sent."""

    def __init__(
        self, name: str, state: CircuitBreakerState, reason: str | None = None, retry_after: float | None = None
    ) -> None:
        httpx.ConnectError.__init__(self, name)  # it keeps the request
        CircuitBreakerOpenError.__init__(self, name, state, reason, retry_after)


class HttpxCircuitBreakerTimeout(httpx.TimeoutException, TimeoutError):
    """No response within the breaker's ``timeout``."""


class Breakers:
    """Which breaker guards a request, and by which HTTP rules."""

    def __init__(
        self,
        name: str | Naming | None,
        config: CircuitBreakerConfig | None,
        http: HttpConfig | None,
        max_breakers: int,
        idle_after: float,
    ) -> None:
        self._name, self._config, self._http = name, config, http or HttpConfig()
        self._hosts = Hosts(config, self._http, max_breakers, idle_after)

    def of(self, request: httpx.Request) -> tuple[CircuitBreaker, HttpConfig]:
        if self._name is None:
            url = request.url
            port = url.port or {"http": 80, "https": 443}.get(url.scheme)
            breaker = self._hosts.named(name_of(url.host, port), time.monotonic())
        else:
            name = self._name if isinstance(self._name, str) else self._name(request)
            breaker = get_circuit_breaker(name, self._config, http=self._http)
        if breaker.http_config is None:
            breaker.set_http(self._http)
        return breaker, breaker.http_config or HttpConfig()


def acquire(breaker: CircuitBreaker) -> Permit:
    try:
        return breaker.acquire()
    except CircuitBreakerOpenError as error:
        raise HttpxCircuitBreakerOpenError(error.name, error.state, error.reason, error.retry_after) from None


def acquire_again(breaker: CircuitBreaker) -> Permit | None:
    try:
        return breaker.acquire()
    except CircuitBreakerOpenError:
        return None


class Waits(dict[str, float | None]):
    """The limits of httpx's single waits, by what it waits for; httpx asks :meth:`get` before each.

    Until :meth:`lift` none is longer than what is left of ``most`` seconds, but that for a connection of the pool.
    """

    def __init__(
        self, given: Mapping[str, float | None], most: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(given)
        self._clock = clock
        self._end = clock() + most

    def get(self, wait: str, default: float | None = None) -> float | None:  # type: ignore[override]  # of these keys
        given = super().get(wait, default)
        if wait not in _BOUNDED or self._end == inf:
            return given
        left = max(self._end - self._clock(), _LEAST)
        return left if given is None else min(left, given)

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end

    def lift(self) -> None:
        """The body's waits are the caller's again."""
        self._end = inf


_BOUNDED = frozenset({"connect", "write", "read"})
_LEAST = 0.001
"""A wait of 0 s would be no wait to a socket, and its error not a timeout."""


@contextmanager
def bounded(request: httpx.Request, most: float | None) -> Iterator[Waits | None]:
    """Inside, what httpx waits for ``request`` is at most ``most`` seconds, each wait by what the ones before left."""
    if most is None:
        yield None
        return
    waits = request.extensions["timeout"] = Waits(request.extensions.get("timeout", {}), most)
    try:
        yield waits
    finally:
        waits.lift()


def settle_late(breaker: CircuitBreaker, permit: Permit) -> None:
    """Headers that came after the limit, byte by byte: as of ``breaker.call()`` a timeout, and the caller has them."""
    error = HttpxCircuitBreakerTimeout(f"no answer within {breaker.config.timeout:g} s")
    breaker.settle(permit, Outcome.FAILURE, error=error, timed_out=True)


def settle_error(breaker: CircuitBreaker, permit: Permit, error: BaseException) -> None:
    if isinstance(error, TRANSIENT) and not isinstance(error, _NOT_SENT):
        timed_out = isinstance(error, httpx.TimeoutException | TimeoutError)
        breaker.settle(permit, breaker.judge(error), error=error, timed_out=timed_out)
    else:
        breaker.settle(permit, Outcome.NEUTRAL)


def settle_failed(breaker: CircuitBreaker, permit: Permit, http: HttpConfig, response: httpx.Response) -> bool:
    """Settles where the status is a failure; False: the body decides."""
    status = response.status_code
    if status not in statuses(http.failure_statuses):
        return False
    request = response.request
    error = httpx.HTTPStatusError(
        f"{status} {response.reason_phrase}, {request.url}", request=request, response=response
    )
    breaker.settle(permit, Outcome.FAILURE, error=error)
    return True


def settle_closed(breaker: CircuitBreaker, permit: Permit) -> None:
    """Its reader let go of the body: it answered well, unless httpx could not decode it or the reader was dropped."""
    why = sys.exception()
    if isinstance(why, httpx.DecodingError):
        breaker.settle(permit, breaker.judge(why), error=why)
    else:
        breaker.settle(permit, Outcome.NEUTRAL if isinstance(why, DROPPED) else Outcome.SUCCESS)


def may_follow(http: HttpConfig, request: httpx.Request, ended: Ended, attempt: int) -> bool:
    """Whether attempt ``attempt`` + 1 may come: by the method, by what the request carries, by what ended this one."""
    return (
        attempt <= http.max_retries
        and _is_passing(http, ended)
        and (http.retry_non_idempotent or request.method.upper() in IDEMPOTENT)
        and isinstance(request.stream, httpx.ByteStream)  # anything else can be read only once
    )


def _is_passing(http: HttpConfig, ended: Ended) -> bool:
    if isinstance(ended, Exception):
        return not isinstance(ended, (*_NOT_SENT, httpx.ProxyError))
    return ended.status_code in statuses(http.retry_statuses)


def wait_before(http: HttpConfig, attempt: int, ended: Ended) -> float:
    return wait_after(http, attempt, None if isinstance(ended, Exception) else ended.headers)


class Body(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, breaker: CircuitBreaker, permit: Permit) -> None:
        self._inner, self._breaker, self._permit = inner, breaker, permit

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except GeneratorExit:
            raise  # close() will say
        except BaseException as error:
            settle_error(self._breaker, self._permit, error)
            raise
        self._breaker.settle(self._permit, Outcome.SUCCESS)

    def close(self) -> None:
        settle_closed(self._breaker, self._permit)
        self._inner.close()


class AsyncBody(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, breaker: CircuitBreaker, permit: Permit) -> None:
        self._inner, self._breaker, self._permit = inner, breaker, permit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except GeneratorExit:
            raise  # aclose() will say
        except BaseException as error:
            settle_error(self._breaker, self._permit, error)
            raise
        self._breaker.settle(self._permit, Outcome.SUCCESS)

    async def aclose(self) -> None:
        settle_closed(self._breaker, self._permit)
        await self._inner.aclose()
