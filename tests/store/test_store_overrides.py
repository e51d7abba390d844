"""Overrides are accountable: asked before most of a group goes dark, and over when their time is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from breakers import selectors, services
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
