"""A fake clock, breakers that read it, and calls that end as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.states import Transition
from breakers.testing import FakeClock

ENVIRONMENT = ("FAILURE_THRESHOLD", "RECOVERY_TIMEOUT", "SUCCESS_THRESHOLD", "TIMEOUT")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(f"CIRCUIT_BREAKER_{name}", raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


MakeBreaker = Callable[..., CircuitBreaker]


@pytest.fixture
def make(clock: FakeClock) -> MakeBreaker:
    """``make(failure_threshold=2, ignore=KeyError)``: a breaker named ``api`` on the fake clock, without a timeout."""

    def made(**options: Any) -> CircuitBreaker:
        about_errors = {name: options.pop(name) for name in ("ignore", "record", "failure_if") if name in options}
        config = CircuitBreakerConfig(**{"name": "api", "timeout": None, **options})
        return CircuitBreaker(config, clock=clock, **about_errors)

    return made


class Calls:
    """Makes calls that end as told, swallowing what was told to be raised."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def succeed(self, breaker: CircuitBreaker, times: int = 1, took: float = 0.0) -> None:
        for _ in range(times):
            breaker.call_sync(self.clock.advance, took)

    def fail(
        self, breaker: CircuitBreaker, times: int = 1, took: float = 0.0, error: BaseException | None = None
    ) -> None:
        def failing() -> None:
            self.clock.advance(took)
            raise raised

        for _ in range(times):
            raised = error or ConnectionError("refused")
            with pytest.raises(type(raised)) as caught:
                breaker.call_sync(failing)
            assert caught.value is raised


@pytest.fixture
def calls(clock: FakeClock) -> Calls:
    return Calls(clock)


@pytest.fixture
def heard() -> list[Transition]:
    return []
