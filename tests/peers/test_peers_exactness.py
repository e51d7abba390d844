"""What servers pass to each other is counted once: transitions from the database, requests of one caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from breakers.access import Buckets
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import TransitionReport
from breakers.fleet import MergedFleet
from breakers.fleet.events import transition_event
from breakers.models import InstanceIdentity, StateChange
from breakers.services import transitions_record
from breakers.sharing.history import UNDER_WAY, History

pytestmark = pytest.mark.usefixtures("ground")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(number: int = 1) -> list[StateChange]:
    identity = InstanceIdentity(uuid4(), "trading", "host", 1, "x", datetime.now(UTC))
    opened, closed = CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED
    told = [TransitionReport(n + 1, "a", closed, opened, "reset", "because", 1e9) for n in range(number)]
    return transitions_record(batch=[(identity, report) for report in told])


@pytest.fixture
def fleet() -> MergedFleet:
    made = MergedFleet()
    made.synchronise()
    made._recalled = True  # as after the first read of a database that holds something
    return made


@pytest.fixture
def told(fleet: MergedFleet) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    fleet.on_event(found.append)
    return found


def counted(fleet: MergedFleet) -> int:
    return sum(fleet.picture().transitions.values())


def test_what_others_wrote_is_told_once_and_what_we_wrote_is_not_told_again(
    fleet: MergedFleet, told: list[dict[str, Any]]
) -> None:
    record(3)
    history = History(fleet)
    history.look()
    assert (len(told), counted(fleet)) == (0, 3), "what there was is counted, and no news"
    history.tell(record())
    record(2)
    history.look()
    history.look()
    assert (len(told), counted(fleet)) == (3, 6)


def test_a_number_that_was_committed_later_than_those_above_it_is_found(
    fleet: MergedFleet, told: list[dict[str, Any]]
) -> None:
    clock = Clock()
    history = History(fleet, clock)
    record()
    history.look()
    late, early = record(2)
    StateChange.objects.filter(pk=late.pk).delete()  # its transaction is still under way
    history.look()
    assert len(told) == 1
    late.save(force_insert=True)
    history.look()
    assert len(told) == 2
    assert early.pk > late.pk


def test_a_number_that_is_under_way_while_a_server_begins_is_found(
    fleet: MergedFleet, told: list[dict[str, Any]]
) -> None:
    _, late, _ = record(3)
    StateChange.objects.filter(pk=late.pk).delete()  # its transaction is still under way
    history = History(fleet)
    history.look()
    late.save(force_insert=True)
    history.look()
    history.look()
    assert len(told) == 1


def test_a_number_that_never_comes_is_not_looked_for_for_ever(fleet: MergedFleet) -> None:
    clock = Clock()
    history = History(fleet, clock)
    record()
    history.look()
    before = set(history._missing)  # numbers that other tests took
    gone, _ = record(2)
    StateChange.objects.filter(pk=gone.pk).delete()
    history.look()
    assert set(history._missing) - before == {gone.pk}
    clock.now += UNDER_WAY + 1
    history.look()
    assert not history._missing


def test_a_row_that_is_handed_over_twice_is_told_once(fleet: MergedFleet, told: list[dict[str, Any]]) -> None:
    history = History(fleet)
    history.look()
    rows = record(2)
    history.tell(rows)
    history.tell(rows[-1:])
    assert (len(told), counted(fleet)) == (2, 2)


def test_of_very_many_rows_all_are_told_in_one_look_and_in_order(
    fleet: MergedFleet, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.sharing.history.AT_ONCE", 2)
    history = History(fleet)
    history.look()
    rows = [row for _ in range(5) for row in record()]
    history.look()
    assert told == [transition_event(row) for row in rows]


def test_of_too_many_numbers_that_are_missing_the_latest_are_looked_for(
    fleet: MergedFleet, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.sharing.history.MOST_MISSING", 3)
    record()
    history = History(fleet)
    history.look()
    history._missing.clear()  # numbers that other tests took
    *late, _ = record(6)
    StateChange.objects.filter(pk__in=[row.pk for row in late]).delete()  # their transactions are still under way
    history.look()
    history.look()
    assert sorted(history._missing) == [row.pk for row in late[-3:]]


def test_nothing_is_counted_before_the_fleet_is_known(fleet: MergedFleet, told: list[dict[str, Any]]) -> None:
    fleet._recalled = False
    history = History(fleet)
    record(2)
    history.look()
    assert counted(fleet) == 0
    record()
    fleet._recalled = True
    history.look()
    assert (len(told), counted(fleet)) == (0, 3)


class Interrupted(MergedFleet):
    """Each event is recorded only after somebody else had his chance to come between."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def record_event(self, event: dict[str, Any]) -> None:
        self.between()
        super().record_event(event)


@pytest.mark.django_db(transaction=True)
def test_what_is_told_while_the_counting_begins_is_counted_once() -> None:
    fleet = Interrupted()
    fleet.synchronise()
    fleet._recalled = True
    history = History(fleet)

    def look() -> None:
        try:
            history.look()
        finally:
            connection.close()

    beginning = threading.Thread(target=look)

    def between() -> None:
        fleet.between = lambda: None  # type: ignore[method-assign]  # once
        beginning.start()
        beginning.join(1)  # as far as it comes

    fleet.between = between  # type: ignore[method-assign]  # as above
    history.tell(record())
    beginning.join(10)
    history.look()
    assert counted(fleet) == 1


def test_requests_at_another_server_count_here_too() -> None:
    clock = Clock()
    here, elsewhere = Buckets(clock), Buckets(clock)
    elsewhere.share()
    assert [elsewhere.take("a", rate=1, burst=3) for _ in range(3)] == [0, 0, 0]
    here.debit(elsewhere.drain())
    assert here.take("a", rate=1, burst=3) == 1
    assert here.take("b", rate=1, burst=3) == 0
    assert elsewhere.drain() == {}
    clock.now += 2
    assert here.take("a", rate=1, burst=3) == 0
