"""Predicates that stop the program: they stop it, and leave nothing behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from breakers.core.states import CircuitBreakerState

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN

PREDICATES = ["ignore", "record", "failure_if"]
RESULTS_TOO = ["call", "call_sync", "decorated"]
WAYS = [*RESULTS_TOO, "with", "async with", "generator", "async generator"]


def stop(_: object) -> bool:
    sys.exit(3)


async def take(breaker, way: str, which: str) -> None:
    """One call that ends as ``which`` predicate is asked about."""

    def end() -> int:
        if which == "failure_if":
            return 503
        raise ConnectionError

    async def awaited() -> int:
        return end()

    def items() -> Iterator[int]:
        yield end()

    async def items_awaited() -> AsyncIterator[int]:
        yield end()

    if way == "call":
        await breaker.call(awaited)
    elif way == "call_sync":
        breaker.call_sync(end)
    elif way == "decorated":
        await breaker(awaited)()
    elif way == "with":
        with breaker:
            end()
    elif way == "async with":
        async with breaker:
            end()
    elif way == "generator":
        next(breaker(items)())
    else:
        await anext(breaker(items_awaited)())


CASES = [(which, way) for which in PREDICATES for way in (RESULTS_TOO if which == "failure_if" else WAYS)]


@pytest.mark.parametrize("limit", [None, 30.0])
@pytest.mark.parametrize(("which", "way"), CASES)
async def test_the_call_is_no_evidence(make, which, way, limit) -> None:
    breaker = make(failure_threshold=1, timeout=limit, **{which: stop})
    with pytest.raises(SystemExit):
        await take(breaker, way, which)
    metrics = breaker.get_metrics()
    assert (breaker.state, metrics["requests_total"], metrics["ignored_total"]) == (CLOSED, 1, 1)


@pytest.mark.parametrize("limit", [None, 30.0])
@pytest.mark.parametrize(("which", "way"), CASES)
async def test_a_probe_gives_its_slot_back(make, clock, which, way, limit) -> None:
    breaker = make(failure_threshold=1, success_threshold=1, timeout=limit, **{which: stop})
    breaker._place(OPEN, "for this test")
    clock.advance(60.0)
    with pytest.raises(SystemExit):
        await take(breaker, way, which)
    assert breaker.state is HALF_OPEN
    with breaker:
        pass
    assert (breaker.state, breaker.get_metrics()["ignored_total"]) == (CLOSED, 1)


@pytest.mark.parametrize("which", PREDICATES)
@pytest.mark.parametrize("forced", [False, True])  # with the lock, and without
async def test_no_deadline_stays_behind_to_cancel_the_task_later(make, which, forced) -> None:
    breaker = make(timeout=0.02, **{which: stop})
    if forced:
        breaker.force_closed()
    with pytest.raises(SystemExit):
        await take(breaker, "call", which)
    breaker.configure(replace(breaker.config, timeout=0.04))

    async def for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):  # a later deadline, whose timer comes after the first one would have struck
        await breaker.call(for_ever)
    assert asyncio.current_task().cancelling() == 0
