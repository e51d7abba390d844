"""``with`` and ``async with``: re-entrant, interleaved, shared by tasks and threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest

from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


def counts(breaker) -> tuple[int, int, int]:
    view = breaker.get_metrics()
    return view["successes_total"], view["failures_total"], view["ignored_total"]


def test_with_guards_its_body(make, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)
    with breaker as entered:
        assert entered is breaker
    with pytest.raises(ConnectionError), breaker:
        raise ConnectionError
    with pytest.raises(CircuitBreakerOpenError), breaker:
        pytest.fail("the body of a rejected call ran")
    clock.advance(60.0)
    with breaker:
        assert breaker.state is HALF_OPEN
    assert (breaker.state, counts(breaker)) == (CLOSED, (2, 1, 0))


async def test_async_with_guards_its_body(make, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1, timeout=30.0)
    async with breaker as entered:
        assert entered is breaker
    with pytest.raises(ConnectionError):
        async with breaker:
            raise ConnectionError
    with pytest.raises(CircuitBreakerOpenError):
        async with breaker:
            pytest.fail("the body of a rejected call ran")
    clock.advance(60.0)
    async with breaker:
        assert breaker.state is HALF_OPEN
    assert (breaker.state, counts(breaker)) == (CLOSED, (2, 1, 0))


async def test_ignored_exceptions_and_cancellation_leave_a_body_neutral(make) -> None:
    breaker = make(ignore=KeyError)
    with suppress(KeyError), breaker:
        raise KeyError
    with suppress(asyncio.CancelledError):
        async with breaker:
            raise asyncio.CancelledError
    assert counts(breaker) == (0, 0, 2)


async def test_bodies_nest_in_one_another(make, clock) -> None:
    breaker = make(failure_threshold=9)
    with breaker:
        clock.advance(5.0)
        async with breaker:
            with suppress(ConnectionError), breaker:
                clock.advance(10.0)
                raise ConnectionError
    assert counts(breaker) == (2, 1, 0)
    assert sorted(breaker.get_metrics()["latency"]["counts"].values()) == [1, 2]  # 15 s, and 10 s twice


def test_bodies_of_several_breakers_may_end_in_another_order_than_they_began(make) -> None:
    first, second = make(name="first"), make(name="second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(ConnectionError, ConnectionError(), None)
    assert (counts(first), counts(second)) == ((1, 0, 0), (0, 1, 0))


def test_the_outermost_of_three_bodies_may_end_first(make) -> None:
    outer, middle, inner = make(name="outer"), make(name="middle"), make(name="inner")
    for breaker in (outer, middle, inner):
        breaker.__enter__()
    for breaker in (outer, middle, inner):
        breaker.__exit__(None, None, None)
    assert [counts(breaker) for breaker in (outer, middle, inner)] == [(1, 0, 0)] * 3


async def test_with_and_async_with_of_one_breaker_may_cross(make) -> None:
    breaker = make()
    breaker.__enter__()
    await breaker.__aenter__()
    breaker.__exit__(ConnectionError, ConnectionError(), None)
    await breaker.__aexit__(None, None, None)
    assert counts(breaker) == (1, 1, 0)


async def test_exit_stacks_hold_breakers(make) -> None:
    breaker = make()
    with ExitStack() as stack:
        stack.enter_context(breaker)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(breaker)
    assert counts(breaker) == (2, 0, 0)


async def test_interleaved_tasks_never_mix_up_their_permits(make, calls, clock) -> None:
    """Of ten bodies open at once, each ends as its own, whatever the order in which they end."""
    breaker = make(failure_threshold=0, timeout=30.0)
    gates = [asyncio.Event() for _ in range(10)]

    async def body(number: int) -> None:
        async with breaker:
            await gates[number].wait()
            if number % 3 == 0:
                raise ConnectionError

    tasks = [asyncio.ensure_future(body(number)) for number in range(10)]
    await asyncio.sleep(0)
    for done, number in enumerate([7, 0, 9, 1, 8, 3, 2, 6, 4, 5], start=1):
        clock.advance(100.0)
        gates[number].set()
        with suppress(ConnectionError):
            await tasks[number]
        assert sum(counts(breaker)) == done
    assert counts(breaker) == (6, 4, 0)


async def test_a_task_begun_inside_a_body_has_its_own(make, clock) -> None:
    breaker = make(failure_threshold=0)

    async def child() -> None:
        async with breaker:
            raise ConnectionError

    async with breaker:
        task = asyncio.ensure_future(child())
        with suppress(ConnectionError):
            await task
        assert counts(breaker) == (0, 1, 0)
    assert counts(breaker) == (1, 1, 0)


async def test_tasks_that_share_a_context_each_keep_their_own_limit(make) -> None:
    breaker, done = make(timeout=0.05), asyncio.Event()
    shared = contextvars.copy_context()

    async def work(until: asyncio.Event) -> None:
        async with breaker:
            await until.wait()

    first = asyncio.create_task(work(done), context=shared)
    second = asyncio.create_task(work(asyncio.Event()), context=shared)
    await asyncio.sleep(0)
    done.set()
    await first
    await asyncio.wait([second], timeout=10.0)  # not wait_for, which would end it with a TimeoutError of its own
    assert isinstance(second.exception(), TimeoutError)
    assert counts(breaker) == (1, 1, 0)


async def test_a_body_that_another_task_ends_in_a_copy_of_its_context_is_found(make) -> None:
    """As the event loop does with an async generator that nobody holds any more."""
    breaker = make(timeout=30.0)
    await breaker.__aenter__()
    await asyncio.create_task(breaker.__aexit__(None, None, None))
    assert counts(breaker) == (1, 0, 0)
    task = asyncio.current_task()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    await breaker.__aexit__(None, None, None)  # it is settled already, and has struck nobody
    assert (task.cancelling(), counts(breaker)) == (1, (1, 0, 0))
    task.uncancel()


async def test_a_probe_slot_is_given_back_by_the_task_that_holds_it(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=5)
    calls.fail(breaker)
    clock.advance(60.0)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        async with breaker:
            inside.set()
            await leave.wait()

    async def late_comer() -> None:
        async with breaker:
            pytest.fail("two probes at once")

    task = asyncio.ensure_future(probe())
    await inside.wait()
    with pytest.raises(CircuitBreakerOpenError):
        await late_comer()
    leave.set()
    await task
    assert breaker.get_metrics()["probes_total"] == 1
    calls.succeed(breaker)


async def test_an_exit_that_finds_no_permit_is_neutral(make) -> None:
    breaker = make(failure_threshold=1)
    assert breaker.__exit__(ConnectionError, ConnectionError(), None) is None
    assert await breaker.__aexit__(ConnectionError, ConnectionError(), None) is None
    contextvars.copy_context().run(breaker.__enter__)  # entered in another context: not ours to end
    breaker.__exit__(ConnectionError, ConnectionError(), None)
    assert (breaker.state, counts(breaker)) == (CLOSED, (0, 0, 0))


def test_threads_that_share_a_breaker_have_a_stack_each(make) -> None:
    breaker, barrier = make(failure_threshold=0), threading.Barrier(4)

    def body(fails: bool) -> None:
        with suppress(ConnectionError), breaker:
            barrier.wait(10.0)
            if fails:
                raise ConnectionError

    threads = [threading.Thread(target=body, args=(number == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert counts(breaker) == (3, 1, 0)


def test_what_enters_in_one_frame_and_exits_in_another_ends_its_newest_body(make, clock) -> None:
    breaker = make(failure_threshold=0)

    def enter() -> None:
        breaker.__enter__()

    def leave(error: BaseException | None) -> None:
        breaker.__exit__(type(error), error, None)

    enter()
    clock.advance(10.0)
    enter()
    leave(ConnectionError())
    assert counts(breaker) == (0, 1, 0)
    leave(None)
    assert counts(breaker) == (1, 1, 0)
    assert breaker.get_metrics()["latency"]["p99"] == pytest.approx(10.0, rel=0.15)
