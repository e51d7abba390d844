"""``retry_after``: who waits so long is let in, whatever floats do to the sum."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState
from breakers.testing import FakeClock

OPEN, HALF_OPEN = CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN

any_moment = given(start=st.floats(0.0, 1e6), wait=st.floats(1e-3, 1e5), share=st.floats(0.0, 1.0))
an_unlucky_one = example(start=1.0, wait=47.4, share=13.77 / 47.4)  # here the plain difference is too small


def open_on(clock: FakeClock, wait: float) -> CircuitBreaker:
    """OPEN for ``wait`` seconds from now on; a probe may hold its slot as long."""
    config = CircuitBreakerConfig(recovery_timeout=wait, max_recovery_timeout=wait, timeout=wait)
    breaker = CircuitBreaker(config, clock=clock)
    breaker._place(OPEN, "for this test")
    return breaker


def rejection(breaker: CircuitBreaker) -> CircuitBreakerOpenError | None:
    try:
        breaker.call_sync(lambda: None)
    except CircuitBreakerOpenError as error:
        return error
    return None


@any_moment
@an_unlucky_one
def test_an_open_circuit_lets_in_who_has_waited(start, wait, share) -> None:
    clock = FakeClock(start)
    breaker = open_on(clock, wait)
    clock.advance(wait * share)
    error = rejection(breaker)
    assume(error is not None)
    assert error.state is OPEN
    clock.advance(error.retry_after)
    assert rejection(breaker) is None


@any_moment
@an_unlucky_one
async def test_an_open_circuit_lets_in_the_coroutine_that_has_waited(start, wait, share) -> None:
    clock = FakeClock(start)
    breaker = open_on(clock, wait)
    clock.advance(wait * share)

    async def nothing() -> None:
        pass

    assume(breaker.get_metrics()["retry_after"] > 0.0)
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await breaker.call(nothing)
    clock.advance(caught.value.retry_after)
    await breaker.call(nothing)


@any_moment
@an_unlucky_one
def test_metrics_say_how_long_to_wait_as_rejections_do(start, wait, share) -> None:
    clock = FakeClock(start)
    breaker = open_on(clock, wait)
    clock.advance(wait * share)
    clock.advance(breaker.get_metrics()["retry_after"])
    assert rejection(breaker) is None


@any_moment
@an_unlucky_one
def test_a_half_open_circuit_lets_in_who_has_waited_for_a_lost_probe(start, wait, share) -> None:
    clock = FakeClock(start)
    breaker = open_on(clock, wait)
    breaker._place(HALF_OPEN, "for this test")
    breaker.acquire()  # a probe that never ends
    clock.advance(wait * share)
    error = rejection(breaker)
    assume(error is not None)
    assert error.state is HALF_OPEN
    clock.advance(error.retry_after)
    assert rejection(breaker) is None
