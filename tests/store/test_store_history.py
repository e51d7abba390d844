"""Transitions and instances: what the wire brings is recorded exactly once, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from breakers import selectors, services
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import TransitionReport
from breakers.models import Instance, InstanceIdentity, InstanceRecord, StateChange, TransitionTotal

pytestmark = pytest.mark.django_db
CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN
STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
Identity = Callable[..., InstanceIdentity]
Report = Callable[..., TransitionReport]


@pytest.fixture
def record(transition: Report) -> Callable[..., list[StateChange]]:
    """``record(instance, "closed>open", at=3)``: the next transition of that instance."""

    def make(instance: InstanceIdentity, way: str, *, at: float = 0.0, name: str = "data_service") -> list[StateChange]:
        sequence = selectors.recorded_sequence(instance.id) + 1
        return services.transitions_record(batch=[(instance, transition(sequence, way, at=at, name=name))])

    return make


# --- recording --------------------------------------------------------------------------------------------------


def test_a_transition_is_recorded_with_all_that_was_told(identity: Identity, transition: Report):
    one = identity()
    services.transitions_record(batch=[(one, replace(transition(3, at=1.5), failure_rate=0.5))])
    row = StateChange.objects.get()
    assert (row.breaker, row.service, row.instance, row.sequence) == ("data_service", "trading_service", one.id, 3)
    assert (row.from_state, row.to_state, row.reason) == ("closed", "open", "consecutive_failures")
    assert (row.cause, row.epoch, row.failures, row.calls) == ("5 consecutive failures, last: OSError", 3, 5, 5)
    assert (row.failure_rate, row.at) == (0.5, STARTED + timedelta(seconds=1.5))
    assert abs(row.received_at - timezone.now()) < timedelta(minutes=1)


def test_only_new_transitions_are_returned_and_in_order(identity: Identity, transition: Report):
    one, two = identity(), identity("other_service")
    first = [(one, transition(1)), (two, transition(1)), (one, transition(2))]
    assert [(c.instance, c.sequence) for c in services.transitions_record(batch=first)] == [
        (one.id, 1),
        (two.id, 1),
        (one.id, 2),
    ]
    again = [(one, transition(2)), (one, transition(3)), (two, transition(2)), (one, transition(3))]
    new = services.transitions_record(batch=again)
    assert [(c.instance, c.sequence) for c in new] == [(one.id, 3), (two.id, 2)]
    assert all(change.pk for change in new)
    assert StateChange.objects.count() == 5
    assert services.transitions_record(batch=[*first, *again]) == []


def test_of_one_number_told_twice_the_first_telling_counts(identity: Identity, transition: Report):
    one = identity()
    services.transitions_record(batch=[(one, transition(1)), (one, replace(transition(1), cause="another"))])
    assert StateChange.objects.get().cause.startswith("5 consecutive")


def test_a_batch_larger_than_one_query_can_ask_for(identity: Identity, transition: Report):
    one, two = identity(), identity()
    batch = [(instance, transition(number)) for number in range(1, 901) for instance in (one, two)]
    assert len(services.transitions_record(batch=batch)) == 1800
    assert services.transitions_record(batch=batch) == []
    assert selectors.recorded_sequence(one.id) == 900


def test_an_empty_batch_is_nothing():
    assert services.transitions_record(batch=[]) == []


@pytest.mark.parametrize(
    "wrong", [{"name": "not a name"}, {"name": "nul\x00"}, {"name": ""}, {"sequence": 0}, {"sequence": -1}]
)
def test_what_cannot_be_read_is_left_out_and_harms_no_other(
    identity: Identity, transition: Report, wrong: dict[str, object]
):
    batch = [(identity(), replace(transition(1), **wrong)), (identity(), transition(1))]
    assert len(services.transitions_record(batch=batch)) == 1


def test_text_and_time_that_no_database_takes_are_made_to_fit(identity: Identity, transition: Report):
    odd = replace(identity(), service="s\x00" * 200, host="h\ud800" * 300, library="l" * 500)
    report = replace(transition(1), reason="r" * 80, cause="c\x00\ud800" * 3000, at=2.0**53, failures=2**53)
    (row,) = services.transitions_record(batch=[(odd, report)])
    row.refresh_from_db()
    assert (row.service, row.reason, len(row.cause)) == ("s" * 100, "r" * 50, 2000)
    assert row.at == row.received_at
    stored = Instance.objects.get()
    assert (stored.host[:2], len(stored.host), len(stored.library)) == ("h?", 255, 100)


def test_the_recorded_sequence_is_the_highest_of_that_instance(identity: Identity, transition: Report):
    one, two = identity(), identity()
    services.transitions_record(batch=[(one, transition(1)), (one, transition(7)), (two, transition(9))])
    assert (selectors.recorded_sequence(one.id), selectors.recorded_sequence(uuid4())) == (7, 0)


# --- reading ----------------------------------------------------------------------------------------------------


def test_history_is_newest_first_and_filtered(identity: Identity, record):
    one, two = identity(), identity("quote_service")
    record(one, "closed>open", at=10)
    record(two, "closed>open", at=5)
    record(one, "open>half_open", at=70)
    record(one, "closed>open", at=20, name="other")
    seconds = [(row.at - STARTED).total_seconds() for row in selectors.history()]
    assert seconds == [70, 20, 10, 5]
    assert selectors.history("data_service").count() == 3
    assert selectors.history("data_service", service="quote_service").get().instance == two.id
    assert selectors.history(instance=one.id, to_state="open").count() == 2
    assert selectors.history(from_state="open").count() == 1
    assert selectors.history(reason="reset").count() == 0
    at = STARTED + timedelta(seconds=10)
    assert [selectors.history(since=at).count(), selectors.history(until=at).count()] == [3, 2]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"name": "data_service"}, "statechange_breaker_at (breaker=?)"),
        ({"name": "data_service", "since": STARTED}, "statechange_breaker_at (breaker=? AND at>?)"),
        ({"instance": uuid4()}, "statechange_instance_at (instance=?)"),
        ({"name": "data_service", "reason": "reset", "service": "trading"}, "statechange_breaker_at (breaker=?)"),
        ({"instance": uuid4(), "reason": "reset", "to_state": "open"}, "statechange_instance_at (instance=?)"),
        ({"reason": "reset", "since": STARTED, "until": STARTED}, "statechange_at (at>? AND at<?)"),
        ({"since": STARTED}, "statechange_at (at>?)"),
        ({}, "statechange_at"),
    ],
)
def test_what_is_asked_is_found_by_an_index_that_is_in_order_also_without_statistics(
    asked: dict[str, object], index: str
):
    plan = selectors.history(**asked)[:100].explain()
    assert f"USING INDEX {index}" in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan


def test_latest_states_are_the_newest_of_each_instance(identity: Identity, record, transition: Report):
    one, two = identity(), identity()
    same = [(one, transition(2, "open>half_open", at=10)), (one, transition(1, "closed>open", at=10))]
    services.transitions_record(batch=same)  # of one instant: the higher number is the newer one
    record(two, "closed>open", at=3)
    record(two, "closed>open", at=4, name="other")
    found = selectors.latest_states()
    assert {latest.instance: (latest.from_state, latest.to_state) for latest in found["data_service"]} == {
        one.id: (OPEN, HALF_OPEN),
        two.id: (CLOSED, OPEN),
    }
    assert [latest.at for latest in found["other"]] == [STARTED + timedelta(seconds=4)]


def test_last_causes_are_of_the_newest_transition_or_of_the_newest_to_a_state(
    create: Callable[..., object], identity: Identity, transition: Report
):
    create()
    one = identity()
    recovered = replace(transition(2, "open>closed", at=9), cause="3 probes succeeded", reason="probes_succeeded")
    services.transitions_record(batch=[(one, transition(1, at=1)), (one, recovered)])
    newest = selectors.last_causes()["data_service"]
    assert (newest.cause, newest.reason) == ("3 probes succeeded", "probes_succeeded")
    opened = selectors.last_causes(OPEN)["data_service"]
    assert (opened.reason, opened.at) == ("consecutive_failures", STARTED + timedelta(seconds=1))
    assert selectors.last_causes(HALF_OPEN) == {}


def test_transition_totals_count_by_breaker_way_and_reason(identity: Identity, record):
    one = identity()
    for way in ("closed>open", "open>half_open", "half_open>open", "open>half_open"):
        record(one, way)
    assert selectors.transition_totals() == {
        ("data_service", "closed", "open", "consecutive_failures"): 1,
        ("data_service", "open", "half_open", "consecutive_failures"): 2,
        ("data_service", "half_open", "open", "consecutive_failures"): 1,
    }


def test_totals_keep_what_was_pruned_and_count_a_repeated_report_once(identity: Identity, transition: Report):
    one = identity()
    twice = [(one, transition(1)), (one, transition(2, "open>half_open", at=10))]
    for batch in (twice, twice[:1], twice):
        services.transitions_record(batch=batch)
    before = selectors.transition_totals()
    assert sum(before.values()) == 2
    assert services.history_prune(before=timezone.now()) == 1
    assert selectors.transition_totals() == before


def test_the_history_of_before_is_counted_when_the_table_is_made(identity: Identity, record):
    one, two = identity(), identity()
    for instance in (one, two, two):
        record(instance, "closed>open")
    record(one, "open>half_open", name="other")
    counted = selectors.transition_totals()
    TransitionTotal.objects.all().delete()
    migration = import_module("breakers.migrations.0010_transition_totals")
    migration.count_what_stands(apps, SimpleNamespace(connection=connection))
    assert selectors.transition_totals() == counted
    assert sum(counted.values()) == 4


# --- since ------------------------------------------------------------------------------------------------------


def seconds_since(states=None) -> float | None:
    at = selectors.fleet_since("data_service", states)
    return None if at is None else (at - STARTED).total_seconds()


def test_since_is_when_the_worst_state_became_what_it_is(identity: Identity, record):
    one, two = identity(), identity()
    assert seconds_since() is None
    record(one, "closed>open", at=10)
    assert seconds_since() == 10
    record(two, "closed>open", at=20)  # already open by the other
    assert seconds_since() == 10
    record(one, "open>half_open", at=30)  # the other is still open
    assert seconds_since() == 10
    record(two, "open>half_open", at=40)
    assert seconds_since() == 40
    record(one, "half_open>closed", at=50)
    record(two, "half_open>closed", at=60)
    assert seconds_since() == 60


def test_since_counts_only_the_instances_that_are_named(identity: Identity, record):
    one, dead = identity(), identity()
    record(dead, "closed>open", at=10)  # and died open
    record(one, "closed>open", at=20)
    record(one, "open>closed", at=30)
    assert seconds_since() == 10
    assert seconds_since({one.id: CLOSED}) == 30
    assert seconds_since({one.id: CLOSED, dead.id: OPEN}) == 10
    assert seconds_since({}) is None


def test_since_walks_a_bounded_way_back(identity: Identity, transition: Report):
    one, two = identity(), identity()
    flips = [(two, transition(n, ("open>closed", "closed>open")[n % 2], at=n)) for n in range(1, 600)]
    services.transitions_record(batch=[(one, transition(1, at=0)), *flips])
    assert seconds_since() is None


# --- instances --------------------------------------------------------------------------------------------------


def test_an_instance_is_recorded_once_and_returns_as_itself(identity: Identity):
    one = identity()
    services.instance_seen(identity=one)
    first = Instance.objects.get()
    assert (first.service, first.host, first.pid, first.library) == ("trading_service", "host-1", 4711, "0.1.0")
    Instance.objects.update(gone_at=timezone.now(), observed={"a": {}})
    services.instance_seen(identity=replace(one, library="0.2.0"))
    again = Instance.objects.get()
    assert (again.gone_at, again.library, again.observed) == (None, "0.2.0", {"a": {}})
    assert again.first_seen_at == first.first_seen_at
    assert again.last_seen_at > first.last_seen_at


def test_what_instances_observed_is_written_and_read_back_whole(identity: Identity):
    one, two = identity(), identity()
    services.instance_seen(identity=one)
    (before,) = selectors.instances_observed()
    now = timezone.now()
    observed = {"data_service": {"state": "open", "counts": {"successes": 7}, "latency": {"12": 7}}}
    known = replace(before, last_seen_at=now, gone_at=now, observed=observed, first_seen_at=now)
    new = InstanceRecord(
        two.id, two.service, two.host, two.pid, two.library, two.started_at, STARTED, now, None, {"x": {}}
    )
    services.instances_persist(rows=[known, new])
    found = {row.id: row for row in selectors.instances_observed()}
    assert found[one.id] == replace(known, first_seen_at=before.first_seen_at)
    assert found[two.id] == new
    assert found[two.id].identity == two


# --- pruning ----------------------------------------------------------------------------------------------------


def test_pruning_keeps_the_last_transition_of_every_breaker(identity: Identity, record):
    one = identity()
    record(one, "closed>open", at=10)
    record(one, "open>half_open", at=20)
    record(one, "closed>open", at=5, name="quiet")
    Instance.objects.update(gone_at=timezone.now())
    assert services.history_prune(before=STARTED + timedelta(days=30)) == 1
    kept = set(StateChange.objects.values_list("breaker", "to_state"))
    assert kept == {("data_service", "half_open"), ("quiet", "open")}


def test_pruning_keeps_the_last_transition_of_each_instance_that_is_not_gone(identity: Identity, record):
    live, gone = identity(), identity()
    record(live, "closed>open", at=1)
    record(gone, "closed>open", at=2)
    record(identity(), "closed>open", at=3)
    Instance.objects.filter(pk=gone.id).update(gone_at=timezone.now())
    assert services.history_prune(before=STARTED + timedelta(days=30)) == 1
    assert not StateChange.objects.filter(instance=gone.id).exists()


def test_pruning_leaves_what_is_young(identity: Identity, record):
    one = identity()
    record(one, "closed>open", at=10)
    record(one, "open>closed", at=20)
    assert services.history_prune(before=STARTED + timedelta(seconds=10)) == 0
    assert services.history_prune(before=STARTED + timedelta(seconds=11)) == 1
