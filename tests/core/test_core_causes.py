"""Section 1.3: what a transition says of itself, to people and to programs."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from breakers.core.states import CircuitBreakerState, Reason, Transition

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


@pytest.fixture
def opening(make, calls):
    """``opening(error, failure_threshold=1)``: the transition of a circuit that ``error`` opened."""

    def opened_by(error: BaseException, times: int = 1, **options) -> Transition:
        breaker, heard = make(**options), []
        breaker.on_transition(heard.append)
        calls.fail(breaker, times, error=error)
        assert len(heard) == 1
        return heard[0]

    return opened_by


def test_an_opening_by_a_streak_names_the_last_error(opening) -> None:
    happened = opening(ConnectionError("refused"), 5, failure_threshold=5)
    assert happened.cause == "5 consecutive failures, last: ConnectionError: refused"
    assert (happened.failures, happened.calls, happened.failure_rate) == (5, 5, None)


def test_without_a_window_there_is_no_rate_however_long_the_streak(opening) -> None:
    happened = opening(ConnectionError(), 25, failure_threshold=25, minimum_calls=20)
    assert (happened.failures, happened.calls, happened.failure_rate) == (25, 25, None)


def test_an_opening_by_the_failure_rate_names_share_limit_and_last_error(make, calls, heard) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.3, minimum_calls=6)
    breaker.on_transition(heard.append)
    calls.succeed(breaker, 4)
    calls.fail(breaker)
    calls.fail(breaker, error=TimeoutError("no answer"))
    assert heard[0].cause == "2 of 6 calls failed (33.3%, limit 30.0%), last: TimeoutError: no answer"
    assert (heard[0].failures, heard[0].calls, heard[0].failure_rate) == (2, 6, 2 / 6)


def test_a_success_that_opens_by_the_failure_rate_names_no_error(make, calls, heard) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=0.5, minimum_calls=4)
    breaker.on_transition(heard.append)
    calls.fail(breaker, 2)
    calls.succeed(breaker, 2)
    assert heard[0].cause == "2 of 4 calls failed (50.0%, limit 50.0%)"


def test_below_the_minimum_there_is_no_rate(opening) -> None:
    happened = opening(OSError(), 2, failure_threshold=2, failure_rate_threshold=1.0, minimum_calls=3)
    assert (happened.failures, happened.calls, happened.failure_rate) == (2, 2, None)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(), "ValueError"),
        (ValueError("two\nlines  and\ttabs "), "ValueError: two lines and tabs"),
        (ValueError("x" * 200), "ValueError: " + "x" * 200),
        (ValueError("x" * 201), "ValueError: " + "x" * 197 + "..."),
        (Unspeakable(), "Unspeakable"),
        (ExceptionGroup("both", [OSError()]), "ExceptionGroup: both (1 sub-exception)"),
    ],
)
def test_an_error_is_told_on_one_line_of_bounded_length(opening, error, told) -> None:
    assert opening(error, failure_threshold=1).cause == f"1 failure, last: {told}"


def test_a_transition_is_a_value_with_its_time_in_utc(opening) -> None:
    happened = opening(ConnectionError(), failure_threshold=1)
    assert (happened.name, happened.from_state, happened.to_state) == ("api", CLOSED, OPEN)
    assert (happened.reason, happened.epoch) == (Reason.CONSECUTIVE_FAILURES, 1)
    assert happened.reason == "consecutive_failures"
    assert happened.at.utcoffset() == timedelta(0)
    assert abs(happened.at - datetime.now(UTC)) < timedelta(minutes=1)
    assert pickle.loads(pickle.dumps(happened)) == copy.deepcopy(happened) == happened
    with pytest.raises(dataclasses.FrozenInstanceError):
        happened.name = "other"
