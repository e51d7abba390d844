"""``breakers.testing``, and the user's own integration test through it."""

from __future__ import annotations

import itertools

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.registry import get_circuit_breaker, registry
from breakers.core.states import CircuitBreakerState, Override
from breakers.testing import FakeClock, all_closed, fresh_registry, half_open_now, open_now

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


@pytest.fixture(autouse=True)
def _fresh() -> None:
    with fresh_registry():
        yield


async def failing_function() -> None:
    raise ConnectionError


async def successful_function() -> str:
    return "fine"


async def test_circuit_breaker_failure_handling() -> None:
    breaker = get_circuit_breaker("test_service", CircuitBreakerConfig(success_threshold=1))

    for _ in range(6):  # exceeds the threshold
        with pytest.raises((ConnectionError, CircuitBreakerOpenError)):
            await breaker.call(failing_function)

    assert breaker.get_state() == CircuitBreakerState.OPEN

    half_open_now("test_service")
    await breaker.call(successful_function)
    assert breaker.get_state() == CircuitBreakerState.CLOSED


def test_open_now_opens_from_every_state_for_the_whole_wait() -> None:
    breaker, heard = open_now("api"), []
    assert breaker is get_circuit_breaker("api")
    breaker.on_transition(heard.append)
    for place in (lambda: None, lambda: half_open_now("api"), all_closed):
        place()
        assert open_now("api").state is OPEN
        assert 59.0 < breaker.get_metrics()["retry_after"] <= 60.0
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call_sync(int)
    assert heard[-1].cause == "placed by breakers.testing"
    assert all(later.from_state is earlier.to_state for earlier, later in itertools.pairwise(heard))


def test_half_open_now_from_every_state() -> None:
    breaker, heard = half_open_now("api"), []
    breaker.on_transition(heard.append)
    assert breaker.state is HALF_OPEN
    half_open_now("api")
    assert heard == []
    all_closed()
    half_open_now("api")
    open_now("api")
    half_open_now("api")
    assert breaker.state is HALF_OPEN
    assert (CLOSED, HALF_OPEN) not in [(t.from_state, t.to_state) for t in heard]


def test_all_closed_lifts_overrides_and_closes() -> None:
    first, second = open_now("first"), get_circuit_breaker("second")
    second.force_open()
    first.set_fleet_override(Override.FORCED_CLOSED)
    all_closed()
    for breaker in (first, second):
        assert (breaker.state, breaker.get_metrics()["override"]) == (CLOSED, None)
        breaker.call_sync(int)


def test_a_fresh_registry_forgets_what_was_made_inside_and_restores_the_rest() -> None:
    clock = FakeClock()
    old = get_circuit_breaker("old", CircuitBreakerConfig(failure_threshold=7))
    with fresh_registry(clock) as inside:
        assert inside is registry
        old.configure(CircuitBreakerConfig(failure_threshold=1))
        old.apply_fleet_config(CircuitBreakerConfig(failure_threshold=2), 1)
        open_now("old")
        new = open_now("new")
        clock.advance(60.0)
        new.call_sync(int)
        assert new.state is HALF_OPEN
    assert "new" not in registry
    assert registry.get("old") is old
    assert (old.config.failure_threshold, old.state) == (7, CLOSED)
    assert get_circuit_breaker("later").snapshot().state_age < 60.0


def test_a_fresh_registry_begins_closed_also_for_what_was_there() -> None:
    breaker = open_now("old")
    with fresh_registry():
        assert breaker.state is CLOSED


def test_a_fake_clock_moves_when_told_and_never_back() -> None:
    clock = FakeClock()
    before = clock()
    clock.advance(0)
    clock.advance(2.5)
    assert clock() == before + 2.5
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="monotonic"):
            clock.advance(wrong)
