"""Breakers for every request of an ``aiohttp.ClientSession``, one a host and port."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

from breakers.client.attempts import acquire, arm, disarm, settle_limited, settle_with_body
from breakers.client.hosts import Hosts, name_of
from breakers.client.link import get_circuit_breaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig

Naming = Callable[[ClientRequest], str]


def aiohttp_middleware(
    name: Naming | None = None,
    config: CircuitBreakerConfig | None = None,
    http: HttpConfig | None = None,
    *,
    max_breakers: int = 1000,
    idle_after: float = 600.0,
) -> ClientMiddlewareType:
    """For ``ClientSession(middlewares=[...])``: each attempt on the wire goes through the breaker of its host and port.

    Redirects and aiohttp's own second attempts are attempts too. Hosts come and go: of their breakers the registry
    keeps at most ``max_breakers``, and forgets each ``idle_after`` seconds after its last use. ``name(request)`` names
    the breaker instead, and then none is forgotten. Raises :class:`~breakers.client.http.HttpCircuitBreakerOpenError`.
    """
    rules = http or HttpConfig()
    hosts = Hosts(config, rules, max_breakers, idle_after)

    async def guard(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        # one coroutine: what aiohttp takes for any middleware is already most of what this costs
        if name is None:
            url = request.url
            breaker = hosts.named(name_of(url.raw_host, url.port), time.monotonic())
        else:
            breaker = get_circuit_breaker(name(request), config, http=rules)
        if breaker.http_config is None:
            breaker.set_http(rules)
        permit = acquire(breaker)
        deadline = arm(breaker.config.timeout)
        try:
            response = await handler(request)
        except BaseException as error:
            late = settle_limited(breaker, permit, deadline, TimeoutError() if _time_is_up(request) else error)
            if late is not None:
                raise late from error
            raise
        disarm(deadline)
        settle_with_body(breaker, permit, response, breaker.http_config or rules, partial(_time_is_up, request))
        return response

    return guard


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
