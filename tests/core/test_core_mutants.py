"""Examples that a mutation run asked for (`make mutants`): each turns red for a change that no other test noticed."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.deadlines import DeadlineQueue, no_task, queue_for
from breakers.core.errors import CircuitBreakerOpenError, ConfigError
from breakers.core.kinds import is_coroutine_function
from breakers.core.latency import BOUNDS, LatencyHistogram
from breakers.core.machine import Machine
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.states import CircuitBreakerState, Outcome, Override, Permit, Reason
from breakers.core.windows import Tally, TimeWindow
from breakers.testing import FakeClock

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


# -- the machine -----------------------------------------------------------------------------------------------------


def test_every_rejection_of_a_forced_circuit_counts(make) -> None:
    breaker = make()
    breaker.force_open()
    for _ in range(3):
        with pytest.raises(CircuitBreakerOpenError):
            breaker.acquire()
    assert breaker.get_metrics()["rejected_total"] == 3


def test_slow_calls_below_their_rate_do_not_open(make, calls) -> None:
    breaker = make(slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=2)
    calls.succeed(breaker, 3)
    calls.succeed(breaker, 2, took=1.0)
    assert breaker.state is CLOSED
    calls.succeed(breaker, took=1.0)
    assert breaker.state is OPEN


def test_a_time_window_opens_at_its_rate_and_says_what_it_held(make, calls, heard) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.5, window_type="time", window_size=60, minimum_calls=3)
    breaker.on_transition(heard.append)
    calls.succeed(breaker, 2)
    calls.fail(breaker)
    assert breaker.state is CLOSED
    calls.fail(breaker)
    assert breaker.state is OPEN
    assert (heard[0].failures, heard[0].calls, heard[0].failure_rate) == (2, 4, 0.5)


def test_a_window_goes_on_after_the_circuit_has_closed(make, calls, clock) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, minimum_calls=2, success_threshold=1)
    for _ in range(2):
        calls.fail(breaker, 2)
        assert breaker.state is OPEN
        clock.advance(60.0)
        calls.succeed(breaker)
        assert breaker.state is CLOSED
    calls.succeed(breaker)
    assert breaker.get_metrics()["window"]["calls"] == 1


def test_closing_says_how_many_probes_succeeded(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, success_threshold=3)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker, 3)
    assert (heard[-1].reason, heard[-1].cause) == (Reason.PROBES_SUCCEEDED, "3 probes in a row succeeded")


def test_closing_by_a_single_probe_is_told_in_the_singular(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker)
    assert heard[-1].cause == "the probe succeeded"


def test_a_call_longer_than_every_bucket_has_one(make, calls) -> None:
    breaker = make()
    calls.succeed(breaker, took=1e9)
    assert breaker.get_metrics()["latency"]["counts"] == {len(BOUNDS): 1}


def test_a_machine_keeps_a_count_for_each_bucket_and_no_more() -> None:
    machine = Machine(CircuitBreakerConfig(), 0.0)
    machine.settle(Permit(0, 0.0), Outcome.SUCCESS, 0.0)
    assert len(machine.latency) == len(BOUNDS) + 1


def test_a_bucket_half_as_long_as_a_slow_call_is_learnt() -> None:
    machine = Machine(CircuitBreakerConfig(slow_call_duration=2.0), 0.0)
    machine.settle(Permit(0, 0.0), Outcome.SUCCESS, 0.0)
    assert machine.pass_success(machine.gate, 0.0, 1.0)
    assert machine.gate.low < 1.0 <= machine.gate.high


def test_half_open_before_its_time_has_its_moment_and_its_note() -> None:
    machine = Machine(CircuitBreakerConfig(), 0.0)
    machine.trip(1.0, "tripped")
    machine.begin_probing(2.0, "placed")
    assert (machine.state, machine.since) == (HALF_OPEN, 2.0)
    assert [(change.to_state, change.note) for change in machine.changes] == [(OPEN, "tripped"), (HALF_OPEN, "placed")]


def test_probes_are_counted_one_by_one_and_other_calls_are_none(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=3)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker, 5)
    assert breaker.get_metrics()["probes_total"] == 3


def test_a_call_times_out_only_when_that_is_said() -> None:
    machine = Machine(CircuitBreakerConfig(), 0.0)
    machine.settle(Permit(0, 0.0), Outcome.FAILURE, 0.0)
    machine.settle(Permit(0, 0.0), Outcome.FAILURE, 0.0, timed_out=True)
    assert (machine.counts().failures, machine.counts().timeouts) == (2, 1)


@pytest.mark.parametrize(("drawn", "wait"), [(0.0, 8.0), (0.5, 10.0), (0.75, 11.0), (1.0, 12.0)])
def test_a_low_draw_shortens_the_wait_and_a_high_one_lengthens_it(drawn, wait) -> None:
    machine = Machine(CircuitBreakerConfig(recovery_timeout=10.0, recovery_jitter=0.2), 0.0, lambda: drawn)
    machine.trip(0.0, "")
    assert machine.wait == pytest.approx(wait)


# -- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "buckets"), [(1, 10), (2, 20), (9, 90), (10, 10), (11, 11), (100, 100), (101, 100), (10000, 100)]
)
def test_a_time_window_has_10_to_100_buckets(size, buckets) -> None:
    window = TimeWindow(size)
    assert (window.size, window.count) == (size, buckets)
    assert window.width * buckets == pytest.approx(size)


def test_buckets_that_become_one_forget_together_what_they_held() -> None:
    window = TimeWindow(10)
    for now in (0.5, 1.5, 2.5):
        window.push(now, True, True)
    window.resize(1000)
    assert [(bucket.calls, bucket.failures, bucket.slow) for bucket in window.buckets] == [(3, 3, 3)]
    assert window.tally(999.9) == Tally(3, 3, 3)
    assert window.tally(1000.0) == Tally(0, 0, 0)


def test_a_time_window_counts_the_first_call_after_a_reset(make, calls) -> None:
    breaker = make(failure_rate_threshold=1.0, window_type="time", window_size=60)
    calls.succeed(breaker, 2)
    breaker.reset()
    calls.succeed(breaker)
    assert breaker.get_metrics()["window"]["calls"] == 1


def test_a_call_after_a_resize_is_as_old_as_it_is(make, calls, clock) -> None:
    breaker = make(failure_rate_threshold=1.0, window_type="time", window_size=60)
    calls.succeed(breaker)
    breaker.configure(replace(breaker.config, window_size=30))
    clock.advance(20.0)
    calls.succeed(breaker)
    clock.advance(15.0)
    assert breaker.get_metrics()["window"]["calls"] == 1


def test_a_slice_of_a_tenth_of_a_second_takes_no_call_of_the_next() -> None:
    machine = Machine(
        CircuitBreakerConfig(failure_rate_threshold=1.0, window_type="time", window_size=1, minimum_calls=1), 0.0
    )
    machine.settle(Permit(0, 0.0), Outcome.SUCCESS, 0.0)
    assert machine.pass_success(machine.gate, 0.0, 0.05)
    assert not machine.pass_success(machine.gate, 0.0, 0.15)


# -- steps and what they tell ----------------------------------------------------------------------------------------


def test_a_transition_a_snapshot_and_the_log_say_whose_they_are(make, calls, heard, caplog) -> None:
    caplog.set_level(logging.INFO, logger="breakers")
    breaker = make(failure_threshold=1)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    assert heard[0].name == breaker.snapshot().name == "api"
    assert caplog.messages == [
        "Circuit breaker 'api' went from closed to open (consecutive_failures): "
        "1 failure, last: ConnectionError: refused"
    ]
    facts = {"breaker", "from_state", "to_state", "reason", "cause"}
    assert {name: value for name, value in vars(caplog.records[0]).items() if name in facts} == {
        "breaker": "api",
        "from_state": "closed",
        "to_state": "open",
        "reason": "consecutive_failures",
        "cause": "1 failure, last: ConnectionError: refused",
    }


def test_the_first_process_of_a_container_hears_of_every_change(make, calls, heard, monkeypatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)
    breaker = make(failure_threshold=1)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    breaker.reset()
    assert len(heard) == 2


def test_a_listener_that_stops_the_program_does_not_silence_the_next_change(make, calls, heard, monkeypatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)
    breaker = make(failure_threshold=1)

    def stopping(_: object) -> None:
        stop()
        raise KeyboardInterrupt

    stop = breaker.on_transition(stopping)
    breaker.on_transition(heard.append)
    with pytest.raises(KeyboardInterrupt):
        breaker.call_sync(int, "no number")
    breaker.reset()
    assert heard[-1].reason is Reason.RESET


# -- orders ----------------------------------------------------------------------------------------------------------


def test_an_override_has_the_reason_that_was_given_and_none_by_itself(make) -> None:
    breaker = make()
    orders = (
        breaker.force_open,
        breaker.force_closed,
        lambda **reason: breaker.set_fleet_override(Override.FORCED_OPEN, **reason),
    )
    seen = breaker.snapshot()
    assert (seen.override_origin, seen.override_reason, seen.state_age) == (None, "", 0.0)
    for order in orders:
        order()
        assert breaker.snapshot().override_reason == ""
        order(reason="INC-1")
        assert breaker.snapshot().override_reason == "INC-1"


def test_an_override_may_last_less_than_a_second(make, clock) -> None:
    breaker = make()
    breaker.force_open(expires_in=0.5)
    clock.advance(0.5)
    assert breaker.get_metrics()["override"] is None


def test_without_a_config_of_the_fleets_there_is_no_version_of_it(make) -> None:
    breaker = make()
    breaker.apply_fleet_config(None, 7)
    assert breaker.config_version is None


# -- latency ---------------------------------------------------------------------------------------------------------


def test_the_first_the_last_and_an_empty_bucket_travel() -> None:
    assert LatencyHistogram.from_counts({0: 1, 3: 0, len(BOUNDS): 2}).to_counts() == {0: 1, len(BOUNDS): 2}


# -- deadlines -------------------------------------------------------------------------------------------------------


async def test_a_strike_meets_only_those_whose_time_has_come() -> None:
    loop = asyncio.get_running_loop()
    queue, forever = DeadlineQueue(loop, 1000.0, False), asyncio.Event()
    old, young = loop.create_task(forever.wait()), loop.create_task(forever.wait())
    queue.entries.update({old: loop.time() - 1001.0, young: loop.time()})
    queue._strike()
    assert (old.cancelling(), young.cancelling(), list(queue.entries), queue.armed) == (1, 0, [young], True)
    forever.set()
    await asyncio.wait([old, young])


class LoopWithItsOwnTime(asyncio.SelectorEventLoop):
    def time(self) -> float:
        return 5.0


class LoopWithABuiltinTime(asyncio.SelectorEventLoop):
    time = staticmethod(time.monotonic)


@pytest.mark.parametrize(
    ("kind", "clock", "shared"),
    [
        (asyncio.SelectorEventLoop, time.monotonic, True),
        (asyncio.SelectorEventLoop, FakeClock(), False),
        (LoopWithItsOwnTime, time.monotonic, False),
        (LoopWithABuiltinTime, time.monotonic, False),
    ],
)
def test_one_reading_serves_both_only_where_the_clocks_are_the_same(kind, clock, shared) -> None:
    loop = kind()
    try:
        assert queue_for(loop, 5.0, clock).shared is shared
        assert queue_for(loop, 5.0, clock) is queue_for(loop, 5.0, clock)
    finally:
        loop.close()


def test_the_limit_holds_on_a_loop_that_is_not_asyncios(make) -> None:
    uvloop = pytest.importorskip("uvloop")
    breaker, loop = make(timeout=60.0), uvloop.new_event_loop()
    try:
        for _ in range(3):
            assert loop.run_until_complete(breaker.call(asyncio.sleep, 0, "answer")) == "answer"
    finally:
        loop.close()
    assert breaker.get_metrics()["successes_total"] == 3


async def test_a_probe_that_succeeds_leaves_no_deadline_behind(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, timeout=1234.0)
    calls.fail(breaker)
    clock.advance(60.0)
    await breaker.call(asyncio.sleep, 0)
    assert queue_for(asyncio.get_running_loop(), 1234.0, clock).entries == {}


async def test_a_circuit_opened_by_a_timeout_says_so(make, heard) -> None:
    async def swallowing() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    for stuck in (asyncio.Event().wait, swallowing):
        breaker = make(failure_threshold=1, timeout=0.01)
        breaker.on_transition(heard.append)
        await asyncio.gather(breaker.call(stuck), return_exceptions=True)
        assert heard[-1].cause.startswith("1 failure, last: TimeoutError: Circuit breaker 'api': no answer within 0.01")


# -- judgement, guards, decorators -----------------------------------------------------------------------------------


def test_filters_may_be_lists_and_a_wrong_one_is_called_by_its_name(make, calls) -> None:
    breaker = make(ignore=[KeyError, OSError], failure_threshold=1)
    calls.fail(breaker, error=KeyError())
    assert breaker.get_metrics()["ignored_total"] == 1
    for which in ("ignore", "record"):
        with pytest.raises(TypeError, match=f"^{which} must be exception classes"):
            make(**{which: 5})


def test_of_two_breakers_bodies_each_settles_its_own(make) -> None:
    first, second = make(), make()
    first.reset()  # so that the permits of the two differ by their epochs
    first.__enter__()
    second.__enter__()
    first.__exit__(OSError, OSError(), None)
    second.__exit__(None, None, None)
    assert (first.get_metrics()["failures_total"], second.get_metrics()["failures_total"]) == (1, 0)


def test_a_body_that_has_ended_is_not_found_again(make) -> None:
    outer, inner = make(), make()
    for breaker in (outer, outer, inner):
        breaker.__enter__()
    for breaker in (outer, inner, outer):
        breaker.__exit__(None, None, None)
    assert (outer.get_metrics()["successes_total"], inner.get_metrics()["successes_total"]) == (2, 1)


async def test_an_object_whose_call_is_a_coroutine_function_is_judged_by_its_end(make) -> None:
    class Fetch:
        async def __call__(self) -> None:
            raise OSError

    breaker = make()
    with pytest.raises(OSError):
        await breaker(Fetch())()
    assert breaker.get_metrics()["failures_total"] == 1
    assert is_coroutine_function(Fetch())
    assert not is_coroutine_function(5)


async def test_results_of_a_decorated_coroutine_function_are_judged(make) -> None:
    breaker = make(failure_if=lambda result: result == 503)

    @breaker
    async def fetch() -> int:
        return 503

    assert await fetch() == 503
    assert breaker.get_metrics()["failures_total"] == 1


# -- calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 30.0])
async def test_an_open_circuit_tells_each_awaiting_caller_and_counts_it(make, calls, clock, timeout) -> None:
    breaker = make(failure_threshold=1, timeout=timeout)
    calls.fail(breaker)
    clock.advance(45.0)
    for _ in range(3):
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await breaker.call(asyncio.sleep, 0)
        error = caught.value
        assert (error.name, error.state, error.reason, error.retry_after) == (
            "api", OPEN, "consecutive_failures", 15.0,
        )  # fmt: skip
    assert breaker.get_metrics()["rejected_total"] == 3


async def test_a_call_within_a_call_gets_its_arguments(make) -> None:
    breaker = make(timeout=30.0)

    async def inner(*args: int, **kwargs: int) -> tuple[tuple[int, ...], dict[str, int]]:
        return args, kwargs

    async def outer() -> tuple[tuple[int, ...], dict[str, int]]:
        return await breaker.call(inner, 1, 2, key=3)

    assert await breaker.call(outer) == ((1, 2), {"key": 3})


async def settled_by(form: str, breaker: CircuitBreaker, act: Callable[[], object]) -> None:
    """One good call through ``form``."""

    async def awaited() -> None:
        act()

    if form == "call":
        await breaker.call(awaited)
    elif form == "decorated":
        await breaker(awaited)()
    elif form == "call_sync":
        breaker.call_sync(act)
    elif form == "with":
        with breaker:
            act()
    else:
        async with breaker:
            act()


FORMS = ["call", "call_sync", "decorated", "with", "async with"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_call_of_a_bucket_learnt_counts_in_full_and_its_lower_bound_is_the_bucket_belows(
    make, clock, form
) -> None:
    breaker = make()

    def take(seconds: float) -> None:
        clock.now = seconds

    for duration in (BOUNDS[61], BOUNDS[61], BOUNDS[61], BOUNDS[60], BOUNDS[60], BOUNDS[70]):
        clock.now = 0.0  # no look in between: that is a step, and makes it forget what it has learnt
        await settled_by(form, breaker, functools.partial(take, duration))
    clock.now = 0.0
    breaker.call_sync(take, BOUNDS[60])
    assert breaker.snapshot().latency == {60: 3, 61: 3, 70: 1}


@pytest.mark.parametrize("form", FORMS)
async def test_a_success_of_a_bucket_learnt_is_the_last_and_ends_the_streak(make, calls, clock, form) -> None:
    breaker = make(failure_threshold=3)
    for _ in range(3):
        await settled_by(form, breaker, int)
    calls.fail(breaker)
    clock.advance(10.0)
    await settled_by(form, breaker, int)
    clock.advance(10.0)
    seen = breaker.snapshot()
    assert seen.consecutive_failures == 0
    assert seen.last_success_time - seen.last_failure_time == pytest.approx(10.0)


def test_a_neutral_end_is_no_failure_without_the_lock_either(make, calls) -> None:
    breaker = make()
    calls.succeed(breaker, 2)
    breaker.settle(breaker.acquire(), Outcome.NEUTRAL)
    view = breaker.get_metrics()
    assert (view["ignored_total"], view["failures_total"], view["consecutive_failures"]) == (1, 0, 0)


def test_a_forced_rejection_says_whose_it_is(make) -> None:
    breaker = make()
    breaker.force_open()
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.acquire()
    assert caught.value.name == "api"


# -- the registry ----------------------------------------------------------------------------------------------------


def test_an_http_config_is_there_from_the_first_moment_and_never_by_itself() -> None:
    book, http, heard = CircuitBreakerRegistry(), HttpConfig(max_retries=9), []
    book.on_register(lambda breaker: heard.append(breaker.http_config))
    book.get_or_create("with", http=http)
    book.get_or_create("without")
    assert heard == [http, None]


def test_who_was_slower_gets_the_other_threads_breaker_and_its_own_config_is_compared() -> None:
    book = CircuitBreakerRegistry()
    breaker = book.get_or_create("api")
    assert book._create("api", None, None) is breaker
    with pytest.raises(ConfigError):
        book._create("api", CircuitBreakerConfig(failure_threshold=9), None)


def test_a_third_config_is_compared_with_the_first() -> None:
    book = CircuitBreakerRegistry()
    book.get_or_create("api", CircuitBreakerConfig(failure_threshold=1)).configure(CircuitBreakerConfig(timeout=5.0))
    with pytest.raises(ConfigError) as caught:
        book.get_or_create("api", CircuitBreakerConfig(failure_threshold=3))
    assert list(caught.value.fields) == ["failure_threshold"]
    assert "exists with 1, not 3" in str(caught.value)


def test_nothing_is_kept_of_a_forgotten_breaker() -> None:
    book = CircuitBreakerRegistry()
    book.get_or_create("api")
    book.forget("api")
    assert (book._breakers, book._first_configs) == ({}, {})


def test_what_cannot_be_is_answered_with_a_sentence(make) -> None:
    def stream():
        yield

    with pytest.raises(
        TypeError, match=r"^a fallback answers for a plain or a coroutine function, not for a generator$"
    ):
        make().protect(fallback=str)(stream)
    with pytest.raises(TypeError, match=r"^the fallback of a plain function must be a plain function$"):
        make().protect(fallback=asyncio.sleep)(int)
    with pytest.raises(RuntimeError, match=r"^a limited call needs to run in a task, which can be cancelled$"):
        no_task()
    with pytest.raises(ValueError, match=r"^no such bucket, or a negative count$"):
        LatencyHistogram.from_counts({0: -1})
