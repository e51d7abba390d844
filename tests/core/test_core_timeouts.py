"""The limit of a call: cheap, and never confused with somebody else's cancellation."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.deadlines import _queues, queue_for
from breakers.core.states import CircuitBreakerState, Outcome

OPEN, HALF_OPEN, CLOSED = CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN, CircuitBreakerState.CLOSED


def limited(timeout: float = 0.02, **options) -> CircuitBreaker:
    return CircuitBreaker(CircuitBreakerConfig(name="api", timeout=timeout, **options))


def totals(breaker) -> tuple[int, int, int, int]:
    view = breaker.get_metrics()
    return view["successes_total"], view["failures_total"], view["ignored_total"], view["timeouts_total"]


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_call_past_its_limit_is_a_failure_and_raises_timeout_error() -> None:
    breaker = limited(failure_threshold=1)
    with pytest.raises(TimeoutError, match=r"Circuit breaker 'api': no answer within 0\.02 s"):
        await breaker.call(forever)
    assert (totals(breaker), breaker.state) == ((0, 1, 0, 1), OPEN)
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("filters", [{"ignore": TimeoutError}, {"record": KeyError}])
async def test_its_own_timeout_is_a_failure_whatever_the_filters_say(filters) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(timeout=0.02), **filters)
    with pytest.raises(TimeoutError):
        await breaker.call(forever)
    assert totals(breaker) == (0, 1, 0, 1)


async def test_a_timeout_error_of_the_functions_own_is_no_timeout_of_the_breakers() -> None:
    breaker = limited(timeout=30.0)

    async def own() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await breaker.call(own)
    assert totals(breaker) == (0, 1, 0, 0)


async def test_the_limit_covers_decorated_coroutines_and_async_with() -> None:
    breaker = limited()
    with pytest.raises(TimeoutError):
        await breaker(forever)()
    with pytest.raises(TimeoutError):
        async with breaker:
            await forever()
    assert totals(breaker) == (0, 2, 0, 2)


async def test_the_limit_covers_probes_and_a_probe_that_times_out_reopens(clock) -> None:
    config = CircuitBreakerConfig(timeout=0.02, failure_threshold=1)
    breaker = CircuitBreaker(config, clock=clock)
    permit = breaker.acquire()
    breaker.settle(permit, Outcome.FAILURE)
    clock.advance(60.0)
    with pytest.raises(TimeoutError):
        await breaker.call(forever)
    assert (breaker.state, breaker.get_metrics()["probes_total"]) == (OPEN, 1)


async def test_with_call_sync_and_generators_have_no_limit() -> None:
    breaker = limited(timeout=0.001)

    @breaker
    async def numbers():
        await asyncio.sleep(0.02)
        yield 1

    with breaker:
        await asyncio.sleep(0.02)
    assert [number async for number in numbers()] == [1]
    assert totals(breaker) == (2, 0, 0, 0)


async def test_a_cancellation_from_outside_is_neutral_and_passes() -> None:
    breaker = limited(timeout=30.0)
    for guarded in (lambda: breaker.call(forever), breaker(forever)):
        task = asyncio.ensure_future(guarded())
        await asyncio.sleep(0)
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await task
        assert task.cancelled()
    assert totals(breaker) == (0, 0, 2, 0)


@pytest.mark.parametrize("outside_first", [True, False])
@pytest.mark.parametrize("form", ["call", "async with"])
async def test_a_task_cancelled_from_outside_at_the_same_moment_stays_cancelled(outside_first, form) -> None:
    breaker, loop = limited(timeout=30.0), asyncio.get_running_loop()

    async def guarded() -> None:
        if form == "call":
            await breaker.call(forever)
        else:
            async with breaker:
                await forever()

    task = asyncio.ensure_future(guarded())
    await asyncio.sleep(0)
    queue = queue_for(loop, 30.0, breaker._clock)
    orders = [task.cancel, lambda: strike(queue)]
    for order in orders if outside_first else reversed(orders):
        order()  # both before the task runs again
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert totals(breaker) == (0, 0, 1, 0)


def strike(queue) -> None:
    """Every deadline of the queue strikes now."""
    queue.limit, limit = -1.0, queue.limit
    queue._strike()
    queue.limit = limit


async def test_a_call_made_by_a_cancelled_task_while_it_cleans_up_still_has_its_limit() -> None:
    breaker, ends = limited(), []

    async def clean_up_late() -> None:
        try:
            await forever()
        finally:
            try:
                await breaker.call(forever)
            except TimeoutError:
                ends.append("timeout")

    task = asyncio.ensure_future(clean_up_late())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["timeout"]
    assert task.cancelling() == 1


@pytest.mark.parametrize("inner", [True, False])
async def test_it_works_beside_asyncio_timeout(inner) -> None:
    breaker = limited(timeout=0.02 if inner else 30.0)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(30.0 if inner else 0.02):
            await breaker.call(forever)
    assert ("Circuit breaker" in str(caught.value)) is inner
    assert totals(breaker) == ((0, 1, 0, 1) if inner else (0, 0, 1, 0))


async def test_a_breaker_within_itself_strikes_the_outer_call_first() -> None:
    breaker = limited()

    async def nested() -> None:
        await breaker.call(forever)

    with pytest.raises(TimeoutError):
        await breaker.call(nested)
    assert asyncio.current_task().cancelling() == 0
    assert sum(totals(breaker)[:3]) == 2


async def test_a_function_that_swallows_its_cancellation_answers_late_and_counts_as_a_timeout() -> None:
    breaker = limited()

    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "answer"

    assert await breaker.call(stubborn) == "answer"
    async with breaker:
        assert await stubborn() == "answer"
    assert totals(breaker) == (0, 2, 0, 2)
    breaker.force_closed()  # the way with the lock, as probes take it
    assert await breaker.call(stubborn) == "answer"
    assert totals(breaker) == (0, 3, 0, 3)
    assert asyncio.current_task().cancelling() == 0


async def test_a_function_that_turns_its_cancellation_into_an_error_shows_that_error() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(timeout=0.02, failure_threshold=1), ignore=KeyError)
    heard = []
    breaker.on_transition(heard.append)

    async def translating() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise KeyError("translated") from None

    with pytest.raises(KeyError, match="translated"):
        await breaker.call(translating)
    assert totals(breaker) == (0, 1, 0, 1)
    assert "KeyError" in heard[0].cause


async def test_a_fast_call_leaves_nothing_behind_and_many_calls_share_one_timer() -> None:
    breaker, loop = limited(timeout=30.0), asyncio.get_running_loop()
    armed = []
    original = loop.call_at

    def counting(when, *args, **kwargs):
        armed.append(when)
        return original(when, *args, **kwargs)

    loop.call_at = counting
    try:
        for _ in range(1000):
            await breaker.call(asyncio.sleep, 0)
        await asyncio.gather(*(breaker.call(asyncio.sleep, 0) for _ in range(100)))
    finally:
        del loop.call_at
    assert len(armed) == 1
    assert queue_for(loop, 30.0, breaker._clock).entries == {}
    assert totals(breaker)[0] == 1100


@pytest.mark.parametrize("form", ["call", "nested call", "async with", "cancelled"])
async def test_a_call_that_raises_leaves_no_deadline_behind_to_cancel_its_task_later(form) -> None:
    breaker, loop = limited(timeout=30.0, failure_threshold=0), asyncio.get_running_loop()

    async def failing() -> None:
        raise asyncio.CancelledError if form == "cancelled" else ConnectionError

    async def guarded() -> None:
        async with breaker:
            await failing()

    calls = {"async with": guarded, "nested call": lambda: breaker.call(breaker.call, failing)}
    with pytest.raises((ConnectionError, asyncio.CancelledError)):
        await calls.get(form, lambda: breaker.call(failing))()
    assert queue_for(loop, 30.0, breaker._clock).entries == {}


async def test_deadlines_strike_in_the_order_in_which_their_calls_came() -> None:
    breaker, ended = limited(timeout=0.05), []

    async def one(number: int) -> None:
        with pytest.raises(TimeoutError):
            await breaker.call(forever)
        ended.append(number)

    tasks = []
    for number in range(3):
        tasks.append(asyncio.ensure_future(one(number)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert ended == [0, 1, 2]
    assert totals(breaker)[3] == 3


async def test_an_edited_limit_is_the_next_calls() -> None:
    breaker = limited(timeout=30.0)
    await breaker.call(asyncio.sleep, 0)
    breaker.configure(CircuitBreakerConfig(timeout=0.02))
    with pytest.raises(TimeoutError):
        await breaker.call(forever)
    breaker.configure(CircuitBreakerConfig(timeout=None))
    await breaker.call(asyncio.sleep, 0.03)


def test_a_loop_with_a_clock_of_its_own_decides_when_a_call_is_over() -> None:
    class Hasty(asyncio.SelectorEventLoop):
        """An hour passes whenever it has nothing to do."""

        hours = 0.0

        def time(self) -> float:
            return super().time() + self.hours * 3600.0

        def _run_once(self) -> None:
            if not self._ready:
                self.hours += 1
            super()._run_once()

    breaker = limited(timeout=30.0)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await breaker.call(forever)

    with asyncio.Runner(loop_factory=Hasty) as runner:
        runner.run(main())
    assert totals(breaker) == (0, 1, 0, 1)


def test_loops_that_come_and_go_are_not_kept() -> None:
    breaker, loops = limited(timeout=29.0), []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await breaker.call(asyncio.sleep, 0)

    for _ in range(5):
        asyncio.run(main())
    gc.collect()
    assert sum(loop() is not None for loop in loops) == 1  # the last one, until the next
    assert sum(key[1] == 29.0 for key in _queues) == 1


@pytest.mark.parametrize("form", ["call", "async with"])
def test_many_event_loops_at_once_each_have_their_own_deadlines(form) -> None:
    breaker = limited(timeout=0.5, failure_threshold=0)
    ends: list[str] = []

    async def guarded(function: Callable[..., Awaitable[None]], *args: float) -> None:
        if form == "call":
            await breaker.call(function, *args)
        else:
            async with breaker:
                await function(*args)

    async def main() -> None:
        for _ in range(50):
            await guarded(asyncio.sleep, 0)
        with pytest.raises(TimeoutError):
            await guarded(forever)
        ends.append("timeout")

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert ends == ["timeout"] * 8
    assert totals(breaker) == (400, 8, 0, 8)


def test_a_limit_is_that_of_the_loop_that_calls_though_another_loop_called_last(make) -> None:
    breaker = make(timeout=0.05)
    ended: list[BaseException] = []

    async def nothing() -> None:
        pass

    async def for_ever() -> None:
        await asyncio.Event().wait()

    def in_a_loop_of_its_own() -> None:
        try:
            asyncio.run(breaker.call(for_ever))
        except BaseException as error:
            ended.append(error)

    async def main() -> int:
        await breaker.call(nothing)
        thread = threading.Thread(target=in_a_loop_of_its_own, daemon=True)
        thread.start()
        thread.join(10.0)  # this loop stands still: its timers cannot help the other one
        return asyncio.current_task().cancelling()

    assert asyncio.run(main()) == 0
    assert [type(error) for error in ended] == [TimeoutError]
