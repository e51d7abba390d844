"""The ways without the lock: shut while a step lasts, and never wrong about what only a step may judge."""

from __future__ import annotations

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.machine import FORCED_CLOSED, Forced, Machine
from breakers.core.states import CircuitBreakerState, Outcome, Permit

CLOSED, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN


def machine(**options) -> Machine:
    made = Machine(CircuitBreakerConfig(**{"timeout": None, **options}), 0.0)
    settle(made, Outcome.SUCCESS)
    return made


def settle(made: Machine, outcome: Outcome, now: float = 0.0) -> None:
    """One call as one locked step."""
    made.shut()
    made.settle(Permit(made.epoch, now), outcome, now)
    made.reopen()


def test_no_way_is_open_during_a_step() -> None:
    made = machine(failure_threshold=2)
    gate = made.gate
    assert made.pass_success(gate, 0.0, 0.0)
    assert made.pass_failure(gate, 0.0, 0.0)
    made.shut()
    assert (made.gate, made.wall) == (None, None)
    assert not made.pass_success(gate, 0.0, 0.0)
    assert not made.pass_failure(gate, 0.0, 0.0)
    made.reopen()
    assert made.pass_success(gate, 0.0, 0.0)
    assert made.counts().successes == 3


def test_an_open_circuit_has_a_wall_instead_of_a_gate() -> None:
    made = machine(failure_threshold=1, recovery_timeout=10.0)
    gate = made.gate
    settle(made, Outcome.FAILURE, now=5.0)
    assert (made.state, made.gate, made.wall) == (OPEN, None, 15.0)
    assert not made.pass_success(gate, 0.0, 6.0)
    made.shut()
    assert made.wall is None


def test_a_new_machine_counts_its_first_call_in_a_step() -> None:
    made = Machine(CircuitBreakerConfig(), 0.0)
    assert made.gate is not None
    assert not made.pass_success(made.gate, 0.0, 0.0)
    assert not made.pass_failure(made.gate, 0.0, 0.0)


def test_steps_add_no_buckets() -> None:
    made = machine(failure_threshold=0)
    buckets = len(made.latency)
    for _ in range(3):
        settle(made, Outcome.FAILURE)
    assert len(made.latency) == buckets


def test_the_failure_that_would_open_takes_a_step() -> None:
    made = machine(failure_threshold=3)
    assert made.pass_failure(made.gate, 0.0, 1.0)
    assert made.pass_failure(made.gate, 0.0, 2.0)
    assert not made.pass_failure(made.gate, 0.0, 3.0)
    assert (made.streak, made.failures, made.last_failure, made.state) == (2, 2, 2.0, CLOSED)
    assert made.pass_success(made.gate, 0.0, 4.0)
    assert (made.streak, made.last_success) == (0, 4.0)


def test_failures_without_a_streak_rule_never_need_a_step() -> None:
    made = machine(failure_threshold=0)
    assert all(made.pass_failure(made.gate, 0.0, 0.0) for _ in range(100))


@pytest.mark.parametrize("window_type", ["count", "time"])
def test_failures_that_go_into_a_window_take_a_step(window_type) -> None:
    made = machine(failure_rate_threshold=1.0, window_type=window_type)
    assert not made.pass_failure(made.gate, 0.0, 0.0)


def test_slow_calls_take_a_step() -> None:
    made = machine(slow_call_duration=2.0)
    for passes in (made.pass_success, made.pass_failure):
        assert passes(made.gate, 0.0, 1.9)
        assert not passes(made.gate, 0.0, 2.0)
    made.shut()
    made.reopen()
    made.pass_success(made.gate, 0.0, 0.01)
    assert made.gate.low < 0.01 <= made.gate.high
    made.pass_success(made.gate, 0.0, 1.9)  # its bucket holds slow calls too: not learnt
    assert made.gate.high < 1.9


def test_the_bucket_learnt_is_that_of_the_last_call_and_forgotten_by_every_step() -> None:
    made = machine()
    gate = made.gate
    assert not gate.low < 1.0 <= gate.high
    made.pass_success(gate, 0.0, 1.0)
    assert gate.low < 1.0 <= gate.high
    made.pass_success(gate, 0.0, 5.0)
    assert gate.low < 5.0 <= gate.high
    made.shut()
    made.reopen()
    assert made.gate is gate
    assert not gate.low < 5.0 <= gate.high


def test_a_count_window_is_learnt_only_when_full_of_good_calls() -> None:
    made = machine(failure_rate_threshold=1.0, window_size=3, minimum_calls=3)
    learnt = []
    for _ in range(3):
        made.pass_success(made.gate, 0.0, 1.0)
        learnt.append(made.gate.low < 1.0)
    assert learnt == [False, False, True]  # the call that fills it is not looked at twice
    settle(made, Outcome.FAILURE)
    made.pass_success(made.gate, 0.0, 1.0)
    assert not made.gate.low < 1.0
    assert made.window.tally(0.0).failures == 1


def test_a_failure_slides_out_of_the_window_by_calls_that_took_no_lock() -> None:
    made = machine(failure_threshold=0, failure_rate_threshold=1.0, window_size=4, minimum_calls=4)
    for _ in range(6):
        made.pass_success(made.gate, 0.0, 0.0)
    settle(made, Outcome.FAILURE)
    for _ in range(3):
        assert made.pass_success(made.gate, 0.0, 0.0)
    assert made.window.tally(0.0).failures == 1
    assert not made.pass_success(made.gate, 0.0, 0.0)  # the one that pushes it out
    settle(made, Outcome.SUCCESS)
    assert made.window.tally(0.0).failures == 0


@pytest.mark.parametrize(("rate", "passes"), [(0.5, False), (0.51, True)])
@pytest.mark.parametrize("window_type", ["count", "time"])
def test_a_success_that_may_complete_the_minimum_and_open_takes_a_step(window_type, rate, passes) -> None:
    made = machine(
        failure_threshold=0, failure_rate_threshold=rate, minimum_calls=4, window_size=10, window_type=window_type
    )
    settle(made, Outcome.FAILURE)
    settle(made, Outcome.FAILURE)
    assert made.pass_success(made.gate, 0.0, 0.0) is passes


@pytest.mark.parametrize(("rate", "passes"), [(0.5, False), (0.51, True)])
def test_the_rate_of_slow_calls_is_looked_at_too(rate, passes) -> None:
    made = machine(slow_call_duration=1.0, slow_call_rate_threshold=rate, minimum_calls=4, window_size=10)
    made.shut()
    for _ in range(2):
        made.settle(Permit(made.epoch, 0.0), Outcome.SUCCESS, 5.0)
    made.reopen()
    assert made.pass_success(made.gate, 5.0, 5.0) is passes


def test_a_time_window_takes_a_step_for_each_new_slice() -> None:
    made = machine(failure_rate_threshold=1.0, window_type="time", window_size=60)
    assert made.pass_success(made.gate, 0.5, 0.5)
    assert not made.pass_success(made.gate, 1.0, 1.0)
    settle(made, Outcome.SUCCESS, now=1.0)
    assert made.pass_success(made.gate, 1.5, 1.5)
    assert [bucket.calls for bucket in made.window.buckets] == [2, 2]
    assert made.window.tally(60.0).calls == 2


def test_forced_circuits_have_no_way_without_the_lock() -> None:
    made = machine()
    made.shut()
    made.set_override("code", Forced(FORCED_CLOSED, 5.0, ""), 0.0)
    made.reopen()
    assert (made.gate, made.wall) == (None, None)
    made.shut()
    made.set_override("code", None, 0.0)
    made.reopen()
    assert made.gate is not None
