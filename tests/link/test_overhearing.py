"""What a server learns of instances that are linked by the database itself: nobody tells it, it reads."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from breakers import selectors, services
from breakers.agents.overhearing import Overhearing
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import TransitionReport
from breakers.fleet import fleet
from breakers.models import InstanceIdentity

pytestmark = pytest.mark.django_db(transaction=True)
CLOSED, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN
KEY = ("heard", "closed", "open", "consecutive_failures")


class Direct:
    """An instance that writes what it sees."""

    def __init__(self) -> None:
        self.identity = InstanceIdentity(uuid4(), "direct", "here", 1, "test", datetime.now(UTC))
        self._sequence = 0
        services.instance_seen(identity=self.identity, direct=True)

    def open(self) -> None:
        self._sequence += 1
        told = TransitionReport(self._sequence, "heard", CLOSED, OPEN, "consecutive_failures", "5 of them", time.time())
        services.transitions_record(batch=[(self.identity, told)])


@pytest.fixture
def direct(ground: None) -> Direct:
    by = services.Actor("system")
    services.breaker_create(name="heard", config=CircuitBreakerConfig(name="heard"), http=HttpConfig(), by=by)
    return Direct()


def test_what_happens_between_the_recall_of_the_past_and_the_first_look_is_told_and_counted_once(
    direct: Direct,
) -> None:
    direct.open()
    fleet.synchronise()
    direct.open()
    newcomer = Direct()
    newcomer.open()
    overhearing = Overhearing()
    overhearing.look()
    assert len(fleet.events) == 2
    assert fleet.picture().transitions == selectors.transition_totals() == {KEY: 3}
    direct.open()
    overhearing.look()
    overhearing.look()
    assert len(fleet.events) == 3
    assert fleet.picture().transitions == selectors.transition_totals() == {KEY: 4}


def test_nobody_is_heard_before_the_past_is_known(direct: Direct) -> None:
    overhearing = Overhearing()
    direct.open()
    overhearing.look()
    fleet.synchronise()
    overhearing.look()
    assert fleet.events == []
    assert fleet.picture().transitions == {KEY: 1}


def test_sums_and_sequences_are_read_at_one_moment_while_others_write(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = selectors.transition_totals

    def and_then_another_one() -> dict[tuple[str, str, str, str], int]:
        found = totals()
        if sum(found.values()) < 3:
            direct.open()  # while the reader has read the one and not yet the other
        return found

    monkeypatch.setattr(selectors, "transition_totals", and_then_another_one)
    counted, sequences = selectors.recorded()
    assert counted == {KEY: 3}
    assert sequences == {direct.identity.id: 3}
