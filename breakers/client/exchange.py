"""One request of a caller: its attempts, each through the breaker, and the waits between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from breakers.client.attempts import (
    CLOSED,
    acquire,
    arm,
    disarm,
    name_the_limit,
    notable,
    settle_answer,
    settle_late,
    settle_limited,
    settle_with_body,
    struck,
)
from breakers.client.limits import bounded, time_is_up, total_of, what_remains
from breakers.client.pauses import pause
from breakers.client.retries import TRANSIENT, deserves_another, may_send_again, wait_before
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import HttpConfig
from breakers.core.deadlines import Deadline
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.gate import Gate
from breakers.core.latency import HIGHS, LOWS
from breakers.core.states import Outcome, Permit

if TYPE_CHECKING:
    from aiohttp.typedefs import StrOrURL

SUCCESS = Outcome.SUCCESS
_DEFAULT = HttpConfig()


async def fetch(
    breaker: CircuitBreaker,
    session: ClientSession,
    method: str,
    url: StrOrURL,
    stream: bool,
    options: Any,  # a dict of those of ClientSession.request, ours to change; a cast would cost a frame
) -> ClientResponse:
    """The last attempt's response, or its exception; what came before is released.

    One long function, because a healthy request pays for every frame; what only the others need is elsewhere.
    """
    http = breaker._fleet_http or breaker._code_http or _DEFAULT
    check = options.pop("raise_for_status", None)
    limits = total_of(session, options) if "timeout" in options else session.timeout
    deadline: Deadline | None = None
    further: Further | None = None
    ended: ClientResponse | Exception
    # through the gate as breaker.call() goes: a permit made and settled is a third of what a breaker costs here
    machine, clock = breaker._machine, breaker._clock
    began = clock()
    whole, started = limits, began if clock is monotonic else monotonic()
    gate = machine.gate
    entry: Gate | Permit | None = gate or acquire(breaker)
    while entry is not None:
        try:
            if stream:
                deadline = arm(machine.config.timeout)  # up to the headers; aiohttp's timer goes on to the body's end
            else:
                options["timeout"] = bounded(limits, machine.config.timeout)  # kept by aiohttp's own timer, for nothing
            ended = response = await session.request(method, url, raise_for_status=False, **options)
            if not stream:
                await response.read()
        except BaseException as error:
            if not stream and options.get("timeout") is not limits:
                name_the_limit(breaker, error)
            told = CLOSED if session.closed and isinstance(error, Exception) else error
            late = settle_limited(breaker, permit_of(entry, began), disarm(deadline), told)
            if late is not None:
                late.__cause__, error = error, late
            if not isinstance(error, TRANSIENT):
                raise
            if session.closed:
                raise error  # which may be that it is late
            ended = error
        else:
            if stream:
                if struck(deadline):
                    settle_late(breaker, permit_of(entry, began))
                else:
                    late_too = partial(time_is_up, whole, started)
                    settle_with_body(breaker, permit_of(entry, began), response, http, late_too)
            elif (
                response.status not in notable(http.failure_statuses, http.retry_statuses)
                and breaker._failure_if is None
            ):
                if gate is None:
                    breaker.settle(permit_of(entry, began), SUCCESS)
                    break
                end = clock()
                took, bucket = end - began, gate.near
                while took > HIGHS[bucket]:
                    bucket += 1
                while took <= LOWS[bucket]:
                    bucket -= 1
                gate.near = bucket
                # one stretch without a call or a loop, see Gate
                if machine.gate is gate and took <= gate.free:
                    gate.latency[bucket] += 1
                    machine.streak = 0
                    machine.last_success = end
                else:
                    breaker._succeed(gate, began, end)
                break
            else:
                settle_answer(breaker, permit_of(entry, began), response, http)
                if response.status == 101:  # who wants what follows asks for a stream
                    response.close()
        if further is None:
            further = Further(breaker, http, method, options, whole, started)
        (entry, limits), gate = await further.permit(ended), None
    if isinstance(ended, Exception):
        try:
            raise ended
        finally:
            del ended  # its traceback holds this frame
    check = session.raise_for_status if check is None else check
    if check:
        await _raise_for_status(ended, check)
    return ended


def permit_of(entry: Gate | Permit, began: float) -> Permit:
    """A permit that can be settled, for a call that was let in by ``entry`` at ``began`` on the breaker's clock."""
    return entry if isinstance(entry, Permit) else Permit(entry.epoch, began)


class Further:
    """What may follow the first attempt of one request."""

    __slots__ = ("_attempts", "_breaker", "_http", "_limits", "_method", "_options", "_started")

    def __init__(
        self,
        breaker: CircuitBreaker,
        http: HttpConfig,
        method: str,
        options: dict[str, Any],
        limits: ClientTimeout,
        started: float,
    ) -> None:
        self._started = started
        self._breaker = breaker
        self._http = http
        self._method = method
        self._options = options
        self._limits = limits
        self._attempts = 1

    async def permit(self, ended: ClientResponse | Exception) -> tuple[Permit | None, ClientTimeout]:
        """A permit for the attempt after the one that ended so, with its limits; none when this one stands."""
        http = self._http
        if (
            self._attempts > http.max_retries
            or not deserves_another(http, ended)
            or not may_send_again(http, self._method, self._options)
        ):
            return None, self._limits
        try:
            permit, limits = await self._wait(wait_before(http, self._attempts, ended))
        except BaseException:
            if isinstance(ended, ClientResponse):
                ended.close()
            raise
        if permit is not None and isinstance(ended, ClientResponse):
            ended.release()
        self._attempts += 1
        return permit, limits

    async def _wait(self, seconds: float) -> tuple[Permit | None, ClientTimeout]:
        """Not past the caller's own limit, and only while the breaker lets through."""
        limits = self._limits
        if what_remains(limits, self._spent() + seconds) is None or not await pause(self._breaker, seconds):
            return None, limits
        remaining = what_remains(limits, self._spent())
        if remaining is None:
            return None, limits
        self._options["timeout"] = remaining
        with suppress(CircuitBreakerOpenError):
            return self._breaker.acquire(), remaining
        return None, limits

    def _spent(self) -> float:
        return monotonic() - self._started


async def _raise_for_status(
    response: ClientResponse, check: bool | Callable[[ClientResponse], Awaitable[None]]
) -> None:
    try:
        if callable(check):
            await check(response)
        else:
            response.raise_for_status()
    except BaseException:
        response.close()
        raise
