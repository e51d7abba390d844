"""What a server lays down in Redis for the others: read once, renewed, and gone by itself. A real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis

from breakers.fleet import PassedInstance
from breakers.sharing.shelf import FORMAT, LIFETIME, Head, Shelf, channel
from tests.fleet.servers import Servers
from tests.redis_server import RedisServer

HEAD = Head(beat=1, version=0, now=1.5)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as engine:
        yield engine


@pytest.fixture
def redis(engine: RedisServer) -> Iterator[Redis]:
    with engine.client() as client:
        client.flushall()
        yield client


Make = Callable[[str], Shelf]


@pytest.fixture
def shelf_of(engine: RedisServer, redis: Redis) -> Iterator[Make]:
    made: list[Shelf] = []

    def make(server: str) -> Shelf:
        made.append(Shelf(engine.url, server))
        return made[-1]

    yield make
    for shelf in made:
        shelf.close()


def passed(number: int = 1) -> list[PassedInstance]:
    scene = Servers(1).all[0]
    for _ in range(number):
        scene.link().tell(add={"successes": 1})
    return list(scene.fleet.unshared())


def ids(found: Iterator[PassedInstance]) -> set[str]:
    return {each.id for each in found}


def test_a_head_is_read_as_it_was_written_and_nobody_reads_his_own(shelf_of: Make) -> None:
    mine, other = shelf_of("mine"), shelf_of("other")
    one = uuid4()
    head = Head(7, 99, 12.25, {one: 11.5}, {"key a": 3}, {"bank-api": ("open", 10.5)}, ["digest"])
    mine.write([], [], head)
    (found,) = other.others().values()
    assert (found.beat, found.version, found.now) == (7, 1, 12.25), "the version is the shelf's own"
    assert (found.presence, found.spent, found.ended) == ({one: 11.5}, {"key a": 3}, ["digest"])
    assert {name: tuple(dated) for name, dated in found.dated.items()} == {"bank-api": ("open", 10.5)}
    assert mine.others() == {}


def test_a_reader_takes_what_changed_after_what_it_knows(shelf_of: Make) -> None:
    mine, other = shelf_of("mine"), shelf_of("other")
    first, second = passed(2)
    mine.write([first], [], HEAD)
    assert [each.id for each in other.changed("mine", 0)] == [first.id]
    mine.write([second], [], HEAD)
    assert ids(other.changed("mine", 0)) == {first.id, second.id}
    assert ids(other.changed("mine", 1)) == {second.id}
    assert ids(other.changed("mine", 2)) == set()
    mine.write([first], [], HEAD)
    assert ids(other.changed("mine", 2)) == {first.id}
    (found,) = other.changed("mine", 2)
    assert found.breakers["bank-api"][7] == list(first.breakers["bank-api"][7])


def test_of_many_instances_none_is_left_out(shelf_of: Make) -> None:
    (one,) = passed()
    many = [one._replace(id=str(UUID(int=number))) for number in range(501)]
    shelf_of("mine").write(many, [], HEAD)
    assert ids(shelf_of("other").changed("mine", 0)) == {each.id for each in many}


def test_whoever_has_moved_on_is_taken_away(shelf_of: Make, redis: Redis) -> None:
    mine = shelf_of("mine")
    first, second = passed(2)
    mine.write([first, second], [], HEAD)
    mine.write([], [UUID(first.id)], HEAD)
    assert ids(shelf_of("other").changed("mine", 0)) == {second.id}
    facts: Any = redis.hkeys(mine._key("mine", "facts"))
    order: Any = redis.zrange(mine._key("mine", "order"), 0, -1)
    assert facts == order == [second.id.encode()]


def test_a_share_is_renewed_by_each_beat_and_outlives_its_server_by_seconds(shelf_of: Make, redis: Redis) -> None:
    mine, other = shelf_of("mine"), shelf_of("other")
    mine.write(passed(), [], HEAD)
    keys = [mine._key("mine", part) for part in ("head", "facts", "order")]
    assert all(0 < redis.ttl(key) <= LIFETIME for key in keys), "from the first beat on"
    for key in keys:
        redis.expire(key, 2)
    mine.write([], [], HEAD)
    assert all(2 < redis.ttl(key) <= LIFETIME for key in keys)
    redis.delete(keys[0])  # as when its time is over
    assert other.others() == {}
    assert redis.smembers(mine._key("servers")) == set(), "its name goes, too"
    mine.write([], [], HEAD)
    assert list(other.others()) == ["mine"]


def test_whoever_writes_is_told_that_what_was_there_before_is_lost(shelf_of: Make, redis: Redis) -> None:
    mine = shelf_of("mine")
    assert not mine.write(passed(), [], HEAD), "nothing was there"
    assert mine.write([], [], HEAD)
    redis.flushall()
    assert not mine.write([], [], HEAD)


@pytest.mark.parametrize("other", ["of another control plane", "of another format"])
def test_servers_that_cannot_understand_each_other_share_a_redis_and_know_nothing_of_each_other(
    other: str, shelf_of: Make, settings: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis has types for some
        heard.subscribe(channel())
        heard.get_message(timeout=1)
        shelf_of("mine").write([], [], HEAD)
        if other == "of another format":
            monkeypatch.setattr("breakers.sharing.shelf.FORMAT", FORMAT + 1)
        else:
            settings.SECRET_KEY = other
        stranger = shelf_of("stranger")
        stranger.write([], [], HEAD)
        stranger.wake()
        assert stranger.others() == {}
        assert heard.get_message(timeout=0.2) is None
