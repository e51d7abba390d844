"""What lies between a service and the server drops, delays, repeats and half-closes; and sometimes says nothing at all.

After each, history and counts are what the service itself counted, to the last one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.programs import ServiceProcess
from tests.proxies import Proxy
from tests.servers import ServerProcess, eventually

Pass = Callable[[str, Callable[[str], Awaitable[None]]], Awaitable[None]]
"""Is given each message, and what sends one on."""


async def faithfully(text: str, send: Callable[[str], Awaitable[None]]) -> None:
    await send(text)


async def twice(text: str, send: Callable[[str], Awaitable[None]]) -> None:
    await send(text)
    await send(text)


async def late(text: str, send: Callable[[str], Awaitable[None]]) -> None:
    await asyncio.sleep(0.25)  # what is tested
    await send(text)


class Losing:
    """Loses every third message; not the greetings, without which both wait until the other seems dead."""

    def __init__(self) -> None:
        self.met = 0

    async def __call__(self, text: str, send: Callable[[str], Awaitable[None]]) -> None:
        self.met += 1
        if self.met % 3 or text.startswith(('{"type":"hello"', '{"type":"welcome"')):
            await send(text)


class Between(Proxy):
    """Speaks websocket to both, so that it can tell where a message ends."""

    def __init__(self, server: ServerProcess) -> None:
        self.up: Pass = faithfully
        self.down: Pass = faithfully
        self.passed = 0
        self.met = 0
        self.silent = False
        self._server = server
        self._sockets: list[socket.socket] = []
        super().__init__()

    async def open(self) -> tuple[int, Callable[[], Awaitable[None]]]:
        app = web.Application()
        app.router.add_get("/ws/agent", self._connected)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1], runner.cleanup

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        self.met += 1
        headers = {"Authorization": request.headers["Authorization"]}
        here = web.WebSocketResponse()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self._server.url}/ws/agent", headers=headers) as there,
        ):
            await here.prepare(request)
            assert request.transport is not None
            self._sockets.append(request.transport.get_extra_info("socket"))
            up = asyncio.create_task(self._pour(here, there, lambda: self.up))
            down = asyncio.create_task(self._pour(there, here, lambda: self.down))
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down):
                task.cancel()
            with suppress(ConnectionError):
                await here.close(code=there.close_code or 1001)
        return here

    async def _pour(self, source: Any, sink: Any, how: Callable[[], Pass]) -> None:
        async for message in source:
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            if self.silent:
                continue
            self.passed += 1
            await how()(message.data, sink.send_str)

    def half_close(self) -> None:
        """Says to the service, on each connection, that nothing more will come, and goes on to listen."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_WR)


@pytest.fixture
def between(shared_server: ServerProcess) -> Iterator[Between]:
    made = Between(shared_server)
    yield made
    made.close()


@pytest.fixture
def service(shared_server: ServerProcess, between: Between) -> Iterator[ServiceProcess]:
    with ServiceProcess() as made:
        made.ask("connect", service="far_away", url=between.url, token=shared_server.token)
        yield made


def told(server: ServerProcess, name: str) -> tuple[int, int]:
    """Transitions in the history, and failures in the totals."""
    history = server.request("GET", f"/circuit-breakers/{name}/history")[1]
    metrics = server.request("GET", f"/circuit-breakers/{name}/metrics")[1]
    return history.get("count", 0), metrics.get("failures_total", 0)


def storm(service: ServiceProcess, name: str, transitions: int) -> tuple[int, int]:
    """What the service itself has counted in the end."""
    service.ask("breaker", name=name, failure_threshold=1)
    service.ask("storm", name=name, transitions=transitions, pause=0.001)
    eventually(lambda: not service.ask("storming"))
    return service.ask("counted")[name], service.ask("metrics", name=name)["failures_total"]


MANNERS = {"repeats": lambda: twice, "delays": lambda: late, "drops": Losing}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_proxy_of_bad_manners_neither_loses_nor_doubles_anything(
    shared_server: ServerProcess, between: Between, service: ServiceProcess, fresh: str, manner: str
) -> None:
    between.up = between.down = MANNERS[manner]()
    counted = storm(service, fresh, 1500)
    assert counted == (1500, 750)
    if manner == "drops":  # who loses every third message for ever is no connection
        eventually(lambda: between.met >= 3)
        between.up = between.down = faithfully
    eventually(lambda: told(shared_server, fresh) == counted)
    eventually(lambda: service.ask("status")["queued"] == 0)
    shared_server.request("PATCH", f"/circuit-breakers/{fresh}/config", {"failure_threshold": 77})
    eventually(lambda: service.ask("config", name=fresh)["failure_threshold"] == 77)
    assert told(shared_server, fresh) == counted


def test_a_connection_that_is_closed_on_one_side_only_is_made_anew(
    shared_server: ServerProcess, between: Between, service: ServiceProcess, fresh: str
) -> None:
    service.linked()
    between.half_close()
    counted = storm(service, fresh, 400)
    eventually(lambda: between.met == 2)
    eventually(lambda: told(shared_server, fresh) == counted)
    assert service.ask("status")["connected"]


@pytest.mark.timeout(120)
def test_a_connection_on_which_nothing_arrives_any_more_is_noticed(
    shared_server: ServerProcess, between: Between, service: ServiceProcess, fresh: str
) -> None:
    service.linked()
    between.silent = True  # both ends have a connection that stands, and neither hears of the other
    counted = storm(service, fresh, 400)
    shared_server.request("PATCH", f"/circuit-breakers/{fresh}/config", {"failure_threshold": 5})
    eventually(lambda: not service.ask("status")["connected"])
    assert "said nothing for 15 s" in service.ask("status")["last_error"]
    between.silent = False
    eventually(lambda: told(shared_server, fresh) == counted)
