"""Breakers for every request of an ``aiohttp.ClientSession``, one a host and port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from aiohttp.helpers import BaseTimerContext
from yarl import URL

from breakers.client.attempts import (
    CLOSED,
    acquire,
    arm,
    disarm,
    settle_late,
    settle_limited,
    settle_with_body,
    statuses,
    struck,
    take_back,
)
from breakers.client.hosts import Hosts, Seat, name_of
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.deadlines import Deadline, DeadlineQueue, current_task, queue_for
from breakers.core.gate import Gate
from breakers.core.latency import HIGHS, LOWS
from breakers.core.machine import Machine
from breakers.core.states import Permit

_KNOWN_INSIDE = hasattr(ClientResponse, "_connection") and hasattr(URL, "_scheme") and hasattr(URL, "_netloc")
"""Whether aiohttp and yarl keep these where they did: asked by their properties they are a quarter of what a request
costs here. Where they are not, each request goes the longer way."""

Naming = Callable[[ClientRequest], str]
Entries = dict[asyncio.Task[Any] | Deadline, float]
Lane = tuple[Seat, Machine, Gate, asyncio.AbstractEventLoop, DeadlineQueue, Entries, int]
"""All that a request of one host needs while its breaker is plainly closed; good for as long as the gate stands. The
last is the lowest status that is a failure."""


def aiohttp_middleware(
    name: Naming | None = None,
    config: CircuitBreakerConfig | None = None,
    http: HttpConfig | None = None,
    *,
    max_breakers: int = 1000,
    idle_after: float = 600.0,
) -> ClientMiddlewareType:
    """For ``ClientSession(middlewares=[...])``: each attempt on the wire goes through the breaker of its host and port,
    or of what ``name(request)`` names.

    Redirects and aiohttp's own second attempts are attempts too. Hosts come and go: of the breakers made here the
    registry keeps at most ``max_breakers``, and forgets each that is closed ``idle_after`` seconds after its last use,
    but never one that the program asks for itself. Raises :class:`~breakers.client.http.HttpCircuitBreakerOpenError`.
    """
    rules = http or HttpConfig()
    hosts = Hosts(config, rules, max_breakers, idle_after, strict=name is not None)
    lanes: dict[str, dict[str, Lane]] = {}  # by scheme, which tells the port where the URL tells none

    async def guard(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        # one coroutine and few steps: what aiohttp takes for any middleware is already most of what this may cost; the
        # gate and the deadline are used as breaker.call() uses them
        start = monotonic()
        if name is None:
            url = request.url
            scheme, key = url._scheme, url._netloc
        else:
            scheme, key = "", name(request)
        try:
            seat, machine, gate, loop, queue, entries, suspect = lanes[scheme][key]
        except KeyError:
            return await guard_anew(request, handler, scheme, key, start)
        if machine.gate is not gate or request.loop is not loop or start - seat.used > idle_after:
            return await guard_anew(request, handler, scheme, key, start)
        seat.used = start
        task = current_task(loop)
        if task is None or task in entries:
            return await _guarded(seat.breaker, request, handler)
        cancelling = task.cancelling()
        entries[task] = start
        if not queue.armed:
            queue.arm()
        try:
            response = await handler(request)
        except BaseException as error:
            late = entries.pop(task, None) is None and take_back(task, cancelling)
            _fail(seat.breaker, Permit(gate.epoch, start), late, request, error)
            raise
        try:
            del entries[task]
        except KeyError:
            take_back(task, cancelling)
            settle_late(seat.breaker, Permit(gate.epoch, start))
            return response
        if response.status >= suspect or response._connection is not None:
            _answer(seat.breaker, Permit(gate.epoch, start), request, response)
            return response
        end = monotonic()
        took, bucket = end - start, gate.near
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
            seat.breaker._succeed(gate, start, end)
        return response

    async def guard_anew(
        request: ClientRequest, handler: ClientHandlerType, scheme: str, key: str, start: float
    ) -> ClientResponse:
        url = request.url
        seat = hosts.seat(name_of(url.raw_host, url.port) if name is None else key, start)
        known = lanes.setdefault(scheme, {})
        if len(known) >= 2 * max_breakers:  # of those dropped since, too
            known.clear()
        lane = _lane_of(seat, request)
        if lane is not None:
            known[key] = lane
        return await _guarded(seat.breaker, request, handler)

    async def guard_each(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        url = request.url
        known = hosts.named(name_of(url.raw_host, url.port) if name is None else name(request), monotonic())
        return await _guarded(known, request, handler)

    return guard if _KNOWN_INSIDE else guard_each


def _lane_of(seat: Seat, request: ClientRequest) -> Lane | None:
    """For the next request; ``None`` where each needs a permit: not plainly closed, no limit, a clock of its own."""
    breaker, loop = seat.breaker, asyncio.get_running_loop()
    machine = breaker._machine
    gate = machine.gate
    if gate is None or gate.timeout is None or breaker._clock is not monotonic or request.loop is not loop:
        return None
    queue = queue_for(loop, gate.timeout, monotonic)
    if not queue.shared:
        return None
    rules = breaker.http_config or HttpConfig()
    return seat, machine, gate, loop, queue, queue.entries, min(statuses(rules.failure_statuses), default=600)


async def _guarded(breaker: CircuitBreaker, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """With a permit of the breaker's: while it is not plainly closed, or the deadline needs an entry of its own."""
    permit = acquire(breaker)
    deadline = arm(breaker.config.timeout)
    try:
        response = await handler(request)
    except BaseException as error:
        _fail(breaker, permit, disarm(deadline), request, error)
        raise
    if struck(deadline):
        settle_late(breaker, permit)
    else:
        _answer(breaker, permit, request, response)
    return response


def _fail(breaker: CircuitBreaker, permit: Permit, struck: bool, request: ClientRequest, error: BaseException) -> None:
    """Settles; raises where a deadline has cancelled the attempt."""
    if _is_up(request._timer):
        told: BaseException = TimeoutError()
    elif request.session.closed and isinstance(error, Exception):
        told = CLOSED
    else:
        told = error
    late = settle_limited(breaker, permit, struck, told)
    if late is not None:
        raise late from error


def _answer(breaker: CircuitBreaker, permit: Permit, request: ClientRequest, response: ClientResponse) -> None:
    rules = breaker.http_config or HttpConfig()
    settle_with_body(breaker, permit, response, rules, partial(_is_up, request._timer))  # the request has the response


def _is_up(timer: BaseTimerContext) -> bool:
    """Whether the limit of the whole request has passed.

    aiohttp shows that to middlewares as a cancellation, as it shows a caller who left; only its own timer tells the two
    apart, and a host that swallows packets must not pass for the latter.
    """
    try:
        timer.assert_timeout()
    except TimeoutError:
        return True
    return False
