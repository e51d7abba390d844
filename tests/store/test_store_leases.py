"""What one server of several does for all: whoever holds the lease, until it gives it back or is no more heard of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from breakers import services
from breakers.agents import chores
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import Override
from breakers.leases import HeldLease
from breakers.models import BreakerConfig, Lease
from breakers.services import Actor

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LENGTH = 60.0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def first() -> HeldLease:
    return HeldLease("work", LENGTH)


@pytest.fixture
def second() -> HeldLease:
    return HeldLease("work", LENGTH)


def test_one_of_two_has_it_and_keeps_it(first: HeldLease, second: HeldLease) -> None:
    for seconds in range(0, 600, 20):
        assert (first.is_mine(at(seconds)), second.is_mine(at(seconds))) == (True, False)
    assert HeldLease("other work", LENGTH).is_mine(at(0)), "of another work there is another"


def test_whoever_is_no_more_heard_of_loses_it_at_its_end_and_not_before(first: HeldLease, second: HeldLease) -> None:
    assert first.is_mine(at(0))
    assert first.is_mine(at(LENGTH / 2)), "and renews it"
    assert not second.is_mine(at(LENGTH / 2 + LENGTH - 0.001))
    assert second.is_mine(at(LENGTH / 2 + LENGTH))
    assert not first.is_mine(at(LENGTH / 2 + LENGTH)), "one that only slept finds it gone"
    assert second.is_mine(at(LENGTH / 2 + LENGTH + 1))


def test_it_is_renewed_at_half_time_and_asked_for_no_oftener(first: HeldLease, django_assert_num_queries: Any) -> None:
    assert first.is_mine(at(0))
    with django_assert_num_queries(0):
        assert first.is_mine(at(LENGTH / 2 - 0.001))
    assert first.is_mine(at(LENGTH / 2))
    assert Lease.objects.get(name="work").until == at(LENGTH / 2 + LENGTH)
    with django_assert_num_queries(0):
        assert first.is_mine(at(LENGTH - 0.001))


def test_what_is_given_back_is_free_at_once_and_nobody_elses_is_given(first: HeldLease, second: HeldLease) -> None:
    assert first.is_mine(at(0))
    first.give_back()
    assert second.is_mine(at(1))
    first.give_back()
    assert not first.is_mine(at(2))
    third = HeldLease("work", LENGTH)
    third._mine_until = at(LENGTH)  # as one that slept while another took over
    third.give_back()
    assert second.is_mine(at(3 * LENGTH / 4)), "renewed, as it still stands"
    assert Lease.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_that_want_it_at_the_same_moment_one_gets_it() -> None:
    together, got = threading.Barrier(6), []

    def want(lease: HeldLease) -> None:
        try:
            together.wait(10)
            got.append(lease.is_mine(at(0)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=want, args=(HeldLease("work", LENGTH),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [False] * 5 + [True]


@pytest.fixture
def overdue(ground: None) -> Callable[[], bool]:
    """A breaker whose override's time is over: whether that still stands."""
    by = Actor("system")
    services.breaker_create(name="a", config=CircuitBreakerConfig(name="a"), http=HttpConfig(), by=by)
    ends = datetime.now(UTC) + timedelta(seconds=60)
    order = {"override": Override.FORCED_OPEN, "reason": "", "expires_at": ends, "by": by, "confirm": True}
    services.override_set(name="a", **order)
    BreakerConfig.objects.update(override_expires_at=datetime.now(UTC) - timedelta(seconds=1))
    return lambda: BreakerConfig.objects.exclude(override="").exists()


def test_chores_are_done_by_who_has_the_lease(overdue: Callable[[], bool], settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"  # there are others
    another = HeldLease("chores", chores.LEASE)
    assert another.is_mine(datetime.now(UTC))
    chores.expire()
    assert overdue(), "another server does it"
    another.give_back()
    chores.expire()
    assert not overdue()
    assert not another.is_mine(datetime.now(UTC))
    chores.lease.give_back()
    assert another.is_mine(datetime.now(UTC)), "at the end of a server the next goes on"


def test_a_server_that_is_alone_asks_for_no_lease(overdue: Callable[[], bool], settings: Any) -> None:
    settings.REDIS_URL = ""
    chores.expire()
    assert not overdue()
    assert not Lease.objects.exists()
