"""``/ws/feed``: what it says, and to whom."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from prometheus_client import REGISTRY
from twisted.internet.testing import StringTransport

from breakers import services
from breakers.core.states import Override
from breakers.documents import Entry
from breakers.fleet import fleet
from breakers.services import Actor
from dashboard import consumers
from dashboard import hub as hub_module
from dashboard.gate import Gate, watch
from dashboard.hub import Hub, Reader

pytestmark = pytest.mark.django_db(transaction=True)
Connect = Callable[[], Awaitable[Any]]
ALICE = Actor("user", "alice")


def reset(name: str) -> str:
    command = services.breaker_reset(name=name, reason="INC-7", by=ALICE).id
    fleet.synchronise()
    return command


async def test_the_first_message_is_a_snapshot(
    feed: Connect, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    await sync_to_async(breaker)("bank-api")
    (await sync_to_async(instance)()).tell("bank-api", "open")
    socket = await feed()
    first = await socket.message()
    assert first["type"] == "snapshot"
    assert first["rows"] == json.loads(json.dumps(fleet.rows()))
    assert first["summary"]["open"] == 1
    assert first["server_time"].endswith("+00:00")
    await socket.disconnect()


async def test_a_change_comes_as_a_whole_row(
    feed: Connect, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    for name in ("bank-api", "other"):
        await sync_to_async(breaker)(name)
    linked = await sync_to_async(instance)()
    linked.tell("bank-api")
    socket = await feed()
    await socket.message("snapshot")
    linked.tell("bank-api", "open", failures=3)
    while not (update := await socket.message("update"))["rows"]:
        pass
    assert update["rows"] == [json.loads(json.dumps(fleet.row("bank-api")))]
    assert update["summary"]["failures"] == 3
    await socket.disconnect()


async def test_old_rows_and_messages_are_a_fresh_snapshot(
    feed: Connect, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    chance, names = random.Random(7), [f"b{i}" for i in range(6)]
    for name in names:
        await sync_to_async(breaker)(name)
    linked = [await sync_to_async(instance)(f"s{i}") for i in range(3)]
    socket = await feed()
    held = {row["name"]: row for row in (await socket.message("snapshot"))["rows"]}
    known = list(names)
    for step in range(60):
        await sync_to_async(_disturb)(chance, known, linked, step)
        if chance.random() < 0.3:
            _apply(held, await socket.message("update"))
    while (update := await socket.message("update"))["rows"] or update["removed"]:
        _apply(held, update)
    await socket.send_to(text_data=json.dumps({"type": "resync"}))
    fresh = {row["name"]: row for row in (await socket.message("snapshot"))["rows"]}
    assert held.keys() == fresh.keys()
    assert held == fresh
    await socket.disconnect()


def _disturb(chance: random.Random, names: list[str], linked: list[Any], step: int) -> None:
    name, deed = chance.choice(names), chance.random()
    if deed < 0.1 and len(names) > 2:
        services.breaker_delete(name=name, reason="", by=ALICE)
        names.remove(name)
        fleet.synchronise()
    elif deed < 0.2:
        reset(name)
    else:
        chance.choice(linked).tell(name, chance.choice(["closed", "open", "half_open"]), failures=step)


def _apply(rows: dict[str, Any], update: dict[str, Any]) -> None:
    rows.update({row["name"]: row for row in update["rows"]})
    for name in update["removed"]:
        rows.pop(name, None)


class Follower:
    """A reader that keeps what it was told; ``gate`` says whether its socket takes anything."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.gate = Gate(lambda: None)
        self.reader = Reader(self._hear, self.gate)

    async def _hear(self, message: dict[str, Any]) -> None:
        told = json.loads(message["text"])
        if told["type"] == "snapshot":
            self.rows = {}
        if told["type"] in ("snapshot", "update"):
            _apply(self.rows, {"removed": (), **told})

    def misbehave(self, chance: random.Random) -> None:
        """Stops reading, goes on, or asks for a snapshot."""
        deed = chance.random()
        if deed < 0.1:
            self.gate.pauseProducing()
        elif deed < 0.3:
            self.gate.resumeProducing()
        elif deed < 0.4:
            self.reader.stale = True


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_stops_reading_asks_again_or_comes_late_ends_up_with_the_same_rows(
    seed: int, ground: None, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    chance, names = random.Random(seed), [f"b{i}" for i in range(5)]
    for name in names:
        await sync_to_async(breaker)(name)
    linked = [await sync_to_async(instance)(f"s{i}") for i in range(3)]
    hub, followers = Hub(), [Follower() for _ in range(4)]
    pumps = [asyncio.create_task(one.reader.pump()) for one in followers]
    for step in range(50):
        if step in (0, 5, 30):
            hub._readers.add(followers[len(hub._readers)].reader)
        await sync_to_async(_disturb)(chance, names, linked, step)
        if chance.random() < 0.1:
            names.append(f"new-{step}")
            await sync_to_async(breaker)(names[-1])
            await sync_to_async(fleet.synchronise)()
        for one in followers[1:]:
            one.misbehave(chance)
        if chance.random() < 0.5:
            await hub._tick()
    hub._readers.update(one.reader for one in followers)
    for one in followers:
        one.gate.resumeProducing()
    for _ in range(2):
        await hub._tick()
        await asyncio.sleep(0.01)  # the pumps write; nothing here waits for them
    fresh = {row["name"]: row for row in json.loads(json.dumps(fleet.rows()))}
    for pump in pumps:
        pump.cancel()
    assert [one.rows == fresh for one in followers] == [True] * 4


async def test_updates_come_at_most_five_times_a_second(
    feed: Connect, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    await sync_to_async(breaker)("bank-api")
    linked = await sync_to_async(instance)()
    socket = await feed()
    await socket.message("snapshot")
    times = []
    for count in range(1, 400):
        linked.tell("bank-api", "open" if count % 2 else "closed", failures=count)
        with_news = await _news(socket)
        times += [asyncio.get_running_loop().time()] * with_news
        if len(times) == 4:
            break
    assert times[-1] - times[0] >= 3 * hub_module.PERIOD * 0.9  # the clock that paces, the clock that measures
    await socket.disconnect()


async def _news(socket: Any) -> int:
    """How many updates with rows are there now; gives the hub a moment of the loop."""
    if await socket.receive_nothing(timeout=0.005, interval=0.005):
        return 0
    return int(bool((await socket.message("update"))["rows"]))


async def test_a_quiet_fleet_still_says_how_late_it_is(feed: Connect) -> None:
    socket = await feed()
    await socket.message("snapshot")
    first, second = await socket.message("update"), await socket.message("update")
    assert first["rows"] == second["rows"] == []
    assert first["server_time"] < second["server_time"]
    await socket.disconnect()


async def test_operator_actions_and_their_progress_are_events(
    feed: Connect, breaker: Callable[..., None], instance: Callable[..., Any]
) -> None:
    await sync_to_async(breaker)("bank-api")
    linked = await sync_to_async(instance)()
    linked.tell("bank-api", "open")
    socket = await feed()
    await socket.message("snapshot")
    command = await sync_to_async(reset)("bank-api")
    linked.tell("bank-api", "closed", resets=(command,))
    action, progress = await socket.message("event"), await socket.message("event")
    assert (action["kind"], action["name"], action["actor"]) == ("reset", "bank-api", "user:alice")
    assert (progress["kind"], progress["command"]) == ("reset_progress", command)
    assert (progress["targeted"], progress["confirmed"], progress["silent"]) == (1, 1, 0)
    await socket.disconnect()


@pytest.mark.parametrize("text", ["[]", "{", "null", '{"type": 1}', "[" * 900, "x" * 2000, '{"type": "reset"}'])
async def test_what_is_not_understood_changes_nothing(feed: Connect, text: str) -> None:
    socket = await feed()
    await socket.message("snapshot")
    await socket.send_to(text_data=text)
    assert (await socket.message())["type"] == "update"
    await socket.disconnect()


# --- a reader that does not read -------------------------------------------------------------------------------------


async def _swallow(sent: list[str], message: dict[str, Any]) -> None:
    sent.append(message["text"])


async def test_a_reader_behind_a_full_socket_gets_the_last_state_and_nothing_between() -> None:
    sent: list[str] = []
    gate = Gate(lambda: None)
    reader = Reader(lambda message: _swallow(sent, message), gate)
    pump = asyncio.create_task(reader.pump())
    reader.refresh("snapshot 1")
    gate.pauseProducing()
    for step in range(3):
        reader.offer(f"update {step}")
    assert reader.stale
    gate.resumeProducing()
    reader.refresh("snapshot 2")
    reader.offer("update after")
    while len(sent) < 2:
        await asyncio.sleep(0)
    pump.cancel()
    assert sent == ["snapshot 2", "update after"]


async def test_a_reader_whose_send_waits_has_a_bounded_backlog() -> None:
    free, sent = asyncio.Event(), []

    async def send(message: dict[str, Any]) -> None:
        await free.wait()
        sent.append(message["text"])

    reader = Reader(send, Gate(lambda: None))
    pump = asyncio.create_task(reader.pump())
    reader.refresh("snapshot")
    for step in range(10_000):
        reader.offer(f"update {step}")
        await asyncio.sleep(0)
    assert reader.stale, "it is waiting for a snapshot, not for ten thousand updates"
    free.set()
    reader.refresh("fresh")
    while not sent or sent[-1] != "fresh":
        await asyncio.sleep(0)
    pump.cancel()
    assert len(sent) <= 2  # what was on its way, and the fresh one


async def test_whoever_reads_at_once_hears_every_one_of_a_thousand_operator_actions_at_once(feed: Connect) -> None:
    names = [f"b{number:04}" for number in range(600)]
    entries = [Entry(name, {}) for name in names]
    await sync_to_async(services.configs_import)(entries=entries, reason="", by=ALICE)
    await sync_to_async(fleet.synchronise)()
    socket = await feed()
    rows = {row["name"]: row for row in (await socket.message("snapshot"))["rows"]}
    await sync_to_async(services.breakers_reset_all)(names=names, reason="INC-7", by=ALICE)
    await sync_to_async(services.overrides_set)(
        names=names, override=Override.FORCED_OPEN, reason="INC-7", expires_at=None, by=ALICE, confirm=True
    )
    await sync_to_async(fleet.synchronise)()
    heard = list[tuple[str, str]]()
    while len(heard) < 2 * len(names):
        message = await socket.message()
        assert message["type"] != "snapshot", "who keeps up is not taken for somebody who does not"
        if message["type"] == "event":
            heard.append((message["kind"], message["name"]))
        rows |= {row["name"]: row for row in message.get("rows", ())}
    assert heard == [("reset", name) for name in names] + [("override", name) for name in names]
    assert {row["override"]["override"] for row in rows.values()} == {"forced_open"}
    await socket.disconnect()


async def test_a_burst_for_one_reader_leaves_others_their_turn() -> None:
    sent, turns = list[str](), list[int]()
    reader = Reader(lambda message: _swallow(sent, message), Gate(lambda: None))
    reader.refresh("snapshot")
    reader.offer(*(f"event {number}" for number in range(1000)))
    pump = asyncio.create_task(reader.pump())
    while len(sent) < 1001:
        turns.append(len(sent))
        await asyncio.sleep(0)
    pump.cancel()
    assert max(after - before for before, after in pairwise([*turns, 1001])) <= hub_module.AT_ONCE


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_socket_that_takes_nothing_for_long_is_closed_and_counted(ground: None) -> None:
    clock, sent = Clock(), asyncio.Queue[dict[str, Any]]()
    gate = Gate(lambda: None, clock)
    hub, reader = Hub(), Reader(sent.put, gate)
    hub._readers.add(reader)
    pump = asyncio.create_task(reader.pump())
    before = REGISTRY.get_sample_value("control_plane_deaf_readers_total")
    gate.pauseProducing()
    for clock.now in (29.0, 35.0, 64.0):
        if clock.now == 35.0:  # it took what it had, and is full again
            gate.resumeProducing()
            gate.pauseProducing()
        await hub._tick()
    assert sent.empty()
    for clock.now in (65.0, 66.0):
        await hub._tick()
    assert await asyncio.wait_for(sent.get(), 10) == {"type": "websocket.close", "code": 4408}
    await asyncio.wait_for(pump, 10)
    assert sent.empty(), "it is told once"
    assert REGISTRY.get_sample_value("control_plane_deaf_readers_total") == (before or 0.0) + 1


def test_the_transport_behind_the_server_opens_and_closes_the_gate() -> None:
    opened: list[str] = []
    transport = StringTransport()
    transport.registerProducer(object(), True)  # the HTTP channel's, before the upgrade
    gate = watch(partial(print, SimpleNamespace(transport=transport)), lambda: opened.append("once"))
    transport.producer.pauseProducing()
    assert gate.closed
    transport.producer.resumeProducing()
    assert (gate.closed, gate.closed_for, opened) == (False, 0.0, ["once"])


# --- who may -----------------------------------------------------------------------------------------------------


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


async def _is_let_in(socket: Any) -> bool:
    connected, _ = await socket.connect(timeout=5)
    await socket.disconnect()
    return bool(connected)


@pytest.mark.parametrize("who", ["viewer", "operator", "editor", "stranger"])
async def test_whoever_is_signed_in_reads_with_the_pages_origin(
    who: str, request: pytest.FixtureRequest, dial: Callable[..., Any]
) -> None:
    user = await sync_to_async(request.getfixturevalue)(who)
    cookie = await sync_to_async(session_of)(user)
    assert await _is_let_in(dial(cookie=cookie, origin="http://testserver"))
    assert not await _is_let_in(dial(cookie=cookie, origin="https://evil.example"))
    assert not await _is_let_in(dial(cookie=cookie))
    assert not await _is_let_in(dial(cookie=cookie, origin="http://evil.example", host="evil.example"))


async def test_an_origin_that_the_operator_trusts_is_ours(
    operator: User, dial: Callable[..., Any], settings: Any
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
    cookie = await sync_to_async(session_of)(operator)
    assert await _is_let_in(dial(cookie=cookie, origin="https://ops.example.com"))
    assert not await _is_let_in(dial(cookie=cookie, origin="http://ops.example.com"))
    assert not await _is_let_in(dial(cookie=cookie, origin="https://example.com.evil.example"))


async def test_a_key_that_may_read_needs_no_origin(dial: Callable[..., Any], key: Callable[..., str]) -> None:
    reading, linking = await sync_to_async(key)("read"), await sync_to_async(key)("agent", "operate")
    assert await _is_let_in(dial(key=reading))
    assert not await _is_let_in(dial(key=linking))
    assert not await _is_let_in(dial(key=reading + "x"))
    assert not await _is_let_in(dial(key=reading, cookie="x"))  # a cookie: from a page that is not ours


async def test_nobody_reads_unless_reading_is_public(dial: Callable[..., Any], settings: Any) -> None:
    assert not await _is_let_in(dial())
    assert not await _is_let_in(dial(cookie="nonsense", origin="http://testserver"))
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    assert await _is_let_in(dial())
    assert await _is_let_in(dial(origin="http://testserver"))
    assert not await _is_let_in(dial(origin="https://evil.example"))


async def test_a_socket_ends_when_its_session_does(
    operator: User, dial: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.consumers.RECHECK", 0.05)
    cookie = await sync_to_async(session_of)(operator)
    socket = dial(cookie=cookie, origin="http://testserver")
    assert (await socket.connect(timeout=5))[0]
    operator.is_active = False
    await operator.asave()
    while (message := await socket.receive_output(timeout=5))["type"] == "websocket.send":
        pass
    assert message == {"type": "websocket.close", "code": 4401}
    await socket.disconnect()


async def closing_of(socket: Any) -> Any:
    """How a socket that never stops talking is closed."""
    while True:
        await socket.send_to(text_data='{"type": "resync"}')
        message = await socket.receive_output(timeout=5)
        if message["type"] == "websocket.close":
            return message["code"]


async def test_a_socket_that_never_stops_talking_ends_with_its_session_too(
    operator: User, dial: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.consumers.RECHECK", 0.5)  # its questions come more often
    cookie = await sync_to_async(session_of)(operator)
    socket = dial(cookie=cookie, origin="http://testserver")
    assert (await socket.connect(timeout=5))[0]
    await Session.objects.all().adelete()
    assert await asyncio.wait_for(closing_of(socket), 30) == 4401
    await socket.disconnect()


async def test_a_socket_ends_when_its_key_is_revoked(
    dial: Callable[..., Any], key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.consumers.RECHECK", 0.5)
    socket = dial(key=await sync_to_async(key)("read", name="wall"))
    assert (await socket.connect(timeout=5))[0]
    await sync_to_async(services.api_key_revoke)(name="wall", by=ALICE)
    assert await asyncio.wait_for(closing_of(socket), 30) == 4401
    await socket.disconnect()


async def test_many_sockets_of_one_person_are_one_question(
    operator: User, dial: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = [], consumers._admitted
    monkeypatch.setattr(consumers, "_admitted", lambda headers: asked.append(1) or ask(headers))
    headers = {"cookie": f"sessionid={await sync_to_async(session_of)(operator)}", "origin": "http://testserver"}
    monkeypatch.setattr(consumers, "RECHECK", 120.0)
    standing = consumers.Standing()
    assert [await standing.still_admitted({**headers, "host": "testserver"}) for _ in range(5)] == [True] * 5
    assert await standing.still_admitted({"host": "testserver"}) is False
    assert len(asked) == 2
