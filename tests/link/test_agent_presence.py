"""Who is here: what a socket leaves behind when it closes, and when the hub is told to look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from breakers import services
from breakers.agents import runtime
from breakers.agents.consumer import AgentConsumer
from breakers.agents.hub import hub
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.wire import Desired, Hello, decode_from_server, encode
from breakers.fleet import fleet

HELLO = Hello("7b0c6f2e-4a68-4a8f-9f0e-7d7b9d1c2a55", "trading", "here", 1, "test", 1.0, 1.0)


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_closes_is_forgotten(key: Any) -> None:
    secret = await sync_to_async(key)("agent")
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "websocket", "headers": [(b"authorization", f"Bearer {secret}".encode())], "client": None}
    agent = asyncio.create_task(AgentConsumer()(scope, heard.get, said.put))
    heard.put_nowait({"type": "websocket.connect"})
    heard.put_nowait({"type": "websocket.receive", "text": encode(HELLO)})
    async with asyncio.timeout(60):
        while not isinstance(decode_from_server((await said.get()).get("text") or '{"type": "none"}'), Desired):
            pass
    assert (len(hub), fleet.picture().agents) == (1, 1)
    heard.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(agent, 10)
    assert (len(hub), fleet.picture().agents) == (0, 0)


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
