"""Rule 10: exact under threads, loops and forks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.lock import LOCK
from breakers.core.states import CircuitBreakerState, Outcome

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN
THREADS = 8


@pytest.fixture(autouse=True)
def _threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], object]) -> None:
    """Runs ``work(number)`` in eight threads that begin together; raises what one of them raised."""
    barrier, raised = threading.Barrier(THREADS), []

    def run(number: int) -> None:
        barrier.wait(10.0)
        try:
            work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50.0)
    assert not raised


def failing() -> None:
    raise ConnectionError


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"slow_call_duration": 100.0},
        {"failure_rate_threshold": 1.0, "minimum_calls": 1000, "window_size": 1000},
        {"failure_rate_threshold": 1.0, "minimum_calls": 10**9, "window_type": "time"},
    ],
)
def test_counts_are_exact_under_eight_threads(options) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=0, **options))

    def work(number: int) -> None:
        for turn in range(1000):
            if turn % 10 == number:
                with pytest.raises(ConnectionError):
                    breaker.call_sync(failing)
            else:
                breaker.call_sync(int)

    at_once(work)
    view = breaker.get_metrics()
    assert (view["successes_total"], view["failures_total"], view["requests_total"]) == (7200, 800, 8000)
    assert sum(view["latency"]["counts"].values()) == 8000
    if "failure_rate_threshold" in options:
        assert view["window"]["calls"] == min(8000, options.get("window_size", 8000))


def test_counts_are_exact_under_eight_event_loops() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=0))

    async def main() -> None:
        async def one() -> None:
            for _ in range(100):
                await breaker.call(asyncio.sleep, 0)

        await asyncio.gather(*(one() for _ in range(10)))

    at_once(lambda number: asyncio.run(main()))
    view = breaker.get_metrics()
    assert (view["successes_total"], sum(view["latency"]["counts"].values())) == (8000, 8000)


def test_orders_in_between_lose_no_call_and_no_transition() -> None:
    """Resets, edits and overrides beside calls: every call is counted once, and every transition is told in order."""
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=3, recovery_timeout=1e-5, success_threshold=1))
    heard, made = [], []
    breaker.on_transition(heard.append)

    def work(number: int) -> None:
        tries = 0
        for turn in range(400):
            if number == 0 and turn % 4 == 0:
                breaker.reset()
            elif number == 1 and turn % 4 == 0:
                breaker.configure(CircuitBreakerConfig(failure_threshold=1 + turn % 3, recovery_timeout=1e-5))
            else:
                tries += 1
                with contextlib.suppress(ConnectionError, CircuitBreakerOpenError):
                    breaker.call_sync(failing if turn % 3 else int)
        made.append(tries)

    at_once(work)
    view = breaker.get_metrics()
    assert view["requests_total"] == sum(made)
    assert view["state_changes_total"] == len(heard)
    assert all(later.from_state is earlier.to_state for earlier, later in itertools.pairwise(heard))
    assert all(earlier.epoch < later.epoch for earlier, later in itertools.pairwise(heard))


def test_eight_threads_open_once(make, heard) -> None:
    breaker = make(failure_threshold=8)
    breaker.on_transition(heard.append)
    permits = [breaker.acquire() for _ in range(THREADS)]
    at_once(lambda number: breaker.settle(permits[number], Outcome.FAILURE))
    assert [t.to_state for t in heard] == [OPEN]
    assert breaker.get_metrics()["failures_total"] == 8


def test_of_eight_threads_one_gets_the_probe(make, calls, clock) -> None:
    breaker, got = make(failure_threshold=1), []
    calls.fail(breaker)
    clock.advance(60.0)

    def work(number: int) -> None:
        with contextlib.suppress(CircuitBreakerOpenError):
            got.append(breaker.acquire())

    at_once(work)
    assert len(got) == 1
    assert breaker.get_metrics()["rejected_total"] == 7


def test_rejections_are_exact_under_eight_threads(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)

    def work(number: int) -> None:
        for _ in range(500):
            with pytest.raises(CircuitBreakerOpenError):
                breaker.acquire()

    at_once(work)
    assert breaker.get_metrics()["rejected_total"] == 4000


def test_one_permit_settled_by_eight_threads_counts_once(make) -> None:
    breaker = make()
    permit = breaker.acquire()
    at_once(lambda number: breaker.settle(permit, Outcome.FAILURE))
    assert breaker.get_metrics()["failures_total"] == 1


BOTH_RATES = {"failure_rate_threshold": 0.5, "slow_call_duration": 9.0, "slow_call_rate_threshold": 0.5}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"slow_call_duration": 9.0},
        {**BOTH_RATES, "window_size": 20},
        {**BOTH_RATES, "window_size": 1000},
        {**BOTH_RATES, "window_type": "time"},
    ],
)
@pytest.mark.parametrize("seconds", [0.0, 0.5])
async def test_calls_of_a_closed_circuit_take_no_lock(make, calls, options, seconds) -> None:
    """Another thread holds the lock, for as long as it likes."""
    breaker = make(**options)
    calls.succeed(breaker, 100)  # what a first call makes is there
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with LOCK:
            held.set()
            done.wait(30.0)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    held.wait(10.0)
    for _ in range(100):
        calls.succeed(breaker, took=seconds / 1000)
    await breaker.call(asyncio.sleep, 0)
    await breaker(asyncio.sleep)(0)
    with breaker:
        pass
    async with breaker:
        pass
    if "failure_rate_threshold" not in options:
        calls.fail(breaker, 3)
    done.set()
    holder.join()
    view = breaker.get_metrics()
    assert view["requests_total"] == (204 if "failure_rate_threshold" in options else 207)


def test_rejections_take_no_lock(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with LOCK:
            held.set()
            done.wait(30.0)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    held.wait(10.0)
    for _ in range(10):
        with pytest.raises(CircuitBreakerOpenError):
            breaker.acquire()
    done.set()
    holder.join()
    assert breaker.get_metrics()["rejected_total"] == 10


def test_a_listener_runs_outside_the_lock(make, calls) -> None:
    breaker, free = make(failure_threshold=1), []

    def ask(_: object) -> None:
        thread = threading.Thread(target=lambda: free.append(breaker.state))
        thread.start()
        thread.join(10.0)
        other = threading.Thread(target=lambda: free.append(LOCK.acquire(timeout=10.0) and LOCK.release()))
        other.start()
        other.join(10.0)

    breaker.on_transition(ask)
    calls.fail(breaker)
    assert free == [OPEN, None]


def test_a_listener_runs_outside_the_lock_also_when_an_edit_notices_an_expiry(make, calls, clock) -> None:
    breaker, free = make(failure_threshold=1), []
    calls.fail(breaker)
    breaker.force_open(expires_in=5.0)
    clock.advance(5.0)

    def ask(_: object) -> None:
        other = threading.Thread(target=lambda: free.append(LOCK.acquire(timeout=10.0) and LOCK.release()))
        other.start()
        other.join(20.0)

    breaker.on_transition(ask)
    breaker.configure(CircuitBreakerConfig())
    assert free == [None]


def amid_the_next_opening(breaker: CircuitBreaker, act: Callable[[], object]) -> None:
    """As the garbage collector does that closes a guarded generator, or a signal: in the middle of a step."""

    def draw() -> float:
        act()
        return 0.5

    breaker._machine.random = draw


def test_a_step_amid_a_step_leaves_the_way_without_the_lock_shut(make, calls) -> None:
    breaker, seen = make(failure_threshold=2), []
    inner = breaker.acquire()

    def close() -> None:
        breaker.settle(inner, Outcome.NEUTRAL)
        seen.append(breaker._machine.gate)

    amid_the_next_opening(breaker, close)
    calls.fail(breaker, 2)
    assert seen == [None]
    assert breaker.get_metrics()["ignored_total"] == 1


def test_two_steps_amid_a_step_leave_it_shut(make, calls) -> None:
    breaker, seen = make(failure_threshold=2), []
    inner = [breaker.acquire(), breaker.acquire()]

    def close() -> None:
        for permit in inner:
            breaker.settle(permit, Outcome.NEUTRAL)
            seen.append(breaker._machine.gate)

    amid_the_next_opening(breaker, close)
    calls.fail(breaker, 2)
    assert seen == [None, None]


def test_a_step_that_is_interrupted_leaves_the_ways_as_the_state_is(make, calls) -> None:
    breaker = make(failure_threshold=2)
    calls.succeed(breaker)

    def interrupt() -> None:
        raise KeyboardInterrupt

    amid_the_next_opening(breaker, interrupt)
    with pytest.raises(KeyboardInterrupt):
        calls.fail(breaker, 2)
    breaker._machine.random = float
    assert breaker.state is OPEN
    with pytest.raises(CircuitBreakerOpenError):
        breaker.call_sync(int)
    breaker.reset()
    assert breaker._machine.gate is not None


def test_a_change_amid_the_step_of_another_breaker_is_told_when_that_step_is_over(make, calls) -> None:
    breaker, other, free = make(failure_threshold=1), make(failure_threshold=1), []
    inner = other.acquire()

    def ask(_: object) -> None:
        thread = threading.Thread(target=lambda: free.append(LOCK.acquire(timeout=10.0) and LOCK.release()))
        thread.start()
        thread.join(20.0)

    other.on_transition(ask)
    amid_the_next_opening(breaker, lambda: (other.settle(inner, Outcome.FAILURE), free.append("amid")))
    calls.fail(breaker)
    assert free == ["amid", None]


def in_a_child(check: Callable[[], bool]) -> bool:
    """Whether ``check()`` is true in a forked child."""
    pid = os.fork()
    if pid == 0:
        verdict = 1
        try:
            verdict = 0 if check() else 2
        finally:
            os._exit(verdict)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# CPython 3.12 warns of every fork in a process that has threads: what these tests are about
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    def test_a_child_goes_on_while_threads_of_the_parent_step(self, make) -> None:
        breaker, stop = make(failure_threshold=0), threading.Event()

        def busy() -> None:
            while not stop.is_set():
                breaker.settle(breaker.acquire(), Outcome.FAILURE)

        def goes_on() -> bool:
            before = breaker.snapshot().counts.requests
            breaker.settle(breaker.acquire(), Outcome.FAILURE)
            breaker.call_sync(int)
            return breaker.snapshot().counts.requests == before + 2

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            assert all(in_a_child(goes_on) for _ in range(20))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_a_child_announces_though_the_parent_was_in_the_middle_of_it(self, make, calls) -> None:
        breaker, children = make(failure_threshold=1), []

        def announces() -> bool:
            heard: list[object] = []
            breaker.on_transition(heard.append)
            breaker.reset()
            return len(heard) == 1

        def listener(_: object) -> None:
            if not children:
                children.append(in_a_child(announces))

        breaker.on_transition(listener)
        calls.fail(breaker)
        assert children == [True]
