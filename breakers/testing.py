"""For the tests of code that uses breakers; see ``docs/testing.md``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .core.breaker import CircuitBreaker
from .core.registry import CircuitBreakerRegistry, registry
from .core.states import CircuitBreakerState

__all__ = ["FakeClock", "all_closed", "fresh_registry", "half_open_now", "open_now"]

_NOTE = "placed by breakers.testing"


class FakeClock:
    """A monotonic clock that moves when it is told to. Give it to a breaker as its ``clock``."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves forward; a monotonic clock never goes back, so negative seconds are a ``ValueError``."""
        if not seconds >= 0:
            raise ValueError(f"a monotonic clock cannot move by {seconds!r} s")
        self.now += seconds


@contextmanager
def fresh_registry(clock: Callable[[], float] = time.monotonic) -> Iterator[CircuitBreakerRegistry]:
    """The process's registry, as new: breakers made inside are forgotten at the end, those from before are restored.

    Restored are configs, overrides and states; counts go on. Breakers made inside read ``clock``. Wrap each test in it,
    best by a fixture.
    """
    before, clock_before = {breaker: breaker.code_config for breaker in registry.all()}, registry.clock
    registry.clock = clock
    try:
        all_closed()
        yield registry
    finally:
        registry.clock = clock_before
        for breaker in registry.all():
            if breaker in before:
                breaker.apply_fleet_config(None, None)
                breaker.configure(before[breaker])
            else:
                registry.forget(breaker.name)
        all_closed()


def all_closed() -> None:
    """Every breaker of the registry: no override, CLOSED, nothing held against it."""
    for breaker in registry.all():
        breaker.set_fleet_override(None)
        breaker.release()
        breaker.reset()


def open_now(name: str) -> CircuitBreaker:
    """The breaker of this name, made if need be, OPEN from now on for its ``recovery_timeout``."""
    breaker = registry.get_or_create(name)
    if breaker.state is not CircuitBreakerState.CLOSED:
        breaker.reset()
    breaker._place(CircuitBreakerState.OPEN, _NOTE)
    return breaker


def half_open_now(name: str) -> CircuitBreaker:
    """The breaker of this name, made if need be, HALF_OPEN: its next call is a probe."""
    breaker = registry.get_or_create(name)
    if breaker.state is CircuitBreakerState.CLOSED:
        breaker._place(CircuitBreakerState.OPEN, _NOTE)
    if breaker.state is CircuitBreakerState.OPEN:
        breaker._place(CircuitBreakerState.HALF_OPEN, _NOTE)
    return breaker
