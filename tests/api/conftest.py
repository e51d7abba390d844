"""Clients of every kind, breakers in the database, and instances in the process's own fleet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Counts, Report, TransitionReport
from breakers.fleet import fleet
from breakers.models import BreakerConfig, InstanceIdentity
from breakers.services import Actor

ALICE = Actor("user", "alice")


@pytest.fixture
def breaker(ground: None) -> Callable[..., BreakerConfig]:
    """``breaker("bank-api", failure_threshold=7)``."""

    def make(name: str = "bank-api", *, group: str = "", **values: Any) -> BreakerConfig:
        config = CircuitBreakerConfig(**values)
        return services.breaker_create(name=name, config=config, http=HttpConfig(), group=group, by=ALICE)

    return make


@pytest.fixture
def bank_api(breaker: Callable[..., BreakerConfig]) -> BreakerConfig:
    return breaker("bank-api")


def with_key(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def signed_in(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


@pytest.fixture
def api(key: Callable[..., str]) -> APIClient:
    """With a key that may read and operate."""
    return with_key(key("read", "operate", name="deploy"))


@pytest.fixture
def clients(
    operator: User, viewer: User, editor: User, stranger: User, key: Callable[..., str]
) -> dict[str, APIClient]:
    """Everybody who may knock."""
    keys = {f"key:{scope}": with_key(key(scope)) for scope in ("agent", "read", "operate")}
    people = {"operator": operator, "viewer": viewer, "editor": editor, "stranger": stranger}
    return {**{name: signed_in(user) for name, user in people.items()}, **keys, "anonymous": APIClient()}


@pytest.fixture
def running() -> Callable[..., InstanceIdentity]:
    """``running(bank-api="open")``: an instance that is linked, with its breakers in these states."""

    def make(*, service: str = "trading_service", **states: str) -> InstanceIdentity:
        now = timezone.now() - timedelta(seconds=1)
        identity = InstanceIdentity(uuid4(), service, "host-1", 4711, "0.1.0", now)
        fleet.synchronise()
        fleet.connect(identity, now)
        statuses = tuple(
            BreakerStatus(name.replace("_", "-"), CircuitBreakerState(state), counts=Counts(successes=8, failures=2))
            for name, state in states.items()
        )
        fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, statuses), timezone.now())
        return identity

    return make


@pytest.fixture
def transitions(ground: None) -> Callable[..., InstanceIdentity]:
    """``transitions("closed>open", "open>half_open")``: recorded of one instance, a minute apart, the last now."""

    def record(*ways: str, name: str = "bank-api", service: str = "trading_service") -> InstanceIdentity:
        now = timezone.now()
        identity = InstanceIdentity(uuid4(), service, "host-1", 4711, "0.1.0", now)
        batch = []
        for sequence, way in enumerate(ways, start=1):
            before, after = map(CircuitBreakerState, way.split(">"))
            at = now.timestamp() - 60 * (len(ways) - sequence)
            batch.append(
                TransitionReport(sequence, name, before, after, "reset", f"cause {sequence}", at, sequence, 5, 9, 0.55)
            )
        services.transitions_record(batch=[(identity, report) for report in batch])
        return identity

    return record
