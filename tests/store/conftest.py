"""Short ways to the things that tests of the store speak of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import TransitionReport
from breakers.models import BreakerConfig, InstanceIdentity
from breakers.services import Actor

ALICE = Actor("user", "alice")
STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _patient_couriers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at what is to be sent ends when that was sent, however busy the machine is."""
    monkeypatch.setattr("breakers.notifications.couriers.PATIENCE", 60.0)


@pytest.fixture
def alice() -> Actor:
    return ALICE


@pytest.fixture
def create(db: None) -> Callable[..., BreakerConfig]:
    """``create("data_service", failure_threshold=7)``."""

    def make(name: str = "data_service", *, group: str = "", description: str = "", **values: object) -> BreakerConfig:
        config = CircuitBreakerConfig.from_mapping(values)
        return services.breaker_create(
            name=name,
            config=config,
            http=HttpConfig(),
            group=group,
            description=description,
            reason="because",
            by=ALICE,
        )

    return make


@pytest.fixture
def identity() -> Callable[..., InstanceIdentity]:
    def make(service: str = "trading_service", uuid: UUID | None = None) -> InstanceIdentity:
        return InstanceIdentity(uuid or uuid4(), service, "host-1", 4711, "0.1.0", STARTED)

    return make


@pytest.fixture
def transition() -> Callable[..., TransitionReport]:
    """``transition(3, "closed>open", at=12.0)``: number 3 of its instance, 12 s after ``STARTED``."""

    def make(
        sequence: int, way: str = "closed>open", *, name: str = "data_service", at: float = 0.0
    ) -> TransitionReport:
        before, after = (CircuitBreakerState(word) for word in way.split(">"))
        return TransitionReport(
            sequence=sequence,
            name=name,
            from_state=before,
            to_state=after,
            reason="consecutive_failures",
            cause="5 consecutive failures, last: OSError",
            at=STARTED.timestamp() + at,
            epoch=sequence,
            failures=5,
            calls=5,
        )

    return make
