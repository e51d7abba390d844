"""From the stream into the fleet: acknowledged, claimed, applied once; what cannot be read is put aside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from redis import Redis, ResponseError

from breakers import services
from breakers.core.events import DEAD, MAX_BYTES, STREAM
from breakers.events import counts
from breakers.events.consumer import GROUP, Consumer
from breakers.models import AppliedEvent, ConfigChange
from tests.events.conftest import RECOVERED, dead, put

Create = Callable[..., None]
pytestmark = pytest.mark.django_db


def member(name: str, *, reclaim: float = 10.0) -> Consumer:
    """Of the group; asks and does not wait."""
    return Consumer(name=name, reclaim=reclaim, patience=0.001)


@pytest.fixture
def consumer(redis: Redis) -> Consumer:
    made = member("one")
    made.begin(redis)
    return made


def run(redis: Redis, *consumers: Consumer) -> None:
    """Until nothing is left to do; a consumer first looks at what it had."""
    for _ in range(2):
        for consumer in consumers:
            consumer.step(redis)


def resets() -> list[str]:
    return sorted(ConfigChange.objects.filter(kind="reset").values_list("breaker", flat=True))


def pending(redis: Redis) -> int:
    found: Any = redis.xpending(STREAM, GROUP)
    return int(found["pending"])


def test_a_recovered_service_has_the_breaker_of_its_name_and_those_of_its_group_reset(
    redis: Redis, consumer: Consumer, create: Create
) -> None:
    create("data_service", "kyc")
    create("quotes", "history", group="data_service")
    put(redis, RECOVERED)
    run(redis, consumer)
    assert resets() == ["data_service", "history", "quotes"]
    assert pending(redis) == 0


def test_the_audit_says_which_event_asked_for_it_and_who_sent_that(
    redis: Redis, consumer: Consumer, create: Create
) -> None:
    create("data_service")
    put(redis, RECOVERED)
    run(redis, consumer)
    change = ConfigChange.objects.get(kind="reset")
    assert change.actor == "event:health_monitor"
    assert change.reason == f"data_service has recovered, says event {RECOVERED['event_id']}"


def test_an_event_that_comes_twice_is_applied_once(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    put(redis, RECOVERED)
    put(redis, RECOVERED)
    run(redis, consumer)
    put(redis, {**RECOVERED, "source": "somebody_else"})
    run(redis, consumer)
    assert resets() == ["data_service"]
    put(redis, {**RECOVERED, "event_id": "another"})
    run(redis, consumer)
    assert resets() == ["data_service", "data_service"]


def test_a_recovery_that_means_no_breaker_changes_nothing_and_is_remembered(redis: Redis, consumer: Consumer) -> None:
    put(redis, RECOVERED)
    run(redis, consumer)
    assert (resets(), pending(redis), dead(redis)) == ([], 0, [])
    assert AppliedEvent.objects.get().event_id == RECOVERED["event_id"]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in RECOVERED.items() if key != name}


POISON: dict[str, tuple[object, str]] = {
    "not JSON": ("{", "is no JSON: "),
    "not UTF-8": (b"\xff\xfe\x00{", "is no JSON: "),
    "empty": ("", "is no JSON: "),
    "nested without end": ("[" * 100_000, "is no JSON: "),
    "a list": ([RECOVERED], "is no JSON object"),
    "NaN": (json.dumps({**RECOVERED, "data": {"service_name": "x", "load": float("nan")}}), "is no JSON: "),
    **{f"without {name}": (without(name), f"lacks {name}") for name in RECOVERED},
    "a type that is no text": ({**RECOVERED, "event_type": 3}, "event.event_type: must be of type str"),
    "an id that is no text": ({**RECOVERED, "event_id": 3}, "event.event_id: must be of type str"),
    "an empty id": ({**RECOVERED, "event_id": ""}, "event_id is not 1 to 200 printable characters"),
    "an id too long": ({**RECOVERED, "event_id": "x" * 201}, "event_id is not 1 to 200 printable characters"),
    "an id with a NUL": ({**RECOVERED, "event_id": "a\x00b"}, "event_id is not 1 to 200 printable characters"),
    "a source that is no text": ({**RECOVERED, "source": None}, "event.source: must be of type str"),
    "a time that is none": (
        {**RECOVERED, "timestamp": "yesterday"}, "timestamp is neither ISO 8601 nor seconds since 1970"
    ),
    "a time beyond all calendars": (
        {**RECOVERED, "timestamp": 1e300}, "timestamp is neither ISO 8601 nor seconds since 1970"
    ),
    "data that is no object": ({**RECOVERED, "data": "data_service"}, "event.data: must be an object"),
    "metadata that is no object": ({**RECOVERED, "metadata": []}, "event.metadata: must be an object"),
    "no service": ({**RECOVERED, "data": {}}, "data.service_name is not 1 to 100 printable characters"),
    "an empty service": (
        {**RECOVERED, "data": {"service_name": ""}}, "data.service_name is not 1 to 100 printable characters"
    ),
    "a service that is a number": (
        {**RECOVERED, "data": {"service_name": 7}}, "data.service_name is not 1 to 100 printable characters"
    ),
    "a service with half a character": (
        {**RECOVERED, "data": {"service_name": "\ud800"}}, "data.service_name is not 1 to 100 printable characters"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
def test_what_cannot_be_read_is_put_aside_with_the_reason(
    kind: str, redis: Redis, consumer: Consumer, create: Create
) -> None:
    create("data_service")
    content, problem = POISON[kind]
    key = put(redis, content)
    put(redis, {**RECOVERED, "event_id": "the next one"})
    run(redis, consumer)
    (found,) = dead(redis)
    assert found[b"problem"].decode().startswith(problem)
    assert (found[b"message"], found[b"group"]) == (key, GROUP.encode())
    expected = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    assert found[b"event"] == (expected if isinstance(expected, bytes) else expected.encode())
    assert resets() == ["data_service"], "what comes after it is applied"
    assert pending(redis) == 0


def test_a_message_without_the_field_is_put_aside(redis: Redis, consumer: Consumer) -> None:
    redis.xadd(STREAM, {"payload": "{}"})
    run(redis, consumer)
    assert [found[b"problem"] for found in dead(redis)] == [b"has no field 'event'"]


def test_what_is_too_long_is_put_aside_cut(redis: Redis, consumer: Consumer) -> None:
    put(redis, {**RECOVERED, "metadata": {"dump": "x" * 2_000_000}})
    run(redis, consumer)
    (found,) = dead(redis)
    assert found[b"problem"].decode() == f"is longer than {MAX_BYTES} bytes"
    assert len(found[b"event"]) == MAX_BYTES


def test_events_of_other_types_are_none_of_our_business(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    put(redis, {**RECOVERED, "event_type": "service.started"})
    put(redis, {"event_type": "order.filled", "event_id": 7})
    run(redis, consumer)
    assert (resets(), dead(redis), pending(redis)) == ([], [], 0)


def test_a_message_that_a_dead_server_took_is_claimed(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    assert pending(redis) == 1
    run(redis, consumer)
    assert resets() == [], "not before its time: the other may only be slow"
    run(redis, member("two", reclaim=0.0))
    assert (resets(), pending(redis)) == (["data_service"], 0)


def test_a_server_that_comes_back_goes_on_with_what_it_had_taken(
    redis: Redis, consumer: Consumer, create: Create
) -> None:
    create("data_service")
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "one", {STREAM: ">"})
    again = member("one")
    again.begin(redis)
    run(redis, again)
    assert (resets(), pending(redis)) == (["data_service"], 0)


def test_a_server_killed_between_commit_and_acknowledgement_has_applied_it(redis: Redis, create: Create) -> None:
    create("data_service")
    member("killed").begin(redis)
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "killed", {STREAM: ">"})
    services.recovery_apply(event_id=RECOVERED["event_id"], service="data_service", source="health_monitor")
    run(redis, member("two", reclaim=0.0))
    assert (resets(), pending(redis)) == (["data_service"], 0)


def test_servers_share_the_work(redis: Redis, create: Create) -> None:
    create("data_service")
    both = [member("one"), member("two")]
    for consumer in both:
        consumer.begin(redis)
    taken = []
    for number in range(6):
        put(redis, {**RECOVERED, "event_id": f"event {number}"})
        before = len(resets())
        run(redis, both[number % 2])
        taken.append(len(resets()) - before)
    assert taken == [1] * 6
    assert pending(redis) == 0


def test_a_database_in_trouble_loses_no_event(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE breakers_appliedevent RENAME TO away")
    put(redis, RECOVERED)
    for _ in range(5):
        consumer.begin(redis)
        with pytest.raises(OperationalError):
            run(redis, consumer)
    assert (pending(redis), dead(redis)) == (1, [])
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO breakers_appliedevent")
    consumer.begin(redis)
    run(redis, consumer)
    assert (resets(), pending(redis)) == (["data_service"], 0)


def test_an_event_that_can_never_be_applied_is_put_aside_after_three_attempts(
    redis: Redis, consumer: Consumer, create: Create
) -> None:
    create("data_service", "kyc")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER never BEFORE INSERT ON breakers_configchange WHEN NEW.breaker = 'data_service'"
            " BEGIN SELECT RAISE(ABORT, 'never'); END"
        )
    put(redis, RECOVERED)
    put(redis, {**RECOVERED, "event_id": "the next one", "data": {"service_name": "kyc"}})
    for _ in range(2):
        with pytest.raises(Exception, match="never"):
            run(redis, consumer)
        consumer.begin(redis)
    run(redis, consumer)
    assert [found[b"problem"] for found in dead(redis)] == [b"IntegrityError: never"]
    assert (resets(), pending(redis)) == (["kyc"], 0)
    assert not AppliedEvent.objects.filter(event_id=RECOVERED["event_id"]).exists()


def test_an_old_message_is_passed_over_by_when_it_came_and_not_by_what_it_says(
    redis: Redis, consumer: Consumer, create: Create, settings: Any
) -> None:
    create("data_service")
    now = time.time()
    put(redis, {**RECOVERED, "event_id": "old", "timestamp": now}, id=f"{int((now - 3700) * 1000)}-0")
    put(redis, {**RECOVERED, "event_id": "young", "timestamp": "2001-01-01T00:00:00Z"})
    run(redis, consumer)
    assert list(AppliedEvent.objects.values_list("event_id", flat=True)) == ["young"]
    assert pending(redis) == 0
    assert dead(redis) == []


def test_a_stream_that_was_lost_is_begun_anew(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    run(redis, consumer)
    redis.delete(STREAM)
    put(redis, RECOVERED)
    with pytest.raises(ResponseError, match="NOGROUP"):
        consumer.step(redis)
    consumer.begin(redis)
    run(redis, consumer)
    assert resets() == ["data_service"]


def test_a_message_that_was_trimmed_while_it_was_pending_is_let_go(redis: Redis, consumer: Consumer) -> None:
    run(redis, consumer)
    key = put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "one", {STREAM: ">"})
    redis.xdel(STREAM, key)
    consumer.begin(redis)
    run(redis, consumer)
    assert (pending(redis), dead(redis)) == (0, [])


def test_all_that_a_dead_server_took_is_claimed_at_once(redis: Redis, consumer: Consumer, create: Create) -> None:
    create("data_service")
    for number in range(250):
        put(redis, {**RECOVERED, "event_id": f"event {number % 3}"})
    redis.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=1000)
    member("two", reclaim=0.0).step(redis)
    assert (resets(), pending(redis)) == (["data_service"] * 3, 0)


def test_what_two_servers_hold_at_once_is_put_aside_once(redis: Redis, consumer: Consumer) -> None:
    key = put(redis, "{")
    redis.xreadgroup(GROUP, "slow", {STREAM: ">"})
    run(redis, member("two", reclaim=0.0))
    fields = {b"event": b"{"}
    before = counts.RECEIVED.labels("dead")._value.get()
    consumer._take_all(redis, [(key, fields)])
    assert (len(dead(redis)), counts.RECEIVED.labels("dead")._value.get()) == (1, before)


def test_names_of_servers_that_are_gone_are_dropped_unless_they_hold_something(
    redis: Redis, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.xgroup_createconsumer(STREAM, GROUP, "gone")
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "holding", {STREAM: ">"})
    monkeypatch.setattr("breakers.events.consumer.FORGOTTEN", -1)
    consumer.step(redis)
    names: Any = redis.xinfo_consumers(STREAM, GROUP)
    assert {each["name"] for each in names} == {b"holding", b"one"}


def test_a_server_that_ends_leaves_no_name_behind_unless_it_leaves_work(redis: Redis, consumer: Consumer) -> None:
    run(redis, consumer)
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "busy", {STREAM: ">"})
    busy = member("busy")
    consumer.end(redis)
    busy.end(redis)
    names: Any = redis.xinfo_consumers(STREAM, GROUP)
    assert [each["name"] for each in names] == [b"busy"]


def test_a_stream_that_others_fill_is_bounded_all_the_same(redis: Redis, consumer: Consumer, settings: Any) -> None:
    settings.CIRCUIT_BREAKER_EVENTS_LENGTH = 100
    for _ in range(500):
        put(redis, {"event_type": "order.filled"})
    consumer.step(redis)
    length: Any = redis.xlen(STREAM)
    assert 100 <= length < 300


def test_the_stream_of_the_dead_is_bounded(redis: Redis, consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakers.events.consumer.DEAD_LENGTH", 100)
    for _ in range(500):
        put(redis, "{")
    for _ in range(6):
        consumer.step(redis)
    assert pending(redis) == 0
    length: Any = redis.xlen(DEAD)
    assert 100 <= length < 300


def test_it_says_how_many_messages_no_server_has_settled(redis: Redis, consumer: Consumer) -> None:
    put(redis, RECOVERED)
    redis.xreadgroup(GROUP, "slow", {STREAM: ">"})
    for number in range(2):
        put(redis, {**RECOVERED, "event_id": f"event {number}"})
    consumer.step(redis)
    assert (consumer.lag, counts.LAG._value.get()) == (3, 3), "before it has taken any"
    consumer.step(redis)
    two = member("two")
    two.step(redis)
    assert two.lag == 1


def test_it_counts_what_became_of_each_message(redis: Redis, consumer: Consumer) -> None:
    def counted() -> dict[str, float]:
        return {name: counts.RECEIVED.labels(name)._value.get() for name in outcomes}

    outcomes = {"applied": 1, "duplicate": 2, "ignored": 3, "stale": 1, "dead": 4}
    before = counted()
    put(redis, RECOVERED, id=f"{int((time.time() - 3700) * 1000)}-0")
    for times, event in ((3, RECOVERED), (3, {**RECOVERED, "event_type": "order.filled"}), (4, "{")):
        for _ in range(times):
            put(redis, event)
    run(redis, consumer)
    assert {name: count - before[name] for name, count in counted().items()} == outcomes
