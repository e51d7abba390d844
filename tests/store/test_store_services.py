"""The only writers: each writes one audit row under a revision of its own, or nothing."""

from __future__ import annotations

import pytest

from breakers import selectors, services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.models import BreakerConfig, ConfigChange
from breakers.services import Actor

pytestmark = pytest.mark.django_db
ALICE = Actor("user", "alice")


def create(name: str = "data_service", **config: object) -> BreakerConfig:
    return services.breaker_create(
        name=name, config=CircuitBreakerConfig(**config), http=HttpConfig(), reason="because", by=ALICE
    )


def test_a_created_breaker_stands_at_version_one_under_the_next_revision():
    before = selectors.current_revision()
    row = create(failure_threshold=7)
    assert (row.version, row.revision, row.managed) == (1, before + 1, True)
    assert selectors.current_revision() == before + 1
    change = ConfigChange.objects.get()
    assert (change.kind, change.actor, change.reason, change.revision) == (
        "created",
        "user:alice",
        "because",
        row.revision,
    )
    assert change.before is None
    assert change.after["failure_threshold"] == 7
