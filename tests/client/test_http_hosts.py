"""How many breakers the middleware keeps, and which it lets go."""

from __future__ import annotations

import pytest

import breakers
import breakers.testing as breakers_testing
from breakers import CircuitBreakerConfig, HttpConfig
from breakers.client.hosts import Hosts

ONE = CircuitBreakerConfig(failure_threshold=1)


def hosts(most: int = 3) -> Hosts:
    return Hosts(ONE, HttpConfig(), most=most, idle_after=60)


def fail(breaker: breakers.CircuitBreaker) -> None:
    """Which opens it."""
    with pytest.raises(OSError), breaker:
        raise OSError


def test_the_number_of_breakers_is_bounded_and_the_longest_unused_goes_first() -> None:
    with breakers_testing.fresh_registry():
        known = hosts(most=3)
        first, second = known.named("a:1", 0), known.named("b:1", 1)
        known.named("c:1", 2)
        assert known.named("a:1", 3) is first
        known.named("d:1", 4)  # b has been unused for the longest
        assert [name for name in ("a:1", "b:1", "c:1", "d:1") if name in breakers.registry] == ["a:1", "c:1", "d:1"]
        assert known.named("a:1", 5) is first
        assert known.named("b:1", 6) is not second


def test_a_breaker_that_was_idle_for_too_long_starts_anew() -> None:
    with breakers_testing.fresh_registry():
        known = hosts()
        first = known.named("a:1", 0)
        assert known.named("a:1", 60) is first
        assert known.named("a:1", 120.5) is not first


def test_idle_breakers_are_dropped() -> None:
    with breakers_testing.fresh_registry():
        known = hosts()
        first = known.named("a:1", 0)
        assert known.named("a:1", 60) is first
        known.named("b:1", 121)
        assert "a:1" not in breakers.registry
        assert known.named("a:1", 122) is not first


def test_one_that_is_open_is_not_dropped_for_being_idle() -> None:
    with breakers_testing.fresh_registry():
        known = hosts()
        first = known.named("a:1", 0)
        fail(first)
        known.named("b:1", 121)
        assert breakers.registry.get("a:1") is first
        assert known.named("a:1", 242) is first
        first.reset()
        known.named("b:1", 400)
        assert "a:1" not in breakers.registry


def test_where_one_must_go_those_that_are_open_go_last_and_are_closed_for_who_watches() -> None:
    with breakers_testing.fresh_registry():
        known, told = hosts(most=2), []
        ended = breakers.registry.on_transition(lambda breaker, step: told.append((breaker.name, step.to_state.value)))
        for moment, name in enumerate(("a:1", "b:1")):
            fail(known.named(name, moment))
        known.named("c:1", 2)  # both are open: the longest unused goes
        known.named("d:1", 3)  # c is the only closed one
        ended()
        assert [name for name in ("a:1", "b:1", "c:1", "d:1") if name in breakers.registry] == ["b:1", "d:1"]
        assert told == [("a:1", "open"), ("b:1", "open"), ("a:1", "closed")]


def test_a_breaker_that_the_program_made_is_shared_and_never_dropped() -> None:
    with breakers_testing.fresh_registry():
        own = breakers.get_circuit_breaker("a:1")
        known = hosts(most=1)
        assert known.named("a:1", 0) is own
        known.named("b:1", 999)
        assert known.named("a:1", 9999) is own


def test_one_that_the_program_asks_for_later_is_its_own_from_then_on() -> None:
    with breakers_testing.fresh_registry():
        known = hosts(most=1)
        made = known.named("a:1", 0)
        assert breakers.get_circuit_breaker("a:1") is made
        known.named("b:1", 999)
        assert breakers.registry.get("a:1") is made


def test_two_sessions_that_use_a_host_keep_it_together() -> None:
    with breakers_testing.fresh_registry():
        first, second = hosts(), hosts()
        made = first.named("a:1", 0)
        assert second.named("a:1", 50) is made
        assert second.named("a:1", 100) is made
        first.named("b:1", 101)  # idle for the first alone
        assert second.named("a:1", 102) is made


def test_what_the_registry_forgot_is_made_anew() -> None:
    with breakers_testing.fresh_registry():
        known = hosts()
        first = known.named("a:1", 0)
        breakers.registry.forget("a:1")
        assert known.named("a:1", 1) is not first
        assert known.named("a:1", 2) is breakers.registry.get("a:1")


def test_what_is_remembered_is_bounded_too() -> None:
    with breakers_testing.fresh_registry():
        known = hosts(most=3)
        for number in range(100):
            known.named(f"h{number}:1", number)
        assert len(known._seats) <= 6
        assert sum(f"h{number}:1" in breakers.registry for number in range(100)) == 3
