"""``manage.py serve``: the same daphne, that says goodbye. A real process, real signals."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from breakers.core.wire import Hello, encode
from tests.programs import ServiceProcess
from tests.servers import ROOT, ServerProcess, eventually

Start = Callable[..., ServiceProcess]
IDENTITY = {
    "instance": "7b0c6f2e-4a68-4a8f-9f0e-7d7b9d1c2a55",
    "service": "raw",
    "host": "here",
    "pid": 1,
    "library": "x",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    made = ServerProcess(tmp_path_factory.mktemp("serving"), tuned=True)
    made.prepare()
    return made


@pytest.fixture
def server(place: ServerProcess) -> Iterator[ServerProcess]:
    place.log.unlink(missing_ok=True)
    place.start()
    yield place
    place.stop()


@contextmanager
def a_write_that_waits(server: ServerProcess) -> Iterator[dict[str, Any]]:
    """A request in flight: what it wants to write is locked until the block ends. Its answer, once there is one."""
    answer: dict[str, Any] = {}

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):
            answer["status"], answer["body"] = server.request("POST", "/circuit-breakers", {"name": "patient"})

    with closing(sqlite3.connect(server.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        asking = threading.Thread(target=ask)
        asking.start()
        counted = 'django_http_requests_total_by_method_total{method="POST"} 1.0'
        eventually(lambda: counted in server.request("GET", "/metrics")[1])
        yield answer
        database.execute("ROLLBACK")
    asking.join(20)


def is_listening(server: ServerProcess) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=5):
        return True
    return False


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """Code and reason."""
    while (message := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
        pass
    return socket.close_code, message.extra or ""


async def test_agents_and_readers_are_told_to_come_back_and_it_ends_well(server: ServerProcess) -> None:
    assert "daphne on uvloop" in server.log.read_text()
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        agent, reader = await session.ws_connect("/ws/agent"), await session.ws_connect("/ws/feed")
        await agent.send_str(encode(Hello(**IDENTITY, now=1.0, started_at=1.0)))  # type: ignore[arg-type]  # of a dict
        await agent.receive(timeout=10)
        await reader.receive(timeout=10)
        ended = asyncio.create_task(asyncio.to_thread(server.stop))
        assert await closed_with(agent) == (1012, "the server restarts")
        assert await closed_with(reader) == (1012, "the server restarts")
        assert await ended == 0


def test_links_come_back_and_what_was_counted_is_kept(
    server: ServerProcess, start_service: Start, tmp_path: Path
) -> None:
    service = start_service(server)
    service.ask("breaker", name="restarted", failure_threshold=2)
    service.ask("call", name="restarted", times=2)
    eventually(lambda: service.ask("status")["queued"] == 0 and server.request("GET", "/circuit-breakers/restarted"))
    before = server.request("GET", "/circuit-breakers/restarted")[1]["metrics"]["failures_total"]
    assert server.stop() == 0
    with closing(sqlite3.connect(server.database)) as database:
        kept = database.execute("SELECT observed FROM breakers_instance WHERE service = 'trading_service'").fetchall()
    assert '"failures": 2' in kept[-1][0]
    eventually(lambda: "1012" in (tmp_path / "trading_service.log").read_text())
    server.start()
    service.linked()
    assert server.request("GET", "/circuit-breakers/restarted")[1]["metrics"]["failures_total"] == before == 2


def test_a_request_in_flight_is_seen_through_and_nobody_new_is_let_in(server: ServerProcess) -> None:
    with a_write_that_waits(server) as answer:
        server.signal(signal.SIGTERM)
        eventually(lambda: not is_listening(server))
        assert not answer
    assert server.wait() == 0
    assert answer["status"] == 201


def test_a_second_signal_ends_it_at_once(server: ServerProcess) -> None:
    with a_write_that_waits(server) as answer:
        server.signal(signal.SIGINT)
        eventually(lambda: not is_listening(server))
        server.signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        assert not answer


def test_a_port_that_is_taken_is_said_and_not_served(place: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "manage.py", "serve", "--port", port],
            cwd=ROOT, env=place.environment, capture_output=True, text=True, timeout=50,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr


def who_answers(server: ServerProcess) -> float:
    """When the process began that answers on the port."""
    name = "process_start_time_seconds "
    lines = server.request("GET", "/metrics")[1].splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.mark.timeout(150)
def test_servers_may_share_a_socket_and_one_of_them_may_go(
    place: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as stack:
        shared = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        servers = []
        for _ in range(2):
            folder = tmp_path_factory.mktemp("sharing")
            server = ServerProcess(folder, environment=place.environment, tuned=True, listens_on=shared)
            server.token = place.token
            server.start()
            stack.callback(server.stop)
            eventually(lambda: "Serving on" in server.log.read_text())  # noqa: B023  # asked at once
            servers.append(server)
        first, second = servers
        seen: set[float] = set()
        eventually(lambda: seen.add(who_answers(first)) or len(seen) == 2, what="both answer")
        assert first.stop() == 0, "it closes its own end of the socket, and that only"
        left = who_answers(second)
        assert [who_answers(second) for _ in range(10)] == [left] * 10
        first.start()
        eventually(lambda: who_answers(second) != left, what="one that comes back has its share")
        second.kill()
        came = eventually(lambda: who_answers(first))
        assert [who_answers(first) for _ in range(10)] == [came] * 10
        assert came != left


def test_any_server_of_the_application_keeps_the_garbage_collector_off_what_stays(place: ServerProcess) -> None:
    told = place.python("import gc, tradpal_cb.asgi; print(gc.get_freeze_count(), *gc.get_threshold())")
    frozen, youngest, *_ = map(int, told.split())
    assert frozen > 100_000
    assert youngest == 10_000


@pytest.mark.parametrize("tuned", [False, True], ids=["daphne", "serve"])
def test_after_a_server_has_ended_the_file_alone_is_the_whole_database(tmp_path: Path, tuned: bool) -> None:
    with ServerProcess(tmp_path, tuned=tuned) as server:
        assert server.request("POST", "/circuit-breakers", {"name": "written"})[0] == 201
        assert server.request("GET", "/circuit-breakers?search=written")[0] == 200  # other threads read
        assert server.stop() == 0
    assert not list(tmp_path.glob("*-wal"))
    with closing(sqlite3.connect(f"file:{server.database}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT name FROM breakers_breakerconfig").fetchall() == [("written",)]
