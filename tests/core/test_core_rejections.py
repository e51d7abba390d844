"""Who wants to hear of rejections, of whatever breaker, where they happen."""

from __future__ import annotations

import logging

import pytest

from breakers.core import breaker as core
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState

OPEN = CircuitBreakerState.OPEN


async def unreachable() -> None:
    pytest.fail("a rejected call was made")


async def test_a_listener_hears_of_each_rejection_what_its_caller_is_told(make, calls) -> None:
    opened, forced = make(name="opened", failure_threshold=1), make(name="forced")
    calls.fail(opened)
    forced.force_open()
    heard: list[CircuitBreakerOpenError] = []
    end = core.on_rejection(heard.append)
    try:
        told = []
        for breaker in (opened, forced):
            with pytest.raises(CircuitBreakerOpenError) as caught:
                breaker.call_sync(pytest.fail)
            told.append(caught.value)
            with pytest.raises(CircuitBreakerOpenError) as caught:
                await breaker.call(unreachable)
            told.append(caught.value)
    finally:
        end()
    assert [id(error) for error in heard] == [id(error) for error in told]
    assert [type(error) for error in heard] == [CircuitBreakerOpenError] * 4
    assert [(error.name, error.state, error.reason, error.retry_after) for error in heard[::2]] == [
        ("opened", OPEN, "consecutive_failures", 60.0),
        ("forced", CircuitBreakerState.CLOSED, "forced_open", None),
    ]


def test_the_last_one_to_leave_restores_the_way_without_listeners(make) -> None:
    breaker = make()
    breaker.force_open()
    first: list[CircuitBreakerOpenError] = []
    second: list[CircuitBreakerOpenError] = []

    def reject() -> None:
        with pytest.raises(CircuitBreakerOpenError):
            breaker.acquire()

    plain = core._new_error
    end_first, end_second = core.on_rejection(first.append), core.on_rejection(second.append)
    reject()
    end_first()
    reject()
    end_second()
    assert core._new_error == plain
    reject()
    assert (len(first), len(second)) == (1, 2)


def test_a_listener_that_raises_is_logged_and_the_caller_is_rejected_all_the_same(make, caplog) -> None:
    def broken(_: CircuitBreakerOpenError) -> None:
        raise ZeroDivisionError

    breaker = make()
    breaker.force_open()
    end = core.on_rejection(broken)
    try:
        with pytest.raises(CircuitBreakerOpenError):
            breaker.acquire()
    finally:
        end()
    [complaint] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert complaint.getMessage() == "Circuit breaker 'api': a listener raised"
