"""``/ws/agent`` as agents of all manners meet it. Each test speaks the protocol itself, to a real server."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import pytest

from breakers.core.states import CircuitBreakerState
from breakers.core.wire import (
    Ack,
    BreakerStatus,
    Counts,
    Desired,
    Farewell,
    FromAgent,
    FromServer,
    Goodbye,
    Hello,
    Registration,
    Report,
    TransitionReport,
    Welcome,
    decode_from_server,
    encode,
)
from tests.servers import ServerProcess, eventually

CLOSED, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN


class Agent:
    """One socket, one message at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.instance = str(uuid.uuid4())

    async def say(self, message: FromAgent | str | bytes) -> None:
        if isinstance(message, bytes):
            await self.socket.send_bytes(message)
        else:
            await self.socket.send_str(message if isinstance(message, str) else encode(message))

    async def hear(self) -> FromServer:
        heard = await self.socket.receive(timeout=10)
        assert heard.type is aiohttp.WSMsgType.TEXT, heard
        message = decode_from_server(heard.data)
        assert message is not None
        return message

    async def hear_until(self, kind: type[Any]) -> Any:
        while not isinstance(message := await self.hear(), kind):
            pass
        return message

    def hello(self, *names: str, **more: Any) -> Hello:
        known = {"instance": self.instance, "service": "raw", "host": "h", "pid": 1, "library": "t", "revision": 0}
        registrations = tuple(Registration(name, {}) for name in names)
        moments = {"now": time.time(), "started_at": time.time() - 60}
        return Hello(**{**known, **moments, "registrations": registrations, **more})

    async def greet(self, *names: str) -> Desired:
        await self.say(self.hello(*names))
        assert isinstance(await self.hear(), Welcome)
        return await self.hear_until(Desired)  # type: ignore[no-any-return]  # that is what it waits for

    async def farewell(self, within: float = 60) -> tuple[int, str]:
        """The close code and reason; whatever else comes before is passed over."""
        while (heard := await self.socket.receive(timeout=within)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert heard.type is aiohttp.WSMsgType.CLOSE, heard
        return heard.data, heard.extra or ""


def report(number: int, *transitions: TransitionReport, **more: Any) -> Report:
    return Report(id=number, now=time.time(), transitions=transitions, **more)


def transition(sequence: int, name: str = "raw", **more: Any) -> TransitionReport:
    known = {"from_state": CLOSED, "to_state": OPEN, "reason": "failure_rate", "cause": "c", "at": time.time()}
    return TransitionReport(sequence=sequence, name=name, **{**known, **more})


@asynccontextmanager
async def agent_of(server: ServerProcess, token: str | None = None, **headers: str) -> AsyncIterator[Agent]:
    headers = {"Authorization": f"Bearer {token or server.token}", **headers}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws/agent", headers=headers) as ws:
        yield Agent(ws)


@pytest.fixture
async def agent(shared_server: ServerProcess) -> AsyncIterator[Agent]:
    async with agent_of(shared_server) as made:
        yield made


# --- the door -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Cookie": "sessionid=abc", "Origin": "http://127.0.0.1"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer tpcb_unknown"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
    ids=["nothing", "a cookie", "an empty key", "an unknown key", "a password"],
)
async def test_only_a_key_opens(shared_server: ServerProcess, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{shared_server.url}/ws/agent", headers=headers)
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["/", "/ws/nothing", "/circuit-breakers", "/ws/agent/"])
async def test_a_socket_where_there_is_none_is_refused(shared_server, path):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {shared_server.token}"}) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{shared_server.url}{path}")
    assert refused.value.status == 403


async def test_a_database_that_cannot_answer_is_no_refusal(shared_server: ServerProcess) -> None:
    """Which would stop the agent for good."""
    with closing(sqlite3.connect(shared_server.database, isolation_level=None, timeout=10)) as database:
        database.execute("ALTER TABLE breakers_apikey RENAME TO breakers_apikey_away")
        try:
            async with agent_of(shared_server) as agent:
                assert await agent.farewell() == (1013, "try again later")
        finally:
            database.execute("ALTER TABLE breakers_apikey_away RENAME TO breakers_apikey")


async def test_a_revoked_key_opens_no_longer_and_who_came_with_it_must_go(shared_server: ServerProcess) -> None:
    token = shared_server.create_key("soon revoked", "agent")
    async with agent_of(shared_server, token) as agent:
        await agent.greet()
        shared_server.python(
            "from breakers import services\n"
            "services.api_key_revoke(name='soon revoked', by=services.Actor('system', 'test'))"
        )
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with agent_of(shared_server, token):
                pass
        assert await agent.farewell() == (4403, "the key was revoked")


# --- the conversation ---------------------------------------------------------------------------------------------


async def test_hello_is_answered_with_what_is_wanted_of_the_breakers_it_names(
    shared_server: ServerProcess, agent: Agent
) -> None:
    for name in ("wanted", "of_others"):
        assert shared_server.request("POST", "/circuit-breakers", {"name": name, "failure_threshold": 4})[0] == 201
    desired = await agent.greet("wanted", "unheard_of")
    assert [row.name for row in desired.breakers] == ["wanted"]
    assert desired.since is None
    assert desired.breakers[0].config is not None
    assert desired.breakers[0].config["failure_threshold"] == 4


async def test_a_breaker_made_later_is_told_of_when_it_is_registered(
    shared_server: ServerProcess, agent: Agent
) -> None:
    assert shared_server.request("POST", "/circuit-breakers", {"name": "made_later"})[0] == 201
    await agent.greet("first")
    await agent.say(report(1, registrations=(Registration("made_later", {}),)))
    while "made_later" not in {row.name for row in (await agent.hear_until(Desired)).breakers}:
        pass


async def test_transitions_are_acknowledged_once_they_stand_in_the_history(
    shared_server: ServerProcess, agent: Agent
) -> None:
    await agent.greet("recorded")
    await agent.say(report(1, transition(1, "recorded"), transition(2, "recorded")))
    assert await agent.hear_until(Ack) == Ack(id=1, sequence=2)
    _, history = shared_server.request("GET", "/circuit-breakers/recorded/history")
    assert [(change["sequence"], change["service"]) for change in history["results"]] == [(2, "raw"), (1, "raw")]


async def test_a_repeated_report_is_acknowledged_again_and_recorded_once(
    shared_server: ServerProcess, agent: Agent
) -> None:
    await agent.greet("repeated")
    for _ in range(3):
        await agent.say(report(1, transition(1, "repeated")))
    await agent.say(report(2, transition(1, "repeated"), transition(2, "repeated")))
    while (await agent.hear_until(Ack)).sequence < 2:
        pass
    await agent.say(report(1, transition(1, "repeated")))
    await agent.say(report(3))
    while (await agent.hear_until(Ack)).id < 3:
        pass
    _, history = shared_server.request("GET", "/circuit-breakers/repeated/history")
    assert history["count"] == 2


async def test_a_recorded_transition_is_an_event_of_the_feed(shared_server: ServerProcess, agent: Agent) -> None:
    await agent.greet("in_the_feed")
    headers = {"Authorization": f"Bearer {shared_server.token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{shared_server.url}/ws/feed", headers=headers) as feed,
    ):
        assert (await feed.receive_json(timeout=10))["type"] == "snapshot"
        await agent.say(report(1, transition(1, "in_the_feed", cause="it was told so")))
        while (told := await feed.receive_json(timeout=10)).get("kind") != "transition":
            pass
    assert (told["name"], told["instance"], told["cause"]) == ("in_the_feed", agent.instance, "it was told so")


async def test_an_agent_is_not_told_of_the_breakers_of_others_but_hears_in_the_end_how_far_it_is(
    shared_server: ServerProcess, agent: Agent
) -> None:
    for name in ("mine", "theirs"):
        assert shared_server.request("POST", "/circuit-breakers", {"name": name})[0] == 201
    before = await agent.greet("mine")
    async with agent_of(shared_server) as other:
        await other.greet("theirs")
        edit = {"failure_threshold": 3}
        assert shared_server.request("PATCH", "/circuit-breakers/theirs/config", edit)[0] == 200
        theirs = await other.hear_until(Desired)
    assert shared_server.request("PATCH", "/circuit-breakers/mine/config", edit)[0] == 200
    mine = await agent.hear_until(Desired)
    assert "mine" in {row.name for row in mine.breakers}
    assert before.revision == mine.since < theirs.revision < mine.revision

    assert shared_server.request("PATCH", "/circuit-breakers/theirs/config", {"failure_threshold": 4})[0] == 200
    async with asyncio.timeout(60):
        nothing_for_us = asyncio.ensure_future(agent.hear_until(Desired))
        for number in itertools.count(1):
            await agent.say(report(number, revision=mine.revision))
            if nothing_for_us in (await asyncio.wait({nothing_for_us}, timeout=0.1))[0]:
                break
    assert nothing_for_us.result() == Desired(revision=mine.revision + 1, since=mine.revision)


async def test_a_server_that_is_behind_its_database_looks_before_it_answers_an_agent_that_is_not(
    shared_server: ServerProcess, agent: Agent
) -> None:
    shared_server.request("POST", "/circuit-breakers", {"name": "ahead"})
    revision = int(
        shared_server.python(
            "from breakers import selectors, services\n"
            "row = selectors.breaker('ahead')\n"
            "by = services.Actor('system', 'test')\n"
            "print(services.breaker_reset(name='ahead', reason='', by=by).revision)"
        )
    )
    await agent.say(agent.hello("ahead", revision=revision))
    assert (await agent.hear_until(Desired)).revision >= revision


async def test_goodbye_is_answered_once_the_totals_are_in_the_database(own_server: ServerProcess) -> None:
    async with agent_of(own_server) as agent:
        await agent.greet("totals")
        status = BreakerStatus("totals", CLOSED, counts=Counts(successes=7))
        await agent.say(report(1, breakers=(status,)))
        await agent.say(Goodbye())
        await agent.hear_until(Farewell)
        own_server.kill()
    with closing(sqlite3.connect(own_server.database)) as database:
        [(observed, gone_at)] = database.execute("SELECT observed, gone_at FROM breakers_instance").fetchall()
    assert '"totals"' in observed
    assert gone_at is not None


async def test_who_was_forgotten_and_returns_to_a_server_that_is_killed_is_counted_once(
    own_server: ServerProcess,
) -> None:
    """Its row was deleted a month after it was gone; what it had counted until then stands in the sums."""
    month = 31 * 24 * 3600.0
    instance = str(uuid.uuid4())

    async def tell(number: int, successes: int, agent: Agent) -> None:
        status = BreakerStatus("woken", CLOSED, counts=Counts(successes=successes))
        await agent.say(report(number, breakers=(status,)))
        assert await agent.hear_until(Ack) == Ack(id=number)

    async def back(agent: Agent) -> None:
        await agent.say(agent.hello("woken", instance=instance, started_at=time.time() - month, revision=1))
        await agent.hear_until(Desired)

    def known() -> bool:
        with closing(sqlite3.connect(own_server.database, timeout=10)) as database:
            return bool(database.execute("SELECT 1 FROM breakers_instance").fetchall())

    async with agent_of(own_server) as agent:
        await back(agent)
        await tell(1, 5, agent)
        eventually(known)
        own_server.kill()
    own_server.start()
    async with agent_of(own_server) as agent:
        await back(agent)
        await tell(1, 5, agent)
        await tell(2, 7, agent)
        eventually(lambda: own_server.request("GET", "/circuit-breakers/woken/metrics")[0] == 200)
        assert own_server.request("GET", "/circuit-breakers/woken/metrics")[1]["successes_total"] == 2


async def test_heartbeats_write_nothing(own_server: ServerProcess) -> None:
    async with agent_of(own_server) as agent:
        await agent.greet("quiet")
        await agent.say(report(1, breakers=(BreakerStatus("quiet", CLOSED),)))
        await agent.hear_until(Ack)
        with closing(sqlite3.connect(own_server.database, timeout=10)) as database:
            kept = "SELECT 1 FROM breakers_instance WHERE observed LIKE '%quiet%'"
            eventually(lambda: database.execute(kept).fetchall(), what="all is written that was to be written")
            [before] = database.execute("PRAGMA data_version").fetchall()
            for number in range(2, 200):
                await agent.say(report(number))
                await agent.hear_until(Ack)
            assert database.execute("PRAGMA data_version").fetchall() == [before]


async def test_a_newer_link_of_the_same_instance_takes_over(shared_server: ServerProcess, agent: Agent) -> None:
    await agent.greet("taken_over")
    await agent.say(report(1, breakers=(BreakerStatus("taken_over", CLOSED),)))
    async with agent_of(shared_server) as newer:
        newer.instance = agent.instance
        await newer.greet("taken_over")
        assert await agent.farewell() == (4409, "a newer link of the same instance has taken over")
        await newer.say(report(1, breakers=(BreakerStatus("taken_over", OPEN),)))
        await newer.hear_until(Ack)
        await agent.socket.close()
        one = {"total": 1, "closed": 0, "half_open": 0, "open": 1, "silent": 0}
        eventually(lambda: shared_server.request("GET", "/circuit-breakers/taken_over")[1].get("instances") == one)
        path = "/circuit-breakers/taken_over/config"
        assert shared_server.request("PATCH", path, {"failure_threshold": 3})[0] == 200
        while not (desired := await newer.hear_until(Desired)).breakers or desired.breakers[0].config is None:
            pass
        assert desired.breakers[0].config["failure_threshold"] == 3


def agents(server: ServerProcess) -> float:
    """How many links the server says are up."""
    found = re.search(r"^circuit_breaker_agents (\S+)$", server.request("GET", "/metrics")[1], re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_who_leaves_without_a_word_is_linked_no_longer(own_server: ServerProcess) -> None:
    async with agent_of(own_server) as agent:
        await agent.greet()
        assert agents(own_server) == 1
    eventually(lambda: agents(own_server) == 0, within=13)  # by 15 s it would be silent


async def test_a_repeated_hello_is_passed_over(agent: Agent) -> None:
    await agent.greet("polite")
    await agent.say(agent.hello("polite"))
    await agent.say(report(1))
    assert await agent.hear_until(Ack) == Ack(id=1)


async def test_an_agent_that_does_not_confirm_is_told_again(shared_server: ServerProcess, agent: Agent) -> None:
    assert shared_server.request("POST", "/circuit-breakers", {"name": "unconfirmed"})[0] == 201
    told = await agent.greet("unconfirmed")
    async with asyncio.timeout(60):
        again = asyncio.ensure_future(agent.hear_until(Desired))
        for number in itertools.count(1):
            await agent.say(report(number, revision=0))
            if again in (await asyncio.wait({again}, timeout=0.2))[0]:
                break
    assert [row.name for row in again.result().breakers] == ["unconfirmed"]
    assert again.result().revision >= told.revision


# --- bad manners --------------------------------------------------------------------------------------------------

NONSENSE = {
    "no JSON": ("{", 4400, "not JSON"),
    "bytes": (b"\xff\x00\xfe", 4400, "not JSON"),
    "a list": ("[1]", 4400, "object"),
    "an unknown type": ('{"type": "shout"}', 4400, "type"),
    "a hello without a name": ('{"type": "hello"}', 4400, "hello.instance"),
    "numbers that are none": ('{"type": "report", "id": NaN, "now": 0}', 4400, "NaN"),
    "depth": ("[" * 100_000, 4400, "not JSON"),
    "a report before hello": ('{"type": "report", "id": 1, "now": 1}', 4402, "hello"),
    "a goodbye before hello": ('{"type": "goodbye"}', 4402, "hello"),
}


@pytest.mark.parametrize(("message", "code", "reason"), NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_sent_away_with_a_reason(agent: Agent, message: str | bytes, code: int, reason: str) -> None:
    await agent.say(message)
    closed, why = await agent.farewell()
    assert closed == code
    assert reason in why


@pytest.mark.parametrize(
    "hello",
    [
        {"instance": "not-a-uuid"},
        {"service": ""},
        {"service": "a\x00b"},
        {"started_at": -1.0},
        {"now": 1e15},
        {"registrations": (Registration("no/such name", {}),)},
        {"protocol": 0},
    ],
    ids=lambda hello: next(iter(hello)),
)
async def test_a_hello_of_a_strange_kind_is_sent_away(agent: Agent, hello: dict[str, Any]) -> None:
    await agent.say(agent.hello(**hello))
    assert (await agent.farewell())[0] == 4400


STRANGE_REPORTS = {
    "a report was skipped": (report(2), 4402),
    "a gap in the sequence": (report(1, transition(1), transition(3)), 4400),
    "a sequence below one": (report(1, transition(0)), 4400),
    "a name that cannot be": (report(1, transition(1, "a b")), 4400),
    "a moment beyond the calendar": (report(1, transition(1, at=1e14)), 4400),
    "a status of a name that cannot be": (report(1, breakers=(BreakerStatus("", CLOSED),)), 4400),
}


@pytest.mark.parametrize(("said", "code"), STRANGE_REPORTS.values(), ids=STRANGE_REPORTS.keys())
async def test_a_strange_report_is_sent_away(agent: Agent, said: Report, code: int) -> None:
    await agent.greet("raw")
    await agent.say(said)
    assert (await agent.farewell())[0] == code


async def test_a_hello_of_another_instance_on_the_same_socket_is_sent_away(agent: Agent) -> None:
    await agent.greet()
    await agent.say(agent.hello(instance=str(uuid.uuid4())))
    assert (await agent.farewell())[0] == 4402


async def test_an_oversized_message_is_sent_away(agent: Agent) -> None:
    await agent.greet()
    await agent.say('{"type": "report", "padding": "' + "x" * (1 << 20) + '"}')
    assert (await agent.farewell())[0] == 1009


async def test_who_is_sent_away_is_counted_by_code(shared_server: ServerProcess) -> None:
    def counted(code: int) -> float:
        lines = shared_server.request("GET", "/metrics")[1].splitlines()
        name = f'control_plane_agents_sent_away_total{{code="{code}"}} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = {code: counted(code) for code in (403, 1009, 4400, 4402)}
    for said in ("nonsense", report(1), '{"type": "report", "padding": "' + "x" * (1 << 20) + '"}'):
        async with agent_of(shared_server) as agent:
            await agent.say(said)
            await agent.farewell()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with agent_of(shared_server, "tpcb_unknown"):
            pass
    eventually(lambda: {code: counted(code) - before[code] for code in before} == dict.fromkeys(before, 1))


async def test_texts_that_no_database_takes_are_recorded_all_the_same(
    shared_server: ServerProcess, agent: Agent
) -> None:
    await agent.greet("strange_texts")
    strange = [transition(1, "strange_texts", cause="a\x00b\ud800"), transition(2, "strange_texts", cause="x" * 9000)]
    await agent.say(report(1, *strange))
    assert await agent.hear_until(Ack) == Ack(id=1, sequence=2)
    assert shared_server.request("GET", "/circuit-breakers/strange_texts/history")[1]["count"] == 2


async def test_a_flood_is_sent_away_and_costs_the_others_nothing(shared_server: ServerProcess, agent: Agent) -> None:
    await agent.greet("patient")
    async with agent_of(shared_server) as flooding:
        await flooding.greet()
        for _ in range(4000):
            await flooding.say(report(1))
        assert await flooding.farewell() == (4429, "too many messages")
        await agent.say(report(1))
        assert await agent.hear_until(Ack) == Ack(id=1)
    eventually(lambda: shared_server.request("GET", "/health")[0] == 200)
