"""What a healthy request counts without the lock, by way of the breaker's gate, and when it may not."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerState, HttpCircuitBreaker, HttpConfig
from breakers.core.latency import BOUNDS, LatencyHistogram, upper_bound
from breakers.testing import FakeClock, fresh_registry
from tests.misbehaving import Server, Step, answers

WAYS = pytest.mark.parametrize("way", ["http.get", "middleware"])
NAME = "counted"
FINE, SICK = answers(200), answers(500)


async def ask(way: str, url: str, config: CircuitBreakerConfig, server: Server, *steps: Step) -> None:
    """One request for each step, through the breaker ``NAME``."""
    http = breakers.get_http_circuit_breaker(NAME, config, HttpConfig(max_retries=0))
    guards = (breakers.aiohttp_middleware(lambda request: NAME),) if way == "middleware" else ()
    async with aiohttp.ClientSession(middlewares=guards) as session:
        for step in steps:
            server.script(step)
            async with session.get(url) if guards else http.get(session, url) as response:
                await response.read()


def metrics() -> dict[str, object]:
    return breakers.get_circuit_breaker(NAME).get_metrics()


@WAYS
async def test_successes_push_failures_out_of_a_window_that_was_full_of_successes(server: Server, way: str) -> None:
    config = CircuitBreakerConfig(failure_threshold=0, failure_rate_threshold=0.75, window_size=4, minimum_calls=4)
    with fresh_registry():
        await ask(way, server.url, config, server, *[FINE] * 8, SICK, SICK, FINE, FINE, FINE, SICK)
        assert breakers.get_circuit_breaker(NAME).state is CircuitBreakerState.CLOSED
        window = metrics()["window"]
        assert isinstance(window, dict)
        assert (window["calls"], window["failures"]) == (4, 1)
        await ask(way, server.url, config, server, SICK, SICK)
        assert breakers.get_circuit_breaker(NAME).state is CircuitBreakerState.OPEN


@WAYS
async def test_a_slow_answer_is_counted_as_slow_however_many_fast_ones_came_before(server: Server, way: str) -> None:
    config = CircuitBreakerConfig(slow_call_duration=0.2)

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.21)
        return await FINE(request)

    with fresh_registry():
        await ask(way, server.url, config, server, *[FINE] * 4)
        before = metrics()["slow_total"]
        await ask(way, server.url, config, server, slow)
        assert isinstance(before, int)
        assert metrics()["slow_total"] == before + 1
        assert metrics()["successes_total"] == 5


@WAYS
async def test_a_success_ends_a_streak_of_failures(server: Server, way: str) -> None:
    config = CircuitBreakerConfig(failure_threshold=2)
    with fresh_registry():
        await ask(way, server.url, config, server, FINE, FINE, SICK, FINE, SICK)
        assert metrics()["consecutive_failures"] == 1
        assert (metrics()["successes_total"], metrics()["failures_total"]) == (3, 2)


@WAYS
async def test_each_answer_is_in_the_bucket_of_what_it_took(server: Server, way: str) -> None:
    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return await FINE(request)

    with fresh_registry():
        await ask(way, server.url, CircuitBreakerConfig(), server, FINE, late, late, late, *[FINE] * 5)
        counts = LatencyHistogram(breakers.get_circuit_breaker(NAME).snapshot().latency)
        slowest = sum(count for bucket, count in counts.counts.items() if upper_bound(bucket) >= 0.1)
        assert 3 <= slowest < 8, "the late ones are among the slow, and those after them are not"
        assert counts.total == 9


async def test_the_bucket_is_found_wherever_the_one_before_was(server: Server) -> None:
    clock = FakeClock(0.0)
    lasting = iter(durations := [5e5, 0.003, 1e-7, 90.0, 0.0, BOUNDS[40], 5e5, BOUNDS[40], BOUNDS[41], 0.003])

    async def takes(request: web.Request) -> web.StreamResponse:
        clock.advance(next(lasting))
        return await FINE(request)

    server.script(takes)
    http = HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(name=NAME, timeout=None), clock=clock))
    expected = LatencyHistogram()
    async with aiohttp.ClientSession() as session:
        for took in durations:
            clock.now = 0.0  # so that no rounding blurs the bounds
            await http.get(session, server.url)
            expected.record(took)
    assert http.breaker.snapshot().latency == expected.to_counts()
