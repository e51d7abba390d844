"""Who is here: what a socket leaves behind when it closes, and when the hub is told to look."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from breakers import services
from breakers.agents import consumer, runtime
from breakers.agents.consumer import AgentConsumer
from breakers.agents.hub import hub
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.wire import Ack, Desired, FromAgent, Hello, Report, Welcome, decode_from_server, encode
from breakers.fleet import fleet

HELLO = Hello("7b0c6f2e-4a68-4a8f-9f0e-7d7b9d1c2a55", "trading", "here", 1, "test", 1.0, 1.0)


class Socket:
    """One agent's, without a network."""

    def __init__(self, secret: str) -> None:
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        headers = [(b"authorization", f"Bearer {secret}".encode())]
        scope = {"type": "websocket", "headers": headers, "client": None}
        self._served = asyncio.create_task(AgentConsumer()(scope, self._heard.get, self._said.put))
        self._heard.put_nowait({"type": "websocket.connect"})

    def say(self, message: FromAgent) -> None:
        self._heard.put_nowait({"type": "websocket.receive", "text": encode(message)})

    async def hear_until(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(60):
            while True:
                message = decode_from_server((await self._said.get()).get("text") or '{"type": "none"}')
                if isinstance(message, kind):
                    return message

    async def close(self) -> None:
        self._heard.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await asyncio.wait_for(self._served, 10)


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_closes_is_forgotten(key: Any) -> None:
    socket = Socket(await sync_to_async(key)("agent"))
    socket.say(HELLO)
    await socket.hear_until(Desired)
    assert (len(hub), fleet.picture().agents) == (1, 1)
    await socket.close()
    assert (len(hub), fleet.picture().agents) == (0, 0)


@pytest.mark.django_db(transaction=True)
async def test_what_it_told_is_written_down_when_it_leaves_without_a_word(
    key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[UUID] = []
    monkeypatch.setattr(consumer.writer, "persist", asked.extend)
    socket = Socket(await sync_to_async(key)("agent"))
    socket.say(HELLO)
    await socket.hear_until(Desired)
    assert asked == []
    await socket.close()
    assert asked == [UUID(HELLO.instance)]


@pytest.mark.django_db(transaction=True)
async def test_how_far_a_clock_is_off_is_measured_and_shown(key: Any, viewer: User, client: Client) -> None:
    await sync_to_async(client.force_login)(viewer)
    socket = Socket(await sync_to_async(key)("agent"))
    socket.say(HELLO)
    for number, ahead in enumerate((3600, -5000), 1):
        socket.say(Report(number, time.time() + ahead))
        await socket.hear_until(Ack)
        page = (await sync_to_async(client.get)("/dashboard/instances")).content.decode()
        shown = re.search(r'data-label="Clock">([+-][0-9.]+) s<', page)
        assert shown is not None
        assert ahead - 30 < float(shown[1]) <= ahead + 0.1  # less the time that it was under way
    await socket.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("theirs", "spoken"), [(1, 1), (2, 2), (3, 2)])
async def test_of_two_protocols_the_lower_one_is_spoken(
    key: Any, theirs: int, spoken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "PROTOCOL", 2)  # some day
    socket = Socket(await sync_to_async(key)("agent"))
    socket.say(replace(HELLO, protocol=theirs))
    assert (await socket.hear_until(Welcome)).protocol == spoken
    await socket.close()


class Bell:
    """Counts how often it is told to look."""

    def __init__(self) -> None:
        self.rung = 0

    def publish(self) -> None:
        self.rung += 1


@pytest.mark.django_db(transaction=True)
def test_agents_are_looked_through_only_when_something_was_written(
    ground: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell, plane = Bell(), runtime.ControlPlane()
    monkeypatch.setattr(runtime, "hub", bell)
    plane._published = fleet.synchronise()
    plane._synchronise()
    assert bell.rung == 0
    by = services.Actor("system")
    services.breaker_create(name="new", config=CircuitBreakerConfig(name="new"), http=HttpConfig(), by=by)
    fleet.synchronise()  # a view was faster
    plane._synchronise()
    plane._synchronise()
    assert bell.rung == 1
