"""One example for each rule of the machine, told through the public breaker."""

from __future__ import annotations

import asyncio
import logging

import pytest

from breakers.core.errors import CircuitBreakerError, CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState, Outcome, Override, Reason, Transition
from breakers.testing import FakeClock

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


def rejection(breaker) -> CircuitBreakerOpenError:
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.call_sync(pytest.fail, "a rejected call was made")
    return caught.value


# -- rule 1: CLOSED opens --------------------------------------------------------------------------------------------


def test_the_failure_that_reaches_the_threshold_opens(make, calls) -> None:
    breaker = make(failure_threshold=3)
    calls.fail(breaker, 2)
    assert breaker.state is CLOSED
    calls.fail(breaker)
    assert breaker.state is OPEN


def test_a_success_breaks_the_streak(make, calls) -> None:
    breaker = make(failure_threshold=3)
    calls.fail(breaker, 2)
    calls.succeed(breaker)
    calls.fail(breaker, 2)
    assert breaker.state is CLOSED
    assert breaker.get_metrics()["consecutive_failures"] == 2


def test_a_threshold_of_zero_turns_the_streak_rule_off(make, calls) -> None:
    breaker = make(failure_threshold=0)
    calls.fail(breaker, 1000)
    assert breaker.state is CLOSED
    assert breaker.get_metrics()["consecutive_failures"] == 1000


def test_the_failure_rate_opens_at_its_threshold_exactly(make, calls, heard) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.07, minimum_calls=100)
    breaker.on_transition(heard.append)
    calls.fail(breaker, 6)
    calls.succeed(breaker, 93)
    assert breaker.state is CLOSED
    calls.fail(breaker)
    assert breaker.state is OPEN
    assert heard[0].reason is Reason.FAILURE_RATE
    assert (heard[0].failures, heard[0].calls, heard[0].failure_rate) == (7, 100, 0.07)


def test_a_rate_is_undefined_below_the_minimum(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.5, minimum_calls=10)
    calls.fail(breaker, 9)
    assert breaker.state is CLOSED
    assert breaker.get_metrics()["window"]["failure_rate"] is None


def test_a_success_that_completes_the_minimum_may_open(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.5, minimum_calls=4)
    calls.fail(breaker, 3)
    calls.succeed(breaker)
    assert breaker.state is OPEN


def test_slow_calls_open_at_their_rate_also_when_all_succeed(make, calls, heard) -> None:
    breaker = make(slow_call_duration=0.1, slow_call_rate_threshold=0.5, minimum_calls=4)
    breaker.on_transition(heard.append)
    calls.succeed(breaker, 2, took=0.09)
    calls.succeed(breaker, 2, took=0.1)
    assert breaker.state is OPEN
    assert heard[0].reason is Reason.SLOW_CALL_RATE
    assert heard[0].cause == "2 of 4 calls took 0.1 s or longer (50.0%, limit 50.0%)"


def test_a_call_of_exactly_the_limit_is_slow_whatever_the_clock_says() -> None:
    for start in (0.0, 0.1, 100.0, 12345.678):
        from breakers.core.breaker import CircuitBreaker
        from breakers.core.config import CircuitBreakerConfig

        clock = FakeClock(start)
        breaker = CircuitBreaker(CircuitBreakerConfig(slow_call_duration=0.1), clock=clock)
        breaker.call_sync(clock.advance, 0.1)
        assert breaker.get_metrics()["slow_total"] == 1


def test_a_slow_failure_counts_as_both(make, calls) -> None:
    breaker = make(slow_call_duration=1.0, slow_call_rate_threshold=1.0, failure_rate_threshold=1.0)
    calls.fail(breaker, took=2.0)
    window = breaker.get_metrics()["window"]
    assert (window["calls"], window["failures"], window["slow"]) == (1, 1, 1)


# -- rule 2: OPEN and HALF_OPEN --------------------------------------------------------------------------------------


def test_open_rejects_without_calling_and_says_when_to_come_back(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=60.0)
    calls.fail(breaker)
    clock.advance(59.0)
    error = rejection(breaker)
    assert (error.name, error.state, error.reason) == ("api", OPEN, "consecutive_failures")
    assert error.retry_after == pytest.approx(1.0)


def test_at_exactly_its_age_open_lets_one_call_through(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=60.1)
    calls.fail(breaker)
    clock.advance(60.1)
    breaker.call_sync(lambda: None)
    assert breaker.state is HALF_OPEN


def test_reading_changes_nothing(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=60.0)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    clock.advance(1000.0)
    first = breaker.snapshot()
    assert breaker.state is breaker.get_state() is OPEN
    assert breaker.get_metrics()["retry_after"] == 0.0
    assert breaker.snapshot() == first
    assert len(heard) == 1


def test_half_open_admits_its_probes_and_rejects_the_rest_at_once(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, half_open_max_calls=2, success_threshold=2, recovery_timeout=10.0, timeout=5.0)
    calls.fail(breaker)
    clock.advance(10.0)
    first, second = breaker.acquire(), breaker.acquire()
    clock.advance(1.0)
    error = rejection(breaker)
    assert (error.state, error.reason, error.retry_after) == (HALF_OPEN, "recovery_timeout", 4.0)
    assert breaker.get_metrics()["rejected_total"] == 1
    breaker.settle(first, Outcome.SUCCESS)
    assert breaker.state is HALF_OPEN
    breaker.settle(second, Outcome.SUCCESS)
    assert breaker.state is CLOSED


def test_one_failed_probe_reopens_with_a_fresh_wait(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, success_threshold=3, recovery_timeout=10.0)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    clock.advance(10.0)
    calls.succeed(breaker, 2)
    calls.fail(breaker)
    assert breaker.state is OPEN
    assert rejection(breaker).retry_after == 10.0
    assert heard[-1].reason is Reason.PROBE_FAILED
    assert heard[-1].cause == "the probe failed: ConnectionError: refused"
    clock.advance(10.0)
    calls.succeed(breaker, 2)
    assert breaker.state is HALF_OPEN  # the two of the round before do not count


def test_a_slow_probe_reopens(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, slow_call_duration=1.0, recovery_timeout=10.0)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    clock.advance(10.0)
    calls.succeed(breaker, took=1.5)
    assert breaker.state is OPEN
    assert heard[-1].reason is Reason.PROBE_SLOW
    assert heard[-1].cause == "the probe took 1.5 s, slow from 1 s"


def test_each_reopening_waits_longer_up_to_the_ceiling(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=10.0, recovery_backoff=2.0, max_recovery_timeout=35.0)
    breaker.on_transition(heard.append)
    waits = []
    for _ in range(4):
        calls.fail(breaker)
        waits.append(rejection(breaker).retry_after)
        clock.advance(waits[-1])
    assert waits == [10.0, 20.0, 35.0, 35.0]
    assert [t.cause for t in heard if t.reason is Reason.RECOVERY_TIMEOUT] == [
        f"{wait} s have passed, probing" for wait in (10, 20, 35)
    ]


def test_a_back_off_that_overflows_waits_for_the_ceiling(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, recovery_backoff=1e200, max_recovery_timeout=100.0)
    for _ in range(4):
        calls.fail(breaker)
        clock.advance(100.0)
    calls.fail(breaker)
    assert rejection(breaker).retry_after == 100.0


def test_closing_clears_streak_window_and_back_off(make, calls, clock) -> None:
    breaker = make(
        failure_threshold=2,
        failure_rate_threshold=1.0,
        success_threshold=1,
        recovery_timeout=10.0,
        recovery_backoff=3.0,
    )
    calls.fail(breaker, 2)
    clock.advance(10.0)
    calls.fail(breaker)
    clock.advance(30.0)
    calls.succeed(breaker)
    view = breaker.get_metrics()
    assert (view["state"], view["consecutive_failures"], view["window"]["calls"]) == ("closed", 0, 0)
    assert view["opened_at"] is None
    calls.fail(breaker, 2)
    assert rejection(breaker).retry_after == 10.0


# -- rule 3: epochs --------------------------------------------------------------------------------------------------


def test_a_late_failure_does_not_reopen_a_recovered_circuit(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)
    late = breaker.acquire()
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker)
    before = breaker.get_metrics()
    breaker.settle(late, Outcome.FAILURE, timed_out=True)
    assert breaker.get_metrics() == {
        **before, "late_total": 1, "requests_total": before["requests_total"] + 1
    }  # fmt: skip


def test_a_late_success_does_not_close_a_half_open_circuit(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=1)
    late = breaker.acquire()
    calls.fail(breaker)
    clock.advance(60.0)
    breaker.acquire()
    breaker.settle(late, Outcome.SUCCESS)
    assert breaker.state is HALF_OPEN


def test_a_call_that_was_let_in_before_a_reset_is_late(make) -> None:
    breaker = make(failure_threshold=1)
    permit = breaker.acquire()
    breaker.reset()
    breaker.settle(permit, Outcome.FAILURE)
    assert breaker.state is CLOSED
    assert breaker.get_metrics()["late_total"] == 1


async def test_calls_in_flight_across_a_reset_are_late_on_the_lock_free_way_too(make) -> None:
    breaker = make()

    async def reset_meanwhile() -> str:
        breaker.reset()
        return "answer"

    assert await breaker.call(reset_meanwhile) == "answer"
    assert breaker.call_sync(lambda: breaker.reset()) is None
    view = breaker.get_metrics()
    assert (view["late_total"], view["successes_total"], view["latency"]["counts"]) == (2, 0, {})


def test_settling_twice_changes_nothing(make) -> None:
    breaker = make(failure_threshold=2)
    permit = breaker.acquire()
    breaker.settle(permit, Outcome.FAILURE)
    before = breaker.snapshot()
    breaker.settle(permit, Outcome.FAILURE)
    breaker.settle(permit, Outcome.SUCCESS)
    assert breaker.snapshot() == before


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE])
def test_settling_twice_changes_nothing_without_the_lock_either(make, calls, outcome) -> None:
    breaker = make()
    calls.succeed(breaker)
    permit = breaker.acquire()
    breaker.settle(permit, outcome)
    before = breaker.snapshot()
    for again in Outcome:
        breaker.settle(permit, again)
    assert breaker.snapshot() == before


# -- rule 4: leases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "lease"), [(5.0, 5.0), (None, 20.0)])
def test_a_lost_probe_gives_its_slot_back_when_its_lease_runs_out(make, calls, clock, timeout, lease) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=20.0, timeout=timeout)
    calls.fail(breaker)
    clock.advance(20.0)
    breaker.acquire()
    clock.advance(lease - 0.5)
    assert rejection(breaker).retry_after == 0.5
    clock.advance(0.5)
    breaker.acquire()


def test_an_expired_probe_still_counts_once_and_frees_nobody_elses_slot(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=3, timeout=5.0)
    calls.fail(breaker)
    clock.advance(60.0)
    lost = breaker.acquire()
    clock.advance(5.0)
    breaker.acquire()
    breaker.settle(lost, Outcome.SUCCESS)
    assert breaker.get_metrics()["successes_total"] == 1
    assert rejection(breaker).state is HALF_OPEN  # the second probe still holds the one slot


def test_a_new_round_of_probes_owes_no_slot_to_the_round_before(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, half_open_max_calls=2, recovery_timeout=10.0, timeout=1000.0)
    calls.fail(breaker)
    clock.advance(10.0)
    breaker.acquire()
    breaker.settle(breaker.acquire(), Outcome.FAILURE)
    clock.advance(10.0)
    assert [breaker.acquire().probe, breaker.acquire().probe] == [True, True]


def test_an_expired_probe_that_fails_reopens(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, timeout=5.0)
    calls.fail(breaker)
    clock.advance(60.0)
    lost = breaker.acquire()
    clock.advance(6.0)
    breaker.settle(lost, Outcome.FAILURE)
    assert breaker.state is OPEN


# -- rule 5: what is evidence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_being_stopped_is_no_evidence(make, calls, clock, stopped) -> None:
    breaker = make(failure_threshold=1, success_threshold=1, record=(BaseException,))
    calls.fail(breaker, error=stopped)
    assert (breaker.state, breaker.get_metrics()["ignored_total"]) == (CLOSED, 1)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.fail(breaker, error=stopped)
    assert breaker.state is HALF_OPEN
    calls.succeed(breaker)  # the slot was given back
    assert breaker.state is CLOSED


@pytest.mark.parametrize("ignore", [KeyError, (KeyError, OSError), lambda error: "key" in str(error)])
def test_ignored_exceptions_are_neutral(make, calls, ignore) -> None:
    breaker = make(failure_threshold=2, ignore=ignore)
    calls.fail(breaker, error=ValueError("real"))
    calls.fail(breaker, error=KeyError("key"))
    view = breaker.get_metrics()
    assert (view["ignored_total"], view["consecutive_failures"], view["latency"]["counts"]) == (1, 1, {0: 1})


@pytest.mark.parametrize("record", [OSError, (OSError, KeyError), lambda error: isinstance(error, OSError)])
def test_what_is_outside_record_is_a_success(make, calls, record) -> None:
    breaker = make(failure_threshold=2, record=record)
    calls.fail(breaker)
    calls.fail(breaker, error=ValueError("the dependency answered"))
    calls.fail(breaker)
    view = breaker.get_metrics()
    assert (view["state"], view["successes_total"], view["failures_total"]) == ("closed", 1, 2)


def test_ignore_wins_over_record(make, calls) -> None:
    breaker = make(failure_threshold=1, ignore=(KeyError,), record=(Exception,))
    calls.fail(breaker, error=KeyError())
    assert breaker.get_metrics()["ignored_total"] == 1


def test_a_result_may_be_a_failure_and_is_returned_all_the_same(make, heard) -> None:
    breaker = make(failure_threshold=1, failure_if=lambda result: result == 503)
    breaker.on_transition(heard.append)
    assert breaker.call_sync(lambda: 200) == 200
    assert breaker.call_sync(lambda: 503) == 503
    assert breaker.state is OPEN
    assert heard[0].cause == "1 failure, last: a result judged to be a failure"


async def test_a_result_may_be_a_failure_of_a_coroutine_and_of_a_probe(make, clock) -> None:
    breaker = make(failure_threshold=1, failure_if=lambda result: result == 503)

    async def answer() -> int:
        return 503

    assert await breaker.call(answer) == 503
    assert breaker.state is OPEN
    clock.advance(60.0)
    assert await breaker.call(answer) == 503
    assert breaker.state is OPEN
    clock.advance(60.0)
    assert breaker.call_sync(lambda: 503) == 503
    assert breaker.get_metrics()["failures_total"] == 3


def broken(_: object) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("options", "which", "counted"),
    [
        ({"ignore": broken}, "ignore", "failures_total"),
        ({"record": broken}, "record", "failures_total"),
        ({"failure_if": broken}, "failure_if", "successes_total"),
    ],
)
def test_a_predicate_that_raises_is_a_logged_bug_and_no_stuck_slot(
    make, calls, clock, caplog, options, which, counted
) -> None:
    breaker = make(failure_threshold=1, success_threshold=10, half_open_max_calls=1, **options)
    if which == "failure_if":
        calls.succeed(breaker)
    else:
        calls.fail(breaker)
    assert breaker.get_metrics()[counted] == 1
    complaint = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert complaint.getMessage() == f"Circuit breaker 'api': its {which} predicate raised"
    assert complaint.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("bug", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_a_predicate_that_raises_whatever_it_likes_leaves_no_stuck_slot(make, calls, clock, bug) -> None:
    def wrong(_: object) -> bool:
        raise bug

    breaker = make(failure_threshold=1, success_threshold=1, ignore=wrong, record=wrong, failure_if=wrong)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker)
    assert breaker.state is CLOSED


@pytest.mark.parametrize("which", ["ignore", "record", "failure_if"])
def test_a_predicate_that_would_have_to_be_awaited_is_refused_when_the_breaker_is_made(make, which) -> None:
    async def later(_: object) -> bool:
        return False

    with pytest.raises(TypeError, match=f"{which} must be a plain function"):
        make(**{which: later})


@pytest.mark.parametrize("wrong", ["KeyError", (KeyError, "OSError"), int, 5, None])
def test_a_wrong_filter_is_refused_when_the_breaker_is_made(make, wrong) -> None:
    for which in ("ignore", "record"):
        with pytest.raises(TypeError, match=which):
            make(**{which: wrong})
    with pytest.raises(TypeError, match="failure_if"):
        make(failure_if=5)


# -- rule 6: what the caller sees ------------------------------------------------------------------------------------


def test_the_caller_sees_the_functions_own_exception_also_on_the_call_that_trips(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker, error=ValueError("mine"))  # asserts identity
    assert breaker.state is OPEN


def test_each_rejection_is_a_fresh_exception(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    first, second = rejection(breaker), rejection(breaker)
    assert first is not second
    assert isinstance(first, CircuitBreakerError)
    assert first.__cause__ is first.__context__ is None


# -- rule 7: time ----------------------------------------------------------------------------------------------------


def test_time_windows_expire_by_the_clock_also_on_reads(make, calls, clock) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.9, window_type="time", window_size=60)
    calls.fail(breaker, 3)
    clock.advance(30.0)
    calls.succeed(breaker)
    clock.advance(29.0)
    assert breaker.get_metrics()["window"]["failures"] == 3
    clock.advance(1.0)
    window = breaker.get_metrics()["window"]
    assert (window["calls"], window["failures"]) == (1, 0)


def test_a_jump_of_the_wall_clock_has_no_effect(make, calls, clock, monkeypatch) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    before = breaker.get_metrics()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert breaker.get_metrics() == before
    assert rejection(breaker).retry_after == 60.0


def test_jitter_is_drawn_once_an_opening_and_within_its_share(make, calls, clock) -> None:
    waits = []
    for _ in range(200):
        breaker = make(failure_threshold=1, recovery_timeout=10.0, recovery_jitter=0.2)
        calls.fail(breaker)
        waits.append(rejection(breaker).retry_after)
        assert rejection(breaker).retry_after == waits[-1]
    assert 8.0 <= min(waits) < 8.5
    assert 11.5 < max(waits) <= 12.0


def test_jitter_spreads_below_the_ceiling_and_never_above(make, calls) -> None:
    waits = set()
    for _ in range(50):
        breaker = make(failure_threshold=1, recovery_timeout=100.0, max_recovery_timeout=10.0, recovery_jitter=0.5)
        calls.fail(breaker)
        waits.add(rejection(breaker).retry_after)
    assert max(waits) <= 10.0
    assert min(waits) >= 5.0
    assert len(waits) > 10


# -- rule 9: listeners -----------------------------------------------------------------------------------------------


def test_a_listener_that_raises_is_logged_and_the_others_still_run(make, calls, heard, caplog) -> None:
    breaker = make(failure_threshold=1)
    breaker.on_transition(broken)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    assert len(heard) == 1
    [complaint] = [record for record in caplog.records if record.getMessage().endswith("a listener raised")]
    assert complaint.getMessage() == "Circuit breaker 'api': a listener raised"
    assert complaint.exc_info is not None


def test_the_log_says_who_speaks_and_not_how_it_is_said(make, calls, caplog) -> None:
    breaker = make(failure_threshold=1)
    breaker.on_transition(broken)
    calls.fail(breaker)
    assert [record.filename for record in caplog.records] == ["stepping.py", "listeners.py"]


@pytest.mark.parametrize("bug", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_a_listener_may_raise_whatever_it_likes_and_the_caller_never_sees_it(make, calls, heard, bug) -> None:
    def wrong(_: Transition) -> None:
        raise bug

    breaker = make(failure_threshold=1)
    breaker.on_transition(wrong)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    assert len(heard) == 1


def test_a_log_that_cannot_be_written_harms_neither_caller_nor_listeners(make, calls, heard, caplog) -> None:
    breaker = make(failure_threshold=1)
    breaker.on_transition(broken)
    breaker.on_transition(heard.append)
    caplog.handler.addFilter(broken)
    try:
        calls.fail(breaker)
    finally:
        caplog.handler.removeFilter(broken)
    assert len(heard) == 1


def test_who_could_not_listen_is_refused_at_once(make) -> None:
    async def later(_: Transition) -> None: ...

    for wrong in (later, None, 5):
        with pytest.raises(TypeError, match="a listener must be a plain function"):
            make().on_transition(wrong)


def test_an_unsubscribed_listener_hears_no_more_and_only_that_one(make, calls) -> None:
    breaker, first, second = make(failure_threshold=1), [], []
    stop = breaker.on_transition(first.append)
    breaker.on_transition(second.append)
    breaker.on_transition(first.append)
    stop()
    stop()
    calls.fail(breaker)
    assert (len(first), len(second)) == (1, 1)


def test_a_listener_may_use_the_breaker_and_events_stay_in_order(make, calls, heard) -> None:
    breaker = make(failure_threshold=1)

    def close_again(happened: Transition) -> None:
        if happened.to_state is OPEN:
            breaker.reset()

    breaker.on_transition(close_again)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    assert [(t.from_state, t.to_state) for t in heard] == [(CLOSED, OPEN), (OPEN, CLOSED)]
    assert [t.epoch for t in heard] == [1, 2]


def test_state_changes_are_logged_opening_at_warning(make, calls, clock, caplog) -> None:
    caplog.set_level(logging.DEBUG, logger="breakers")
    breaker = make(failure_threshold=1, success_threshold=1)
    calls.fail(breaker, error=ConnectionError("two\nlines"))
    rejection(breaker)
    clock.advance(60.0)
    calls.succeed(breaker)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("breakers", "WARNING"), ("breakers", "INFO"), ("breakers", "INFO"),
    ]  # fmt: skip
    assert all(message.startswith("Circuit breaker 'api'") for message in caplog.messages)
    assert caplog.messages[0].endswith("1 failure, last: ConnectionError: two lines")


# -- orders ----------------------------------------------------------------------------------------------------------


def test_reset_closes_and_clears_and_is_idempotent(make, calls, clock, heard) -> None:
    breaker = make(failure_threshold=2, failure_rate_threshold=1.0, recovery_backoff=2.0, recovery_timeout=10.0)
    breaker.on_transition(heard.append)
    calls.fail(breaker, 2)
    clock.advance(10.0)
    calls.fail(breaker)
    breaker.reset()
    breaker.reset()
    view = breaker.get_metrics()
    assert (view["state"], view["consecutive_failures"], view["window"]["calls"]) == ("closed", 0, 0)
    assert [t.reason for t in heard][-1] is Reason.RESET
    assert len(heard) == 4  # open, half-open, open, closed: the second reset was none
    calls.fail(breaker, 2)
    assert rejection(breaker).retry_after == 10.0


def test_reset_starts_a_new_epoch_also_when_closed(make) -> None:
    breaker = make()
    before = breaker.snapshot().epoch
    breaker.reset()
    assert breaker.snapshot().epoch == before + 1


def test_reset_clears_what_a_closed_circuit_holds_against_it(make, calls) -> None:
    breaker = make(failure_threshold=3, failure_rate_threshold=1.0)
    calls.fail(breaker, 2)
    breaker.reset()
    view = breaker.get_metrics()
    assert (view["consecutive_failures"], view["window"]["calls"]) == (0, 0)
    calls.fail(breaker, 2)
    assert breaker.state is CLOSED


def test_reset_never_lifts_an_override(make) -> None:
    breaker = make()
    breaker.force_open()
    breaker.reset()
    assert breaker.get_metrics()["override"] is Override.FORCED_OPEN
