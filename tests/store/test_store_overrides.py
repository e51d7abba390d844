"""Overrides are accountable: asked before most of a group goes dark, and over when their time is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from breakers import selectors, services
from breakers.core.errors import ConfigError
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Report
from breakers.fleet import fleet
from breakers.models import BreakerConfig, ConfigChange, InstanceIdentity
from breakers.problems import NeedsConfirmation
from breakers.services import Actor

pytestmark = pytest.mark.django_db
Create = Callable[..., BreakerConfig]
OPEN, CLOSED = Override.FORCED_OPEN, Override.FORCED_CLOSED


@pytest.fixture
def force(alice: Actor) -> Callable[..., BreakerConfig]:
    def act(name: str, override: Override = OPEN, **how: Any) -> BreakerConfig:
        given = {"reason": "INC-1", "expires_at": None, "by": alice, **how}
        return services.override_set(name=name, override=override, **given)

    return act


def overdue(name: str) -> None:
    """The override of ``name`` ended a second ago; nobody can set one so."""
    BreakerConfig.objects.filter(name=name).update(override_expires_at=timezone.now() - timedelta(seconds=1))


def sees(**states: str) -> None:
    """An instance is linked whose breakers are in these states."""
    now = timezone.now()
    identity = InstanceIdentity(uuid4(), "s", "h", 1, "0", now)
    fleet.synchronise()
    fleet.connect(identity, now)
    statuses = tuple(BreakerStatus(name, CircuitBreakerState(state)) for name, state in states.items())
    fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, statuses), now)


def put(names: list[str], by: Actor, override: Override = OPEN, **how: Any) -> list[str]:
    """Several at once."""
    given = {"reason": "INC-1", "expires_at": timezone.now() + timedelta(hours=1), **how}
    return services.overrides_set(names=names, override=override, by=by, **given)


# --- the question -----------------------------------------------------------------------------------------------


def test_a_single_breaker_is_forced_without_a_question(create: Create, force):
    create()
    assert force("data_service").override == "forced_open"


def test_half_of_a_group_is_forced_without_a_question_and_one_more_is_asked(create: Create, force):
    for name in "abcd":
        create(name, group="core")
    create("elsewhere", group="edge")
    force("a")
    force("b")
    revision = selectors.current_revision()
    with pytest.raises(NeedsConfirmation) as asked:
        force("c")
    assert (asked.value.name, asked.value.count, asked.value.of, asked.value.group) == ("c", 3, 4, "core")
    assert "3 of the 4 breakers of the group 'core'" in str(asked.value)
    assert selectors.current_revision() == revision
    assert force("c", confirm=True).override == "forced_open"


def test_without_a_group_the_whole_fleet_is_counted(create: Create, force):
    create("a", group="core")
    create("b")
    create("c")
    force("a")
    with pytest.raises(NeedsConfirmation) as asked:
        force("b")
    assert (asked.value.count, asked.value.of, asked.value.group) == (2, 3, "")


def test_forcing_closed_is_not_asked(create: Create, force):
    create("a", group="core")
    create("b", group="core")
    force("a")
    assert force("b", CLOSED).override == "forced_closed"


def test_prolonging_what_is_forced_open_is_not_asked(create: Create, force):
    create("a", group="core")
    create("b", group="core")
    force("a")
    force("b", confirm=True)
    until = timezone.now() + timedelta(hours=1)
    assert force("b", expires_at=until).override_expires_at == until


def test_an_override_that_is_over_does_not_count(create: Create, force):
    create("a", group="core")
    create("b", group="core")
    force("a", expires_at=timezone.now() + timedelta(hours=1))
    overdue("a")
    assert force("b").override == "forced_open"
    with pytest.raises(NeedsConfirmation):
        force("a")


def test_what_is_open_by_itself_does_not_count(create: Create, force):
    create("a", group="core")
    create("b", group="core")
    sees(a="open", b="closed")
    assert force("b").override == "forced_open"


# --- the end ----------------------------------------------------------------------------------------------------


def test_an_override_whose_time_is_over_is_cleared_in_the_systems_name(create: Create, force):
    create()
    until = timezone.now() + timedelta(hours=1)
    force("data_service", expires_at=until)
    overdue("data_service")
    assert services.overrides_expire() == ["data_service"]
    row, change = selectors.breaker("data_service"), ConfigChange.objects.latest("revision")
    assert (row.override, row.override_reason, row.override_by, row.override_expires_at) == ("", "", "", None)
    assert (change.kind, change.actor, change.after) == ("override_released", "system", None)
    assert change.before["reason"] == "INC-1"
    assert (row.revision, row.version) == (change.revision, 1)
    assert services.overrides_expire() == []
    assert selectors.current_revision() == 3


def test_overrides_that_still_stand_are_left(create: Create, force):
    create("a")
    create("b")
    force("a", expires_at=timezone.now() + timedelta(hours=1))
    force("b", CLOSED)
    assert services.overrides_expire() == []
    assert [row.override for row in BreakerConfig.objects.all()] == ["forced_open", "forced_closed"]


def test_an_override_that_was_prolonged_meanwhile_is_left(create: Create, force, monkeypatch):
    create()
    force("data_service", expires_at=timezone.now() + timedelta(hours=1))
    overdue("data_service")
    from breakers.models import Revision

    taken = Revision.locked

    def prolonged_before_the_lock() -> Revision:
        BreakerConfig.objects.update(override_expires_at=timezone.now() + timedelta(hours=1))
        return taken()

    monkeypatch.setattr(Revision, "locked", prolonged_before_the_lock)
    assert services.overrides_expire() == []
    assert selectors.breaker("data_service").override == "forced_open"


# --- many at once -----------------------------------------------------------------------------------------------


def test_many_are_forced_at_once_each_under_a_revision_and_with_an_audit_row_of_its_own(create: Create, alice: Actor):
    for name in "abc":
        create(name, failure_threshold=7)
    until = timezone.now() + timedelta(hours=1)
    assert put(["a", "c", "nobody"], alice, expires_at=until, confirm=True) == ["a", "c"]
    rows = {row.name: row for row in BreakerConfig.objects.all()}
    changes = list(ConfigChange.objects.filter(kind="override_set").order_by("revision"))
    assert [(row.override, row.override_reason, row.override_by) for row in (rows["a"], rows["c"])] == [
        ("forced_open", "INC-1", "user:alice")
    ] * 2
    assert [(c.breaker, c.revision, c.actor, c.reason, c.before) for c in changes] == [
        ("a", 4, "user:alice", "INC-1", None),
        ("c", 5, "user:alice", "INC-1", None),
    ]
    assert [c.after for c in changes] == [rows[c.breaker].override_settings() for c in changes]
    assert (rows["a"].revision, rows["c"].revision, selectors.current_revision()) == (4, 5, 5)
    assert rows["a"].override_expires_at == until
    assert (rows["a"].version, rows["a"].failure_threshold, rows["b"].override) == (1, 7, "")


def test_the_fleet_sees_each_of_many_that_were_forced_and_released_at_once(create: Create, alice: Actor):
    for name in "abc":
        create(name)
    fleet.synchronise()
    seen = []
    leave = fleet.on_event(lambda event: seen.append((event["name"], event["change"], event["reason"])))
    put(["a", "b"], alice, confirm=True)
    fleet.synchronise()
    assert [row["override"] and row["override"]["reason"] for row in fleet.rows()] == ["INC-1", "INC-1", None]
    assert services.overrides_release(names=["a", "b", "c"], reason="over", by=alice) == ["a", "b"]
    fleet.synchronise()
    leave()
    assert [row["override"] for row in fleet.rows()] == [None, None, None]
    assert seen == [(name, "override_set", "INC-1") for name in "ab"] + [
        (name, "override_released", "over") for name in "ab"
    ]


def test_many_are_asked_about_together(create: Create, alice: Actor):
    for name in "abcd":
        create(name, group="core")
    with pytest.raises(NeedsConfirmation) as asked:
        put(["a", "b", "c"], alice)
    assert (asked.value.count, asked.value.of, asked.value.group) == (3, 4, "core")
    assert not BreakerConfig.objects.exclude(override="").exists()
    assert selectors.current_revision() == 4
    assert put(["a", "b", "c"], alice, confirm=True) == ["a", "b", "c"]


def test_an_end_in_the_past_is_refused_for_many_too(create: Create, alice: Actor):
    create("a")
    with pytest.raises(ConfigError, match="in the future"):
        put(["a"], alice, expires_at=timezone.now())


def test_nothing_to_force_or_to_release_writes_nothing(create: Create, alice: Actor):
    create("a")
    assert put(["nobody"], alice) == services.overrides_release(names=["a"], reason="", by=alice) == []
    assert selectors.current_revision() == 1


def due(some: list[str]) -> list[str]:
    """These are over, and are expired."""
    BreakerConfig.objects.filter(name__in=some).update(override_expires_at=timezone.now())
    return services.overrides_expire()


@pytest.mark.parametrize("action", ["force", "release", "reset", "expire"])
def test_what_is_done_to_many_costs_as_many_queries_as_for_two(create: Create, alice: Actor, action: str):
    names = [f"b{number:02}" for number in range(42)]
    for name in names:
        create(name)
    if action in ("release", "expire"):
        put(names, alice, confirm=True)
    act: dict[str, Callable[[list[str]], list[Any]]] = {
        "force": lambda some: put(some, alice, confirm=True),
        "release": lambda some: services.overrides_release(names=some, reason="", by=alice),
        "reset": lambda some: services.breakers_reset_all(names=some, reason="", by=alice),
        "expire": due,
    }
    with CaptureQueriesContext(connection) as few:
        assert len(act[action](names[:2])) == 2
    with CaptureQueriesContext(connection) as many:
        assert len(act[action](names[2:])) == 40
    assert len(many) <= len(few) + 1  # SQLite takes the rows of the audit in parts
