"""Breakers for every request of an ``aiohttp.ClientSession``, one a host and port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from threading import get_ident
from time import monotonic

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

from breakers.client.attempts import acquire, arm, disarm, settle_limited, settle_with_body, statuses, take_back
from breakers.client.hosts import Hosts, name_of
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.deadlines import current_task, queue_for
from breakers.core.states import Permit

Naming = Callable[[ClientRequest], str]


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
    registry keeps at most ``max_breakers``, and forgets each ``idle_after`` seconds after its last use, but never one
    that the program asks for itself. Raises :class:`~breakers.client.http.HttpCircuitBreakerOpenError`.
    """
    rules = http or HttpConfig()
    hosts = Hosts(config, rules, max_breakers, idle_after, strict=name is not None)
    seats = hosts.seats

    async def guard(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        # one coroutine: what aiohttp takes for any middleware is already most of what this may cost; the gate and the
        # deadline are used as breaker.call() uses them
        key: Hashable
        if name is None:
            url = request.url
            key = (url.raw_host, url.port)
        else:
            key = name(request)
        start = monotonic()
        seat = seats.get(key)
        if seat is None or seat.breaker._owner is None or start - seat.used > idle_after:
            seat = hosts.find(key, name_of(*key) if isinstance(key, tuple) else key, start)
        seat.used = start
        breaker = seat.breaker
        machine = breaker._machine
        gate = machine.gate
        if gate is None or gate.timeout is None or breaker._clock is not monotonic:
            return await _guarded(breaker, request, handler)
        queue = gate.queue
        if queue is None or queue.runner._thread_id != get_ident():
            queue = gate.queue = queue_for(asyncio.get_running_loop(), gate.timeout, monotonic)
        task, entries = current_task(queue.loop), queue.entries
        if task is None or task in entries:
            return await _guarded(breaker, request, handler)
        cancelling = task.cancelling()
        entries[task] = start if queue.shared else queue.loop.time()
        if not queue.armed:
            queue.arm()
        try:
            response = await handler(request)
        except BaseException as error:
            struck = entries.pop(task, None) is None and take_back(task, cancelling)
            _fail(breaker, Permit(gate.epoch, start), struck, request, error)
            raise
        if entries.pop(task, None) is None:
            take_back(task, cancelling)
        rules_now = breaker._fleet_http or breaker._code_http or rules
        if response.connection is not None or response.status in statuses(rules_now.failure_statuses):
            _answer(breaker, Permit(gate.epoch, start), request, response)
            return response
        end = monotonic()
        # one stretch without a call or a loop, see Gate
        if machine.gate is gate and gate.low < end - start <= gate.high:
            gate.latency[gate.bucket] += 1
            machine.streak = 0
            machine.last_success = end
        else:
            breaker._succeed(gate, start, end)
        return response

    return guard


async def _guarded(breaker: CircuitBreaker, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """With a permit of the breaker's: while it is not plainly closed, or the deadline needs an entry of its own."""
    permit = acquire(breaker)
    deadline = arm(breaker.config.timeout)
    try:
        response = await handler(request)
    except BaseException as error:
        _fail(breaker, permit, disarm(deadline), request, error)
        raise
    disarm(deadline)
    _answer(breaker, permit, request, response)
    return response


def _fail(breaker: CircuitBreaker, permit: Permit, struck: bool, request: ClientRequest, error: BaseException) -> None:
    """Settles; raises where a deadline has cancelled the attempt."""
    late = settle_limited(breaker, permit, struck, TimeoutError() if _time_is_up(request) else error)
    if late is not None:
        raise late from error


def _answer(breaker: CircuitBreaker, permit: Permit, request: ClientRequest, response: ClientResponse) -> None:
    rules = breaker.http_config or HttpConfig()
    settle_with_body(breaker, permit, response, rules, partial(_time_is_up, request))


def _time_is_up(request: ClientRequest) -> bool:
    """Whether the limit of the whole request has passed.

    aiohttp shows that to middlewares as a cancellation, as it shows a caller who left; only its own timer tells the two
    apart, and a host that swallows packets must not pass for the latter.
    """
    try:
        request._timer.assert_timeout()
    except TimeoutError:
        return True
    return False
