"""Examples that a mutation run asked for (`make mutants`): each turns red for a change that no other test noticed."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.latency import BOUNDS
from breakers.core.machine import Machine
from breakers.core.states import CircuitBreakerState, Outcome, Permit, Reason
from breakers.core.windows import Tally, TimeWindow

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
