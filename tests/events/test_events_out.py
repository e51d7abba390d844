"""From the fleet into the stream: what is written is told, once, and nothing is written where nobody listens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from redis import Redis, ResponseError

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.events import STREAM
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import Registration, TransitionReport
from breakers.events import counts
from breakers.events.relay import Relay, send, settle
from breakers.events.upkeep import EVERY, REMEMBERED, Upkeep
from breakers.models import AppliedEvent, ConfigChange, InstanceIdentity, OutgoingEvent, StateChange
from breakers.services import outbox
from tests.events.conftest import ALICE, stream

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
Create = Callable[..., None]
pytestmark = pytest.mark.django_db


def identity(instance: UUID | None = None) -> InstanceIdentity:
    return InstanceIdentity(instance or uuid4(), "trading_service", "host-1", 4711, "0.1.0", AT)


def opening(sequence: int) -> TransitionReport:
    return TransitionReport(
        sequence=sequence, name="data_service", from_state=CircuitBreakerState.CLOSED,
        to_state=CircuitBreakerState.OPEN, reason="consecutive_failures", cause="5 consecutive failures",
        at=AT.timestamp(), epoch=sequence, failures=5, calls=5,
    )  # fmt: skip


def record(count: int, instance: UUID | None = None) -> None:
    services.transitions_record(batch=[(identity(instance), opening(number + 1)) for number in range(count)])


@pytest.fixture
def relay() -> Relay:
    return Relay()


def waiting() -> list[str]:
    return list(OutgoingEvent.objects.values_list("event_type", flat=True))


def pass_all(relay: Relay, redis: Redis) -> None:
    while relay.pass_on(redis):
        pass


def test_a_transition_is_told_with_all_that_the_history_knows(events_on: None, redis: Redis, relay: Relay) -> None:
    instance = uuid4()
    record(1, instance)
    pass_all(relay, redis)
    (event,) = stream(redis)
    assert UUID(event.pop("event_id"))
    assert event == {
        "event_type": "circuit_breaker.state_changed",
        "timestamp": "2026-03-01T12:00:00+00:00",
        "source": "circuit_breaker_service",
        "data": {
            "name": "data_service",
            "service": "trading_service",
            "instance": str(instance),
            "sequence": 1,
            "from_state": "closed",
            "to_state": "open",
            "reason": "consecutive_failures",
            "cause": "5 consecutive failures",
            "epoch": 1,
            "failures": 5,
            "calls": 5,
            "failure_rate": None,
        },
        "metadata": {"version": 1, "environment": "local"},
    }
    assert waiting() == []


def test_a_transition_that_is_reported_twice_is_told_once(events_on: None, redis: Redis, relay: Relay) -> None:
    instance = uuid4()
    record(2, instance)
    pass_all(relay, redis)
    record(3, instance)
    pass_all(relay, redis)
    assert [event["data"]["sequence"] for event in stream(redis)] == [1, 2, 3]
    assert len({event["event_id"] for event in stream(redis)}) == 3


def test_an_edit_is_told_with_what_it_changed(events_on: None, redis: Redis, relay: Relay, create: Create) -> None:
    create("data_service")
    config = CircuitBreakerConfig(name="data_service", failure_threshold=7)
    services.breaker_edit(name="data_service", config=config, http=HttpConfig(), reason="INC-7", by=ALICE)
    pass_all(relay, redis)
    change = ConfigChange.objects.get(kind="edited")
    edited = stream(redis)[-1]
    assert (edited["event_type"], edited["timestamp"]) == ("circuit_breaker.config_changed", change.at.isoformat())
    assert edited["data"] == {
        "name": "data_service",
        "kind": "edited",
        "version": 2,
        "revision": change.revision,
        "actor": "user:alice",
        "reason": "INC-7",
        "changes": {"failure_threshold": [5, 7]},
    }


def test_every_write_of_desired_state_is_told_under_its_type(
    events_on: None, redis: Redis, relay: Relay, create: Create
) -> None:
    create("data_service")
    services.breakers_register(registrations=[Registration("found", {})], service="trading_service")
    services.override_set(
        name="data_service", override=Override.FORCED_CLOSED, reason="INC-1", expires_at=None, by=ALICE
    )
    services.override_release(name="data_service", reason="", by=ALICE)
    instance = uuid4()
    services.breaker_reset(name="data_service", reason="", by=ALICE, instance=instance)
    services.breakers_reset_all(names=None, reason="all", by=ALICE)
    services.breaker_delete(name="data_service", reason="", by=ALICE)
    pass_all(relay, redis)
    told = [(event["event_type"].partition(".")[2], event["data"]["kind"]) for event in stream(redis)]
    assert told == [
        ("config_changed", "created"),
        ("config_changed", "registered"),
        ("override_changed", "override_set"),
        ("override_changed", "override_released"),
        ("reset", "reset"),
        ("reset", "reset"),
        ("reset", "reset"),
        ("config_changed", "deleted"),
    ]
    revisions = [event["data"]["revision"] for event in stream(redis)]
    assert revisions == list(ConfigChange.objects.order_by("revision").values_list("revision", flat=True))
    assert [event["data"].get("instance") for event in stream(redis)][4:6] == [str(instance), None]


def test_a_description_of_any_length_stops_no_edit(events_on: None, redis: Redis, relay: Relay) -> None:
    services.breaker_create(
        name="data_service", config=CircuitBreakerConfig(), http=HttpConfig(), description="x" * 1_000_000, by=ALICE
    )
    pass_all(relay, redis)
    assert stream(redis)[0]["data"]["changes"]["description"] == [None, "x" * 2000]


def test_who_sends_is_woken_when_it_is_committed(events_on: None, django_capture_on_commit_callbacks: Any) -> None:
    outbox.woken.clear()
    with django_capture_on_commit_callbacks(execute=True):
        record(1)
        assert not outbox.woken.is_set()
    assert outbox.woken.is_set()


def test_what_is_rolled_back_is_not_told(events_on: None, create: Create) -> None:
    with transaction.atomic():
        create("data_service")
        record(1)
        assert len(waiting()) == 2
        transaction.set_rollback(True)
    assert waiting() == []


def test_where_no_stream_is_nothing_is_written(create: Create, settings: Any, django_assert_num_queries: Any) -> None:
    create("data_service")
    record(3)
    services.breaker_reset(name="data_service", reason="", by=ALICE)
    assert (StateChange.objects.count(), waiting()) == (3, [])
    del settings.CIRCUIT_BREAKER_EVENTS  # as where somebody else's settings are
    with django_assert_num_queries(0):
        outbox.tell_transitions([StateChange(breaker="x") for _ in range(3)])
        outbox.tell_changes([ConfigChange(breaker="x")])


def test_a_server_killed_between_adding_and_settling_has_told_it_once(
    events_on: None, redis: Redis, relay: Relay
) -> None:
    record(3)
    send(redis, services.events_due(most=2))
    assert len(stream(redis)) == 2
    pass_all(relay, redis)
    assert [event["data"]["sequence"] for event in stream(redis)] == [1, 2, 3]
    assert waiting() == []


def test_a_server_that_slept_while_another_sent_tells_nothing_again(
    events_on: None, redis: Redis, relay: Relay
) -> None:
    record(3)
    read_before_it_slept = services.events_due(most=10)
    pass_all(relay, redis)
    send(redis, read_before_it_slept)
    settle(redis, read_before_it_slept)
    assert [event["data"]["sequence"] for event in stream(redis)] == [1, 2, 3]


def test_marks_of_what_was_settled_pass_away(events_on: None, redis: Redis, relay: Relay) -> None:
    record(2)
    rows = services.events_due(most=10)
    send(redis, rows)
    marks = [f"{STREAM}.sent:{row.event_id}" for row in rows]
    assert all(redis.ttl(mark) > 29 * 86_400 for mark in marks)
    pass_all(relay, redis)
    assert all(0 < redis.ttl(mark) <= 600 for mark in marks)


def test_what_redis_refuses_waits_and_is_told_later(events_on: None, redis: Redis, relay: Relay) -> None:
    record(2)
    redis.set(STREAM, "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        relay.pass_on(redis)
    assert len(waiting()) == 2
    redis.delete(STREAM)
    pass_all(relay, redis)
    assert [event["data"]["sequence"] for event in stream(redis)] == [1, 2]


def test_the_stream_is_bounded(events_on: None, redis: Redis, relay: Relay, settings: Any) -> None:
    settings.CIRCUIT_BREAKER_EVENTS_LENGTH = 100
    record(1000)
    pass_all(relay, redis)
    told = [event["data"]["sequence"] for event in stream(redis)]
    assert 100 <= len(told) < 300, "to a whole node"
    assert told[-1] == 1000


class Written(Relay):
    """Somebody writes just after it has looked."""

    def pass_on(self, redis: Redis) -> bool:
        passed = super().pass_on(redis)
        outbox.woken.set()
        return passed


def test_who_sends_rests_until_it_is_woken_and_misses_nobody_who_writes_meanwhile(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.events.relay.LOOK", 0.001)
    first = Relay()
    outbox.woken.set()
    first.step(redis)
    assert not outbox.woken.is_set(), "it has looked since"
    first.give_back()
    Written().step(redis)
    assert outbox.woken.is_set(), "it looks again at once"


def test_it_counts_what_it_sends_by_type(events_on: None, redis: Redis, relay: Relay, create: Create) -> None:
    def sent() -> list[float]:
        kinds = ("config_changed", "state_changed")
        return [counts.SENT.labels(f"circuit_breaker.{kind}")._value.get() for kind in kinds]

    edits, changes = sent()
    create("data_service")
    record(2)
    pass_all(relay, redis)
    assert sent() == [edits + 1, changes + 2]


def test_only_one_server_relays_at_a_time_and_the_next_takes_over_when_it_ends(events_on: None, redis: Redis) -> None:
    first, second = Relay(), Relay()
    record(1)
    first.end(redis)
    record(1)
    second.end(redis)
    assert len(waiting()) == 1, "the first has it"
    first.give_back()
    second.end(redis)
    assert waiting() == []


def test_what_waits_for_more_than_a_day_is_given_up(events_on: None) -> None:
    record(3)
    oldest = OutgoingEvent.objects.order_by("id").first()
    assert oldest is not None
    OutgoingEvent.objects.filter(pk=oldest.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert services.events_prune() == 1
    assert oldest.pk not in OutgoingEvent.objects.values_list("pk", flat=True)
    assert len(waiting()) == 2


def test_of_too_many_that_wait_the_oldest_are_given_up(events_on: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    record(3)
    assert services.events_prune() == 0
    record(2)
    newest = list(OutgoingEvent.objects.order_by("-id").values_list("pk", flat=True))[:3]
    assert services.events_prune() == 2
    assert set(OutgoingEvent.objects.values_list("pk", flat=True)) == set(newest)


def test_what_is_given_up_is_counted_and_said(events_on: None, caplog: pytest.LogCaptureFixture) -> None:
    record(2)
    OutgoingEvent.objects.update(created_at=timezone.now() - timedelta(hours=25))
    before = counts.GIVEN_UP._value.get()
    upkeep = Upkeep()
    upkeep.do_if_due(100.0)
    assert counts.GIVEN_UP._value.get() - before == 2
    assert "2 events never reached the stream: it was away for too long" in caplog.text


def test_who_sends_tidies_up_twice_a_minute_and_tells_what_waits(events_on: None, relay: Relay) -> None:
    services.recovery_apply(event_id="old", service="nobody", source="s")
    AppliedEvent.objects.update(applied_at=timezone.now() - REMEMBERED)
    record(3)
    OutgoingEvent.objects.update(created_at=timezone.now() - timedelta(hours=2))
    relay._upkeep.do_if_due(100.0)
    assert (counts.WAITING._value.get(), AppliedEvent.objects.count()) == (3, 0)
    assert 7200 <= counts.WAITING_SECONDS._value.get() < 7300
    OutgoingEvent.objects.all().delete()
    for now, waiting in ((100.0 + EVERY - 1, 3), (100.0 + EVERY, 0)):
        relay._upkeep.do_if_due(now)
        assert counts.WAITING._value.get() == waiting


def test_what_was_applied_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    services.recovery_apply(event_id="old", service="nobody", source="s")
    assert services.recovery_apply(event_id="old", service="nobody", source="s") is None
    assert services.applied_prune(before=timezone.now() - timedelta(days=30)) == 0
    assert services.applied_prune(before=timezone.now()) == 1
    assert services.recovery_apply(event_id="old", service="nobody", source="s") == []
