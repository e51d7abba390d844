"""Whose time limit an attempt keeps: the caller's for all of them, the breaker's for each."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from math import inf

import aiohttp
import pytest
from aiohttp import ClientTimeout

from breakers import CircuitBreaker, CircuitBreakerConfig, HttpCircuitBreaker, HttpConfig
from breakers.client.attempts import arm, disarm
from breakers.client.limits import bounded
from tests.misbehaving import Server, hangs, hangs_mid_body


@pytest.mark.parametrize(
    ("total", "most", "found"),
    [(300, 30.0, 30.0), (None, 30.0, 30.0), (0, 30.0, 30.0), (10, 30.0, 10), (30.0, 30.0, 30.0), (300, None, 300)],
)
def test_the_shorter_limit_binds(total: float | None, most: float | None, found: float) -> None:
    limits = ClientTimeout(total=total, connect=1.5, sock_read=2.5, sock_connect=3.5)
    for _ in range(2):  # the second answer is remembered
        kept = bounded(limits, most)
        assert kept.total == found
        assert (kept.connect, kept.sock_read, kept.sock_connect) == (1.5, 2.5, 3.5)
        assert kept.ceil_threshold == (5 if kept is limits else inf)  # aiohttp would put 30 s off to a whole second


def test_limits_of_two_sessions_are_not_mixed_up() -> None:
    first, second = ClientTimeout(total=10), ClientTimeout(total=20)
    for _ in range(3):
        assert [bounded(limits, most).total for limits in (first, second) for most in (30.0, 5.0, None)] == [
            10, 5.0, 10, 20, 5.0, 20,
        ]  # fmt: skip


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
@pytest.mark.parametrize("given", [{}, {"timeout": ClientTimeout(total=None)}])
async def test_the_breakers_limit_ends_an_attempt_with_its_body(
    server: Server, session: aiohttp.ClientSession, step: object, given: dict[str, ClientTimeout]
) -> None:
    server.script(step)  # type: ignore[arg-type]  # pytest's parameters have no types
    http = HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(timeout=0.05)), HttpConfig(max_retries=0))
    with pytest.raises(TimeoutError):
        await http.get(session, server.url, **given)
    metrics = http.get_metrics()
    assert (metrics["failures_total"], metrics["timeouts_total"]) == (1, 1)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # a test is a task


async def test_a_struck_deadline_takes_back_its_own_request_and_no_other() -> None:
    task = asyncio.current_task()
    assert task is not None
    for others in (0, 1):
        deadline = arm(600.0)
        assert deadline is not None
        for _ in range(others):
            task.cancel()
        del deadline.queue.entries[deadline]  # what its timer does when it strikes
        deadline.cancel()
        assert disarm(deadline) is (others == 0)
        assert task.cancelling() == others
        taken_back = not others and sys.version_info >= (
            3,
            13,
        )  # since then uncancel() also withdraws what is on its way
        with nullcontext() if taken_back else pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        while task.cancelling():
            task.uncancel()
    assert disarm(arm(600.0)) is False
    assert disarm(arm(None)) is False


async def test_a_shorter_limit_of_the_caller_counts_too(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(hangs)
    http = HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(timeout=600)))
    with pytest.raises(TimeoutError):
        await http.get(session, server.url, timeout=ClientTimeout(total=0.05))
    assert http.get_metrics()["timeouts_total"] == 1
    assert len(server.requests) <= 1  # no time is left for another; on a busy machine not even for the first to arrive
