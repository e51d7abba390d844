"""Guarded bodies inside generators: whoever resumes one lends it a context."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from breakers.core.guards import _in_generators, innermost
from breakers.core.states import CircuitBreakerState

CLOSED, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.HALF_OPEN


def counts(breaker) -> tuple[int, int, int]:
    view = breaker.get_metrics()
    return view["successes_total"], view["failures_total"], view["ignored_total"]


def open_then_due(breaker, calls, clock) -> None:
    calls.fail(breaker)
    clock.advance(60.0)


def test_bodies_of_in_generators_that_interleave_in_one_context_are_told_apart(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)

    def guarded() -> Iterator[None]:
        with breaker:
            yield

    from_before, probe = guarded(), guarded()
    next(from_before)
    open_then_due(breaker, calls, clock)
    next(probe)
    next(from_before, None)
    assert (breaker.state, breaker.get_metrics()["late_total"]) == (HALF_OPEN, 1)
    next(probe, None)
    assert breaker.state is CLOSED


@pytest.mark.parametrize("limit", [None, 30.0])
async def test_bodies_of_async_in_generators_that_interleave_in_one_task_are_told_apart(
    make, calls, clock, limit
) -> None:
    breaker = make(failure_threshold=1, success_threshold=1, timeout=limit)

    async def guarded() -> AsyncIterator[None]:
        async with breaker:
            yield

    from_before, probe = guarded(), guarded()
    await anext(from_before)
    open_then_due(breaker, calls, clock)
    await anext(probe)
    await anext(from_before, None)
    assert (breaker.state, breaker.get_metrics()["late_total"]) == (HALF_OPEN, 1)
    await anext(probe, None)
    assert breaker.state is CLOSED


def test_a_readers_own_body_is_not_its_in_generators(make, calls, clock) -> None:
    breaker = make(failure_threshold=0)

    def guarded() -> Iterator[None]:
        with breaker:
            yield

    items = guarded()
    next(items)
    with breaker:  # begins and ends while the generator's stays open
        pass
    clock.advance(5.0)
    with suppress(ConnectionError), breaker:
        next(items, None)
        assert counts(breaker) == (2, 0, 0)
        raise ConnectionError
    assert counts(breaker) == (2, 1, 0)
    assert sorted(breaker.get_metrics()["latency"]["counts"].values()) == [1, 2]  # 5 s, and none twice


def test_a_generator_that_each_step_runs_in_a_context_of_its_own_ends_its_body(make) -> None:
    """As frameworks do that read a plain generator on a pool of threads."""
    breaker = make(failure_threshold=0)

    def guarded() -> Iterator[int]:
        with breaker:
            yield 1
        with breaker, breaker:
            yield 2
            raise ConnectionError

    items = guarded()
    assert contextvars.copy_context().run(next, items) == 1
    assert contextvars.copy_context().run(next, items) == 2
    with pytest.raises(ConnectionError):
        contextvars.copy_context().run(next, items)
    assert counts(breaker) == (1, 2, 0)


async def test_an_async_generator_closed_in_another_context_ends_its_body_and_strikes_nobody(make) -> None:
    """As the event loop does with one that the garbage collector found while another task ran."""
    breaker = make(timeout=0.02)

    async def guarded() -> AsyncIterator[None]:
        async with breaker:
            yield

    async def last() -> None:
        async with breaker:
            await asyncio.Event().wait()

    items = guarded()
    await anext(items)
    async with breaker:  # in the context that the closing task gets a copy of: not its own to end
        await asyncio.create_task(items.aclose())
        assert counts(breaker) == (0, 0, 1)
    assert counts(breaker) == (1, 0, 1)
    with pytest.raises(TimeoutError):  # whose deadline comes after that of the closed one
        await last()
    assert asyncio.current_task().cancelling() == 0


def test_nothing_is_kept_of_bodies_that_have_ended(make) -> None:
    breaker = make()

    def guarded() -> Iterator[None]:
        with breaker, breaker:
            yield

    for _ in range(3):
        list(guarded())
        with breaker:
            pass
    assert innermost.get() is None
    assert not any(key[1] is breaker for key in _in_generators)
