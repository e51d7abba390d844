"""The stream of events as a service uses it: handlers, groups, patience, the end."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from redis import Redis

from breakers.client.events import Delivery, Event, EventError, EventSystemClient, EventSystemError
from breakers.core.errors import ConfigError
from breakers.core.events import STREAM
from tests.events.conftest import RECOVERED, dead, put
from tests.redis_server import RedisServer

HASTY = Delivery(attempts=3, wait=0.01, timeout=0.5, reclaim=0.2)
Open = Callable[..., EventSystemClient]


async def until(probe: Callable[[], object], what: str = "") -> None:
    """What ends the wait is the answer."""
    async with asyncio.timeout(60):
        while not probe():
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def client(redis_server: RedisServer, redis: Redis) -> AsyncIterator[Open]:
    """``client("trading_service")``: a process of that service; closed at the end."""
    async with AsyncExitStack() as stack:

        def open_one(service: str = "trading_service", delivery: Delivery = HASTY) -> EventSystemClient:
            made = EventSystemClient(redis_server.url, service=service, delivery=delivery)
            stack.push_async_callback(made.close)
            return made

        yield open_one


def pending(redis: Redis, group: str = "trading_service:service.recovery") -> int:
    found: Any = redis.xpending(STREAM, group)
    return int(found["pending"])


async def test_a_handler_of_recoveries_gets_the_name_of_the_service(client: Open) -> None:
    heard: list[str] = []

    async def handle_service_recovery(service_name: str) -> None:
        heard.append(service_name)

    await client().subscribe("service.recovery", handle_service_recovery)
    await client("health_monitor").publish("service.recovery", {"service_name": "data_service"})
    await until(lambda: heard)
    assert heard == ["data_service"]


async def test_other_handlers_get_the_event_and_so_does_who_asks_for_it(client: Open) -> None:
    heard: list[Event] = []
    service = client()
    await service.subscribe("order.filled", heard.append)
    await service.subscribe("service.recovery", heard.append, whole=True)
    first = await service.publish("order.filled", {"order": 7}, metadata={"desk": "fx"})
    await until(lambda: len(heard) == 1)
    await service.publish("service.recovery", {"service_name": "data_service"}, event_id="given")
    await until(lambda: len(heard) == 2)
    assert (heard[0].event_id, heard[0].source, heard[0].data, heard[0].metadata) == (
        first, "trading_service", {"order": 7}, {"desk": "fx"},
    )  # fmt: skip
    assert (heard[1].event_id, heard[1].data) == ("given", {"service_name": "data_service"})


async def test_every_handler_of_a_type_is_called_in_order(client: Open) -> None:
    heard: list[tuple[str, str]] = []
    service = client()

    async def second(name: str) -> None:
        heard.append(("second", name))

    await service.subscribe("service.recovery", lambda name: heard.append(("first", name)))
    await service.subscribe("service.recovery", second)
    for name in ("a", "b"):
        await service.publish("service.recovery", {"service_name": name})
    await until(lambda: len(heard) == 4)
    assert heard == [("first", "a"), ("second", "a"), ("first", "b"), ("second", "b")]


async def test_each_service_gets_each_event_once_whatever_its_processes(client: Open, redis: Redis) -> None:
    heard: dict[str, list[str]] = {"trading_service": [], "risk_service": []}
    for service in ("trading_service", "trading_service", "risk_service"):
        await client(service).subscribe("service.recovery", heard[service].append)
    wanted = [f"service-{number}" for number in range(40)]
    for name in wanted:
        await client("health_monitor").publish("service.recovery", {"service_name": name})
    await until(lambda: all(len(names) >= 40 for names in heard.values()))
    await until(lambda: pending(redis) == 0)
    assert heard["risk_service"] == wanted
    assert sorted(heard["trading_service"]) == sorted(wanted)


async def test_an_event_that_is_published_twice_is_handled_once(client: Open, redis: Redis) -> None:
    heard: list[str] = []
    service = client()
    await service.subscribe("service.recovery", heard.append)
    for name in ("a", "a", "b"):
        await service.publish("service.recovery", {"service_name": name}, event_id=name)
    await until(lambda: "b" in heard)
    assert heard == ["a", "b"]


async def test_an_event_that_stands_there_twice_is_handled_by_one_process_at_a_time(client: Open, redis: Redis) -> None:
    heard: list[str] = []
    go_on = asyncio.Event()

    async def slow(name: str) -> None:
        heard.append(name)
        if name == "a":
            await go_on.wait()

    first, second = client(delivery=Delivery()), client(delivery=Delivery())
    await first.subscribe("service.recovery", slow)
    await first.publish("service.recovery", {"service_name": "a"}, event_id="a")
    await until(lambda: heard)
    await second.subscribe("service.recovery", slow)
    for name in ("a", "b"):
        await second.publish("service.recovery", {"service_name": name}, event_id=name)
    await until(lambda: "b" in heard, "the second process has seen both")
    assert heard == ["a", "b"]
    go_on.set()
    await until(lambda: pending(redis) == 1)
    await client().subscribe("service.recovery", slow)  # this one takes over soon what is left
    await until(lambda: pending(redis) == 0)
    assert heard == ["a", "b"]


async def test_who_waits_for_another_to_handle_the_same_event_goes_on_with_its_own_and_may_leave(
    client: Open, redis: Redis
) -> None:
    heard: list[str] = []
    go_on = asyncio.Event()

    async def slow(name: str) -> None:
        heard.append(name)
        if name == "a":
            await go_on.wait()

    first, second = client(delivery=Delivery()), client(delivery=Delivery())
    await first.subscribe("service.recovery", slow)
    await first.publish("service.recovery", {"service_name": "a"}, event_id="a")
    await until(lambda: heard)
    await second.subscribe("service.recovery", slow)
    for name in ("a", "b"):
        await second.publish("service.recovery", {"service_name": name}, event_id=name)
    await until(lambda: "b" in heard)
    await asyncio.wait_for(second.close(), 20)
    go_on.set()
    await until(lambda: pending(redis) == 1, "what it left, another looks at later")


async def test_a_slow_handler_keeps_its_event_for_as_long_as_it_takes(client: Open, redis: Redis) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: str) -> None:
        begun.set()
        await go_on.wait()

    service = client(delivery=Delivery(reclaim=0.6))
    await service.subscribe("service.recovery", slow)
    await service.publish("service.recovery", {"service_name": "a"}, event_id="a")
    await begun.wait()
    left: list[int] = []

    def is_longer_than_before() -> bool:
        (claim,) = redis.keys(f"{STREAM}.done:*:a") or [b""]
        left.append(redis.pttl(claim))
        return len(left) > 1 and left[-1] > left[-2]

    await until(is_longer_than_before, "the claim is renewed")
    go_on.set()
    await until(lambda: pending(redis) == 0)


SUBSCRIBER = """
import asyncio, sys
from breakers.client.events import Delivery, EventSystemClient

async def main():
    async def handle(name):
        print(name, flush=True)
        await asyncio.Event().wait()
    async with EventSystemClient(sys.argv[1], service="trading_service", delivery=Delivery(reclaim=0.3)) as client:
        await client.subscribe("service.recovery", handle)
        print("subscribed", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_process_was_at_when_it_was_killed_is_handled_by_another_wherever_else_it_stands(
    client: Open, redis: Redis, redis_server: RedisServer
) -> None:
    heard: list[str] = []
    command = [sys.executable, "-c", SUBSCRIBER, redis_server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "subscribed\n"
        for _ in range(2):
            await client("health_monitor").publish("service.recovery", {"service_name": "a"}, event_id="a")
        assert await asyncio.to_thread(process.stdout.readline) == "a\n"
        process.kill()
    await client().subscribe("service.recovery", heard.append)
    await until(lambda: pending(redis) == 0)
    assert heard == ["a"]


async def test_a_handler_that_fails_is_called_again(client: Open, redis: Redis) -> None:
    calls: list[str] = []

    async def hesitant(name: str) -> None:
        calls.append(name)
        if len(calls) < 3:
            raise ConnectionError("not yet")

    service = client()
    await service.subscribe("service.recovery", hesitant)
    await service.publish("service.recovery", {"service_name": "a"})
    await until(lambda: len(calls) == 3)
    await until(lambda: pending(redis) == 0)
    assert dead(redis) == []


async def test_what_a_handler_will_not_have_goes_to_the_dead_and_the_next_is_handled(
    client: Open, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    good: list[str] = []

    async def picky(name: str) -> None:
        calls.append(name)
        if name == "a":
            raise ValueError("never")

    service = client()
    await service.subscribe("service.recovery", picky)
    await service.subscribe("service.recovery", good.append)
    for name in ("a", "b"):
        await service.publish("service.recovery", {"service_name": name}, event_id=f"event {name}")
    await until(lambda: "b" in good)
    assert (calls, good) == (["a", "a", "a", "b"], ["a", "b"])
    (found,) = dead(redis)
    assert found[b"problem"].decode().endswith("picky: ValueError: never")
    assert found[b"group"] == b"trading_service:service.recovery"
    assert b'"event a"' in found[b"event"]
    assert [r.levelname for r in caplog.records if "failed, attempt" in r.message] == ["WARNING", "WARNING", "ERROR"]
    await service.publish("service.recovery", {"service_name": "c"}, event_id="event a")
    await until(lambda: "c" in good, "sent again, under the same id, it is handled")


@pytest.mark.parametrize("problem", ["timeout", "cancelled"])
async def test_a_handler_that_hangs_or_is_cancelled_has_failed(client: Open, redis: Redis, problem: str) -> None:
    heard: list[str] = []

    async def bad(name: str) -> None:
        heard.append(name)
        if name == "a" and problem == "timeout":
            await asyncio.Event().wait()
        elif name == "a":
            raise asyncio.CancelledError

    service = client(delivery=Delivery(attempts=1, timeout=0.05))
    await service.subscribe("service.recovery", bad)
    for name in ("a", "b"):
        await service.publish("service.recovery", {"service_name": name})
    await until(lambda: "b" in heard)
    kind = "TimeoutError" if problem == "timeout" else "RuntimeError: it was cancelled"
    assert kind in dead(redis)[0][b"problem"].decode()


async def test_who_unsubscribes_hears_no_more_and_takes_nothing_from_others(client: Open, redis: Redis) -> None:
    mine: list[str] = []
    theirs: list[str] = []
    leaving = client()
    unsubscribe = await leaving.subscribe("service.recovery", mine.append)
    await leaving.publish("service.recovery", {"service_name": "a"})
    await until(lambda: mine)
    await client().subscribe("service.recovery", theirs.append)
    unsubscribe()
    unsubscribe()
    for number in range(10):
        await leaving.publish("service.recovery", {"service_name": f"b{number}"})
    await until(lambda: len(theirs) == 10)
    assert mine == ["a"]
    await leaving.subscribe("service.recovery", mine.append)
    await leaving.publish("service.recovery", {"service_name": "c"})
    await until(lambda: "c" in mine + theirs)


async def test_one_handler_of_two_may_go(client: Open) -> None:
    first: list[str] = []
    second: list[str] = []
    service = client()
    unsubscribe = await service.subscribe("service.recovery", first.append)
    await service.subscribe("service.recovery", second.append)
    unsubscribe()
    await service.publish("service.recovery", {"service_name": "a"})
    await until(lambda: second)
    assert first == []


async def test_closing_lets_a_handler_end_and_leaves_nothing_behind(client: Open, redis: Redis) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def slow(name: str) -> None:
        begun.set()
        await go_on.wait()
        ended.append(name)

    service = client(delivery=Delivery())
    await service.subscribe("service.recovery", slow)
    await service.publish("service.recovery", {"service_name": "a"})
    await begun.wait()
    closing = asyncio.create_task(service.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    assert (ended, pending(redis)) == (["a"], 0)
    assert redis.xinfo_consumers(STREAM, "trading_service:service.recovery") == []


async def test_a_handler_may_close_its_client(client: Open, redis: Redis) -> None:
    service, closed, heard = client(delivery=Delivery()), asyncio.Event(), list[str]()

    async def last(name: str) -> None:
        heard.append(name)
        await service.close()
        closed.set()

    await service.subscribe("service.recovery", last)
    await client("health_monitor").publish("service.recovery", {"service_name": "a"})
    await asyncio.wait_for(closed.wait(), 10)
    await until(lambda: redis.xinfo_consumers(STREAM, "trading_service:service.recovery") == [])
    assert (heard, pending(redis)) == (["a"], 0)


async def test_a_handler_may_unsubscribe_and_then_close_its_client(client: Open, redis: Redis) -> None:
    service, closed = client(delivery=Delivery()), asyncio.Event()

    async def last(_: str) -> None:
        unsubscribe()
        await service.close()
        closed.set()

    unsubscribe = await service.subscribe("service.recovery", last)
    await client("health_monitor").publish("service.recovery", {"service_name": "a"})
    await asyncio.wait_for(closed.wait(), 10)
    await until(lambda: redis.xinfo_consumers(STREAM, "trading_service:service.recovery") == [])
    assert pending(redis) == 0
    await until(lambda: len(redis.client_list()) == 1 + len(client_connections(redis)), "its connections are closed")


def client_connections(redis: Redis) -> list[Any]:
    """Those of who publishes: the only other client that is open."""
    return [one for one in redis.client_list() if "xadd" in one["cmd"]]


async def test_handlers_may_go_while_their_client_closes(client: Open) -> None:
    service, begun, go_on = client(delivery=Delivery()), asyncio.Event(), asyncio.Event()

    async def slow(_: Event) -> None:
        begun.set()
        await go_on.wait()
        unsubscribe()

    await service.subscribe("first", slow)
    unsubscribe = await service.subscribe("second", print)
    await service.subscribe("third", print)
    await service.publish("first", {})
    await begun.wait()
    closing = asyncio.create_task(service.close())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(closing, 10)


async def test_a_handler_that_takes_itself_away_leaves_what_comes_after_to_others(client: Open, redis: Redis) -> None:
    heard, left, all_there = list[str](), list[str](), asyncio.Event()
    service, monitor = client(), client("health_monitor")

    async def twice(name: str) -> None:
        heard.append(name)
        if name == "a":
            await all_there.wait()
        else:
            unsubscribe()

    unsubscribe = await service.subscribe("service.recovery", twice)
    await monitor.publish("service.recovery", {"service_name": "a"})
    await until(lambda: heard)
    for name in ("b", "c", "d"):  # will be read at once
        await monitor.publish("service.recovery", {"service_name": name})
    all_there.set()
    await until(lambda: len(heard) == 2)
    await client().subscribe("service.recovery", left.append)
    await until(lambda: len(left) >= 2)
    await until(lambda: pending(redis) == 0)
    assert (heard, left) == (["a", "b"], ["c", "d"])


async def test_a_service_that_was_away_hears_what_it_missed(client: Open, redis: Redis) -> None:
    before: list[str] = []
    after: list[str] = []
    service = client()
    await service.subscribe("service.recovery", before.append)
    await service.close()
    await client("health_monitor").publish("service.recovery", {"service_name": "a"})
    await service.subscribe("service.recovery", after.append)
    await until(lambda: after)
    assert (before, after) == ([], ["a"])


async def test_a_service_begins_with_what_comes_after_it_subscribed(client: Open) -> None:
    heard: list[str] = []
    service = client()
    await service.publish("service.recovery", {"service_name": "before"})
    await service.subscribe("service.recovery", heard.append)
    await service.publish("service.recovery", {"service_name": "after"})
    await until(lambda: heard)
    assert heard == ["after"]


@pytest.mark.parametrize("heard_before", [[], ["a"]])
async def test_a_redis_that_forgets_everything_costs_what_it_has_forgotten_and_no_more(
    client: Open, redis: Redis, heard_before: list[str]
) -> None:
    heard: list[str] = []
    service = client()
    await service.subscribe("service.recovery", heard.append)
    for name in heard_before:
        await service.publish("service.recovery", {"service_name": name})
    await until(lambda: heard == heard_before)
    event = Event("service.recovery", {"service_name": "b"}, "health_monitor").encode()
    with redis.pipeline(transaction=True) as pipe:  # in one step: before the service can join again
        pipe.flushall()
        pipe.xadd(STREAM, {"event": event})
        pipe.execute()
    await until(lambda: "b" in heard)
    assert heard == [*heard_before, "b"]


async def test_a_subscription_joins_its_group_once(client: Open, redis: Redis) -> None:
    """Two joins at a time would disagree on what was there first, and a lost group would begin too late."""
    redis.config_resetstat()
    heard: list[str] = []
    service = client()
    await asyncio.gather(*(service.subscribe("service.recovery", heard.append) for _ in range(2)))
    await service.publish("service.recovery", {"service_name": "a"})
    await until(lambda: heard == ["a", "a"])
    statistics: Any = redis.info("commandstats")
    assert statistics["cmdstat_xgroup|create"]["calls"] == 1


async def test_a_subscription_that_is_closed_while_it_begins_comes_to_an_end(client: Open) -> None:
    service = client()
    begun = asyncio.create_task(service.subscribe("service.recovery", print))
    async with asyncio.timeout(60):
        while not begun.done():
            await service.close()
            await asyncio.sleep(0)


async def test_what_a_killed_process_had_taken_is_handled_by_another(client: Open, redis: Redis) -> None:
    heard: list[str] = []
    service = client()
    (await service.subscribe("service.recovery", heard.append))()
    await service.publish("service.recovery", {"service_name": "a"})
    redis.xreadgroup("trading_service:service.recovery", "killed", {STREAM: ">"})
    await service.subscribe("service.recovery", heard.append)
    await until(lambda: heard)
    await until(lambda: pending(redis) == 0)
    assert heard == ["a"]


async def test_what_waits_for_a_slow_handler_is_not_taken_away(client: Open, redis: Redis) -> None:
    heard: list[tuple[str, str]] = []
    slow_is_done = asyncio.Event()

    async def slow(name: str) -> None:
        heard.append(("slow", name))
        if name == "a":
            await slow_is_done.wait()

    patient = Delivery(reclaim=1.0)
    first = client(delivery=patient)
    await first.subscribe("service.recovery", slow)
    redis.eval(  # in one step, so that one process takes both
        "for _, e in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'event', e) end", 1, STREAM,
        *(Event("service.recovery", {"service_name": name}, "test").encode() for name in "ab"),
    )  # fmt: skip
    await until(lambda: heard)
    redis.config_resetstat()
    await client(delivery=patient).subscribe("service.recovery", lambda name: heard.append(("other", name)))
    await until(lambda: looks_for_what_others_left(redis) >= 3, "the other has lost its patience twice")
    slow_is_done.set()
    await until(lambda: pending(redis) == 0)
    assert heard == [("slow", "a"), ("slow", "b")]


def looks_for_what_others_left(redis: Redis) -> int:
    statistics: Any = redis.info("commandstats")
    return int(statistics.get("cmdstat_xautoclaim", {"calls": 0})["calls"])


async def test_what_is_no_event_is_passed_over(client: Open, redis: Redis) -> None:
    heard: list[str] = []
    await client().subscribe("service.recovery", heard.append)
    put(redis, "{")
    put(redis, {**RECOVERED, "data": {}})
    put(redis, {**RECOVERED, "event_type": "another"})
    redis.xadd(STREAM, {"payload": "x"})
    put(redis, RECOVERED)
    await until(lambda: heard)
    assert (heard, dead(redis)) == (["data_service"], [])
    await until(lambda: pending(redis) == 0)


async def test_what_is_no_event_is_not_published(client: Open, redis: Redis) -> None:
    service = client()
    with pytest.raises(EventError, match="is no JSON"):
        await service.publish("order.filled", {"order": object()})
    with pytest.raises(EventError, match=r"data\.service_name"):
        await service.publish("service.recovery", {"name": "data_service"})
    with pytest.raises(EventError, match="longer"):
        await service.publish("order.filled", {"dump": "x" * 300_000})
    assert redis.xlen(STREAM) == 0


async def test_the_stream_is_bounded_for_who_publishes_too(
    client: Open, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCUIT_BREAKER_EVENTS_LENGTH", "100")
    service = client()
    for number in range(400):
        await service.publish("order.filled", {"order": number})
    length: Any = redis.xlen(STREAM)
    assert 100 <= length < 300


async def test_redis_may_come_late_and_go_and_come_back(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(tmp_path, durable=True)
    heard: list[str] = []

    def outages() -> list[list[str]]:
        """The kinds of trouble that were told of, for each time that it was over, and since."""
        return [re.findall(r"are not heard: (\w+)", part) for part in caplog.text.split("are heard again")]

    with caplog.at_level(logging.INFO, logger="breakers"):
        async with EventSystemClient(server.url, service="trading_service") as service:
            await service.subscribe("service.recovery", heard.append)
            with pytest.raises(EventSystemError, match=r"service\.recovery was not published"):
                await service.publish("service.recovery", {"service_name": "a"})
            with server:
                await until(lambda: len(outages()) == 2)
                await service.publish("service.recovery", {"service_name": "b"})
                with server.client() as redis:
                    await until(lambda: heard == ["b"] and pending(redis) == 0)  # else it would rightly come again
                server.kill()
                await until(lambda: outages()[1])
                server.start()
                await until(lambda: len(outages()) == 3)
                await service.publish("service.recovery", {"service_name": "c"})
                await until(lambda: heard == ["b", "c"])
    assert all(len(set(kinds)) == len(kinds) for kinds in outages()), "one line a kind and outage"


def test_one_client_serves_one_loop_after_another(redis_server: RedisServer, redis: Redis) -> None:
    client = EventSystemClient(redis_server.url, service="trading_service")

    async def program(close: bool) -> list[str]:
        heard: list[str] = []
        await client.subscribe("service.recovery", heard.append)
        await client.publish("service.recovery", {"service_name": "a"})
        await until(lambda: heard)
        if close:
            await client.close()
        return heard

    assert [asyncio.run(program(close)) for close in [False, True, False] * 3] == [["a"]] * 9


def test_it_is_configured_by_the_environment_and_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    client = EventSystemClient()
    for name in ("REDIS_URL", "CIRCUIT_BREAKER_EVENTS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert client.url == "redis://localhost:6379/0"
    monkeypatch.setenv("REDIS_URL", "redis://:secret@a/0")
    assert client.url == "redis://:secret@a/0"
    monkeypatch.setenv("CIRCUIT_BREAKER_EVENTS_URL", "redis://b/0")
    monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_NAME", "trading_service")
    assert client.url == "redis://b/0"
    assert repr(EventSystemClient("redis://:secret@a/0")) == "EventSystemClient(service='trading_service')"


@pytest.mark.parametrize("length", ["0", "-5", "many", "1e3", "2147483648"])
async def test_a_length_that_the_stream_cannot_have_is_said_before_anything_is_lost(
    monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setenv("CIRCUIT_BREAKER_EVENTS_LENGTH", length)
    async with EventSystemClient("redis://127.0.0.1:1") as nowhere:
        with pytest.raises(ConfigError, match="CIRCUIT_BREAKER_EVENTS_LENGTH: must be an integer from 1"):
            await nowhere.publish("any", {})
