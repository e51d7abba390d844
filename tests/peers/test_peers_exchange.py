"""What servers exchange over a real Redis, a beat at a time, with a clock in the test's hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from breakers.access import buckets
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import TransitionReport
from breakers.fleet import iso
from breakers.fleet.ledger import SILENT_AFTER
from breakers.models import Instance, InstanceIdentity
from breakers.services import instances_persist, transitions_record
from breakers.sharing import exchange as exchanging
from breakers.sharing.exchange import COUNTS, LATE, PATIENCE, REFRESH, REFRESH_DEGRADED, SAME_TIME, WRITTEN, Exchange
from breakers.sharing.loops import Loop
from breakers.sharing.shelf import LIFETIME, Head, channel, connect
from tests.fleet.servers import Server, Servers, instance_of, move
from tests.peers.test_peers_exactness import record
from tests.redis_server import RedisServer
from tests.servers import eventually, free_port


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """Two servers on one Redis: scenes whose fleets exchange in earnest."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.scenes = Servers()
        self.first, self.second = (Exchange(url, server.name, server.fleet, self.clock) for server in self.scenes.all)

    def link(self, server: int = 0) -> Any:
        return self.scenes.link(server)

    def beat(self, *exchanges: Exchange, seconds: float = 1.0) -> None:
        """Time passes, then each of them exchanges, or all."""
        self.clock.now += seconds
        self.scenes.now += timedelta(seconds=seconds)
        for each in exchanges or (self.first, self.second, self.first):
            each.exchange()

    def shows(self, server: int, linked: Any) -> dict[str, Any]:
        return instance_of(self.scenes.all[server], linked)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as engine:
        yield engine


@pytest.fixture
def redis(engine: RedisServer) -> Iterator[Redis]:
    with engine.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def house(engine: RedisServer, redis: Redis) -> Iterator[House]:
    house = House(engine.url)
    yield house
    for each in (house.first, house.second):
        each._shelf.close()


def other(house: House) -> Server:
    return house.scenes.all[1]


def test_what_one_is_told_the_other_shows_a_beat_later(house: House) -> None:
    linked = house.link().tell(state="open", add={"failures": 2})
    house.beat()
    assert house.shows(1, linked)["state"] == "open"
    assert other(house).totals() == house.scenes.all[0].totals()
    linked.goodbye()
    house.beat()
    assert other(house).fleet.instances() == []


def test_mere_counts_go_every_three_seconds_and_states_at_once(house: House) -> None:
    linked = house.link().tell()
    house.beat(seconds=30)  # it is known for long enough to be no news any more
    linked.tell(add={"successes": 1})
    house.beat(seconds=COUNTS)
    assert house.shows(1, linked)["calls"] == 1
    linked.tell(add={"successes": 1})
    house.beat(seconds=COUNTS - 0.1)
    assert house.shows(1, linked)["calls"] == 1
    linked.move("open")
    house.beat(seconds=0.0)
    assert (house.shows(1, linked)["state"], house.shows(1, linked)["calls"]) == ("open", 2)
    linked.tell(state="open", add={"rejected": 1})
    house.beat(seconds=0.2)
    assert other(house).totals()["rejected_total"] == 1


def test_a_heartbeat_is_heard_elsewhere_though_nothing_else_is_told(house: House) -> None:
    linked = house.link().tell()
    house.beat()
    for _ in range(40):
        linked.send()
        house.beat()
        other(house).fleet.tick(house.scenes.now)
    assert not house.shows(1, linked)["silent"]
    for _ in range(16):
        house.beat()
        other(house).fleet.tick(house.scenes.now)
    assert house.shows(1, linked)["silent"], "it is passed on that nothing was heard"


def test_requests_at_another_server_are_debited_once(house: House) -> None:
    buckets.share()
    assert buckets.take("key a", rate=0.0001, burst=10) == 0.0
    house.beat(house.first)
    house.beat(house.second, house.second, house.second)
    assert buckets._used["key a"][0] == pytest.approx(2, abs=0.01), "one here and one there: they are one process here"
    house.beat(house.first, house.second)
    assert buckets._used["key a"][0] == pytest.approx(2, abs=0.01)


def test_all_is_told_again_when_redis_has_forgotten(house: House, redis: Redis) -> None:
    linked = house.link().tell(add={"successes": 1})
    house.beat()
    redis.flushall()
    house.beat(house.first)
    house.beat(house.first)
    third = Servers(1).all[0]
    third.house.now = house.scenes.now
    late = Exchange(house.first._url, "third", third.fleet, house.clock)
    late.exchange()
    assert third.totals()["requests_total"] == 1
    assert instance_of(third, linked)["calls"] == 1
    late._shelf.close()


def test_redis_that_is_lost_is_said_and_mends_itself(house: House, engine: RedisServer) -> None:
    linked = house.link().tell(add={"successes": 1})
    house.beat()
    engine.kill()
    house.beat()
    assert str(house.first.trouble).startswith("Redis does not answer")
    house.beat(house.second, seconds=16.0)
    other(house).fleet.tick(house.scenes.now)
    assert not house.shows(1, linked)["silent"], "news come by the database only, and later"
    linked.tell(add={"successes": 1})
    engine.start()
    house.beat(seconds=0.1)
    assert house.first.trouble is None
    assert house.shows(1, linked)["calls"] == 2, "what was told before is told again"


@contextmanager
def deaf(*exchanges: Exchange) -> Iterator[None]:
    """To them Redis does not answer; it keeps what it has."""
    nowhere = [connect(f"redis://127.0.0.1:{free_port()}/0") for _ in exchanges]
    usual = [exchange._shelf._redis for exchange in exchanges]
    for exchange, client in zip(exchanges, nowhere, strict=True):
        exchange._shelf._redis = client
    yield
    for exchange, client in zip(exchanges, usual, strict=True):
        exchange._shelf._redis = client


def test_who_moved_on_is_taken_away_also_where_redis_did_not_answer_once(house: House, redis: Redis) -> None:
    linked = house.link().tell()
    house.beat()
    facts = house.first._shelf._key("server-0", "facts")
    assert redis.hlen(facts) == 1
    move(linked, other(house))
    house.beat(house.second, house.first)
    with deaf(house.first):
        house.beat(house.first)
    house.beat(house.first)
    assert redis.hlen(facts) == 0, "a server that begins later would take it for linked there"


def test_what_was_told_while_redis_did_not_answer_is_told_when_it_does(house: House) -> None:
    linked = house.link().tell(add={"successes": 1})
    house.beat()
    with deaf(house.first):
        linked.tell(state="open", add={"successes": 4})
        house.beat(house.first)
        assert house.first.trouble is not None
    house.beat(house.first, house.first, house.second)
    assert house.first.trouble is None
    assert (house.shows(1, linked)["calls"], house.shows(1, linked)["state"]) == (5, "open")


def test_what_was_counted_while_redis_did_not_answer_is_no_traffic_of_the_moment_after(house: House) -> None:
    linked = house.link().tell(add={"successes": 1})
    house.beat()
    with deaf(house.first, house.second):
        for _ in range(30):
            linked.tell(add={"successes": 1000})
            house.beat()
    for _ in range(3):
        linked.tell(add={"successes": 1})
        house.beat(seconds=3.0)
        other(house).fleet.tick(house.scenes.now)
    (row,) = other(house).fleet.rows()
    assert 0 < row["rates"]["calls"] < 10


def test_who_has_heard_all_asks_for_nothing(house: House, redis: Redis) -> None:
    for _ in range(3):
        house.link().tell()
    house.beat()
    house.beat()
    redis.config_resetstat()
    house.beat()
    statistics: Any = redis.info("commandstats")
    assert "cmdstat_zrange" in statistics
    assert "cmdstat_hmget" not in statistics


def test_a_server_that_is_gone_leaves_its_instances_to_whoever_they_link_to(house: House, redis: Redis) -> None:
    linked = house.link().tell()
    house.beat()
    house.beat(seconds=LIFETIME + 1.0)
    assert not other(house).fleet.adrift
    redis.delete(house.first._shelf._key("server-0", "head"))  # as when its time is over
    house.beat(house.second)
    assert other(house).fleet.adrift
    assert linked.id in {record.identity.id for record in other(house).fleet.observed_for_persist()}, "it writes for it"


def test_one_that_finds_redis_later_than_we_is_not_gone(house: House, redis: Redis) -> None:
    house.link().tell()
    house.beat()
    house.second._lose(exchanging.RedisError("away"))
    house.beat(house.second)
    redis.delete(house.first._shelf._key("server-0", "head"))
    house.beat(house.second, seconds=LIFETIME)
    assert not other(house).fleet.adrift
    house.beat(house.second, seconds=0.1)
    assert other(house).fleet.adrift


def test_the_last_of_a_server_that_ends_is_told_whatever_is_due(house: House, redis: Redis) -> None:
    linked = house.link().tell()
    house.beat(seconds=30)
    house.beat()
    linked.tell(add={"successes": 5})
    with redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has types for some
        heard.subscribe(channel())
        heard.get_message(timeout=1)
        house.first.stop(1.0)
        woken: Any = eventually(lambda: heard.get_message(timeout=0.1))
    assert woken["data"] == b"server-0"
    house.second.exchange()
    assert house.shows(1, linked)["calls"] == 5


def test_others_are_woken_where_something_cannot_wait_and_else_not(house: House, redis: Redis) -> None:
    house.beat()
    with redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has types for some
        heard.subscribe(channel())
        heard.get_message(timeout=1)
        house.first.exchange()
        house.first.wake()
        house.first.exchange()
        house.first.exchange()
        assert eventually(lambda: heard.get_message(timeout=0.1))
        assert heard.get_message(timeout=0.2) is None, "once"


def test_a_server_wakes_others_and_not_itself(engine: RedisServer, redis: Redis) -> None:
    house = House(engine.url)
    looked: list[str] = []
    house.first._look = lambda: looked.append("first")  # type: ignore[method-assign]  # what the loops do then is theirs
    listening = threading.Thread(target=house.first._listen)
    listening.start()
    try:
        eventually(lambda: looked, what="it looks when it begins to hear: what was said before was not heard")
        house.second._shelf.wake()
        eventually(lambda: len(looked) == 2)
        house.first._shelf.wake()
        house.second._shelf.wake()
        eventually(lambda: len(looked) >= 3)
        assert len(looked) == 3
    finally:
        house.first._stopping.set()
        listening.join(10)


@pytest.mark.parametrize(
    ("ahead", "taken"), [(0.0, 0.0), (SAME_TIME, 0.0), (-SAME_TIME, 0.0), (60.0, 60.0), (-60.0, -60.0)]
)
def test_clocks_that_differ_by_little_are_taken_for_equal(
    ahead: float, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    assert exchanging._ahead(Head(1, 1, 5000.0 + ahead)) == taken


@pytest.mark.parametrize("ahead", [60.0, -60.0])
def test_an_instance_at_a_server_with_another_clock_is_heard_when_it_is_heard(house: House, ahead: float) -> None:
    linked = house.link().tell()
    theirs = {linked.id: house.scenes.now.timestamp() + ahead}
    (told,) = house.scenes.all[0].fleet.unshared()
    fleet = other(house).fleet
    fleet.adopt("server-0", [told._replace(heard=told.heard + ahead)], ahead)
    for _ in range(20):
        house.scenes.now += timedelta(seconds=1)
        theirs = {linked.id: house.scenes.now.timestamp() + ahead}
        fleet.hear("server-0", theirs, ahead)
        fleet.tick(house.scenes.now)
        assert not house.shows(1, linked)["silent"]


# --- by the database ---------------------------------------------------------------------------------------------


def written(seconds_ago: float = 0.0) -> InstanceIdentity:
    """An instance that another server has written down."""
    there = Servers(1)
    there.now = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    linked = there.link().tell()
    instances_persist(rows=there.all[0].fleet.observed_for_persist())
    return linked.identity


def known(house: House) -> set[Any]:
    return {facts.identity.id for facts in house.second._fleet._ledger.instances.values()}


@pytest.mark.django_db
@pytest.mark.parametrize(("alone", "period"), [(False, REFRESH), (True, REFRESH_DEGRADED)])
def test_what_others_write_is_read_seldom_and_oftener_where_redis_is_lost(
    house: House, ground: None, alone: bool, period: float
) -> None:
    house.beat()
    house.clock.now += LIFETIME + 1.0  # settled
    if alone:
        house.second._lose(exchanging.RedisError("away"))
    house.second.read()
    one = written()
    house.clock.now += period - 0.1
    house.second.read()
    assert one.id not in known(house)
    house.clock.now += 0.1
    house.second.read()
    assert one.id in known(house)


@pytest.mark.django_db
def test_links_of_a_server_whose_format_is_another_are_followed_by_the_database_and_given_time(
    house: House, ground: None
) -> None:
    house.beat()
    house.clock.now += LIFETIME + 1.0
    first = written()
    house.second.read()
    assert first.id in known(house)
    second = written()
    house.clock.now += REFRESH_DEGRADED
    house.second.read()
    assert second.id in known(house), "while any such are there the database is asked oftener"
    now = datetime.now(UTC)
    silence = SILENT_AFTER + timedelta(seconds=PATIENCE)
    for moment, silent in ((now + silence - timedelta(seconds=5), False), (now + silence, True)):
        other(house).fleet.tick(moment)
        assert [row["silent"] for row in other(house).fleet.instances()] == [silent, silent]


@pytest.mark.django_db
def test_where_all_are_heard_nobody_is_waited_for_longer_than_silence_takes(house: House, ground: None) -> None:
    linked = house.link().tell()
    house.beat()
    house.clock.now += LIFETIME + 1.0
    house.second.read()
    house.scenes.now += timedelta(seconds=16)
    other(house).fleet.tick(house.scenes.now)
    assert house.shows(1, linked)["silent"]


@pytest.mark.django_db
def test_rows_that_were_written_late_are_read_all_the_same(house: House, ground: None) -> None:
    house.beat()
    house.clock.now += LIFETIME + 1.0
    house.second.read()
    house.clock.now += REFRESH
    one = written(seconds_ago=REFRESH + LATE / 4)
    house.second.read()
    assert one.id in known(house), "it was heard a while ago, and written down only now"


@pytest.mark.django_db
def test_while_instances_have_no_server_the_database_is_asked_oftener_where_they_went(
    house: House, ground: None, redis: Redis
) -> None:
    house.link().tell()
    house.beat()
    house.clock.now += LIFETIME + 1.0
    house.second.read()
    redis.delete(house.first._shelf._key("server-0", "head"))
    house.beat(house.second, seconds=0.1)
    assert other(house).fleet.adrift
    one = written()
    house.clock.now += REFRESH_DEGRADED
    house.second.read()
    assert one.id in known(house)


@pytest.mark.django_db
def test_when_redis_is_back_the_database_is_asked_at_once_for_what_is_over_by_now(house: House, ground: None) -> None:
    house.beat()
    house.clock.now += LIFETIME + 1.0
    house.second.read()
    with deaf(house.second):
        house.beat(house.second, seconds=0.1)
        one = written()
    house.second.read()
    assert one.id not in known(house), "it was asked a moment ago"
    house.beat(house.second, seconds=0.1)
    house.second.read()
    assert one.id in known(house)


@pytest.mark.django_db
def test_at_the_start_the_database_is_asked_at_once_and_oftener_until_others_had_their_say(
    house: House, ground: None
) -> None:
    early = written(seconds_ago=300.0)
    house.beat()
    house.second.read()
    assert early.id in known(house)
    one = written()
    house.clock.now += REFRESH_DEGRADED
    house.second.read()
    assert one.id in known(house)
    assert Instance.objects.count() == 2


def test_where_the_history_goes_on_too_far_the_earliest_that_sees_the_same_is_believed(house: House) -> None:
    at = house.scenes.now.timestamp()
    linked = house.link(1).tell(state="open")
    linked.move("closed")
    linked.move("open")
    heads = {
        "x": {"bank-api": ("open", at - 50.0)},
        "y": {"bank-api": ("open", at - 20.0)},
        "z": {"bank-api": ("closed", at - 90.0)},
    }
    house.second._heads = {name: Head(1, 1, at, dated=dated) for name, dated in heads.items()}
    assert house.second._told("bank-api") == datetime.fromtimestamp(at - 50.0, UTC)
    house.second._heads = {"y": Head(1, 1, at, dated={"bank-api": ("open", at + 20.0)})}
    assert house.second._told("bank-api") is None, "nobody knows it for longer"
    assert house.second._told("unknown") is None


@pytest.mark.django_db
def test_a_history_that_does_not_say_since_when_is_asked_again_in_a_while_and_not_at_each_beat(
    house: House, ground: None, django_assert_num_queries: Any
) -> None:
    linked = house.link(1).tell()
    scene = other(house)

    def date() -> None:
        linked.send()
        house.clock.now += WRITTEN.total_seconds()
        house.scenes.now += WRITTEN
        house.second._date()

    linked.move("open")
    date()
    opened = scene.now - timedelta(seconds=50)
    report = TransitionReport(
        1, "bank-api", CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, "reset", "", opened.timestamp()
    )
    transitions_record(batch=[(linked.identity, report)])
    scene.fleet._ledger.restated["bank-api"] = scene.now  # as when another instance moves in the storm
    with django_assert_num_queries(0):
        date()
        date()
    date()
    assert scene.row()["since"] == iso(opened), "and what moved meanwhile is not forgotten"


@pytest.mark.django_db
def test_what_this_server_wrote_is_told_here_and_wakes_the_others(house: House, ground: None, redis: Redis) -> None:
    told: list[dict[str, Any]] = []
    house.first._fleet.on_event(told.append)
    house.beat()
    with redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has types for some
        heard.subscribe(channel())
        heard.get_message(timeout=1)
        house.first.tell([])
        house.first.exchange()
        assert heard.get_message(timeout=0.2) is None, "nothing was written"
        house.first.tell(record(2))
        house.first.exchange()
        assert eventually(lambda: heard.get_message(timeout=0.1))
    assert [event["kind"] for event in told] == ["transition"] * 2


# --- the threads -------------------------------------------------------------------------------------------------


def test_a_loop_goes_on_after_whatever_it_met_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    beats: list[float] = []
    problems = iter([ValueError("odd"), ValueError("odd again")])

    def act() -> None:
        beats.append(time.monotonic())
        for problem in problems:
            raise problem

    loop = Loop("a loop", act, period=60.0, rest=0.05)
    loop.start()
    loop.start()
    try:
        for number in range(1, 5):
            eventually(lambda: len(beats) >= number, what="each wake is a beat, and the period is long")  # noqa: B023  # asked at once
            loop.wake()
    finally:
        loop.stop(10)
    assert [record.levelname for record in caplog.records if "a loop" in record.message] == ["ERROR"]
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(beats)), "not oftener"
    assert sum(thread.name == "a loop" for thread in threading.enumerate()) == 0


@pytest.mark.django_db(transaction=True)
def test_a_loop_that_was_woken_acts_once_more_and_one_that_is_stopped_waits_for_nothing() -> None:
    acted: list[int] = []
    loop = Loop("woken-and-stopped", lambda: acted.append(1), period=3600.0, rest=0.0)
    loop.start()
    eventually(lambda: len(acted) == 1)
    loop.wake()
    eventually(lambda: len(acted) >= 2)
    assert len(acted) == 2
    loop.stop(20.0)
    assert "woken-and-stopped" not in [thread.name for thread in threading.enumerate()]


def test_an_exchange_runs_from_its_start_to_its_stop_and_leaves_no_thread(engine: RedisServer, redis: Redis) -> None:
    scenes = Servers()
    first, second = (Exchange(engine.url, server.name, server.fleet) for server in scenes.all)
    for each in (first, second):
        each.start()
    try:
        linked = scenes.link(0).tell(add={"successes": 3})
        first.wake()
        eventually(lambda: scenes.all[1].totals()["requests_total"] == 3, what="by themselves")
        assert instance_of(scenes.all[1], linked)["calls"] == 3
    finally:
        for each in (first, second):
            each.stop(5.0)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("sharing")])
