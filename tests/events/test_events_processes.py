"""Real servers, a real Redis, real services; each of them killed at the worst moment."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from redis import Redis

from breakers.core.events import STREAM
from breakers.events import Standing
from breakers.events.bus import LATE
from breakers.events.consumer import GROUP
from tests.engines import Postgres
from tests.events.conftest import RECOVERED, dead, put, stream
from tests.programs import ServiceProcess
from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess, eventually

T = TypeVar("T")
pytestmark = pytest.mark.timeout(120)

# what a server does between reading the outbox and deleting from it, ended in the middle
KILLED_BETWEEN = """
import django, os, signal
django.setup()
from django.conf import settings
from redis import Redis
from breakers import services
from breakers.events.relay import send
send(Redis.from_url(settings.REDIS_URL), services.events_due(most=20))
os.kill(os.getpid(), signal.SIGKILL)
"""
LOADED = """
import sys, threading
import tradpal_cb.asgi
names = [thread.name for thread in threading.enumerate()]
print("control-plane" in names, [name for name in names if name.startswith("events")], "redis" in sys.modules)
"""


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RedisServer]:
    """Keeps what it holds when it is killed."""
    with RedisServer(tmp_path, durable=True) as redis:
        yield redis


def server_of(folder: Path, redis: RedisServer, **further: Any) -> ServerProcess:
    folder.mkdir(exist_ok=True)
    return ServerProcess(folder, environment={"REDIS_URL": redis.url}, tuned=True, **further)


@pytest.fixture
def server(tmp_path: Path, durable: RedisServer) -> Iterator[ServerProcess]:
    with server_of(tmp_path / "one", durable) as server:
        yield server


@pytest.fixture
def service(server: ServerProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(server, log=tmp_path / "service.log") as service:
        service.linked().ask("breaker", name="data_service", failure_threshold=1, recovery_timeout=3600.0)
        yield service


def see(redis: RedisServer, look: Callable[[Redis], T]) -> T:
    with redis.client() as client:
        return look(client)


def told(redis: RedisServer) -> list[tuple[str, int]]:
    """(instance, sequence) of each transition in the stream, in its order."""
    changed = [event for event in see(redis, stream) if event["event_type"] == "circuit_breaker.state_changed"]
    return [(event["data"]["instance"], event["data"]["sequence"]) for event in changed]


def asked(server: ServerProcess, query: str) -> list[tuple[Any, ...]]:
    """Of the server's database, past the server."""
    with closing(sqlite3.connect(server.database)) as database:
        return database.execute(query).fetchall()


def recorded(server: ServerProcess) -> list[tuple[str, int]]:
    rows = asked(server, "SELECT instance, sequence FROM breakers_statechange ORDER BY id")
    return [(str(UUID(instance)), sequence) for instance, sequence in rows]


def waiting(server: ServerProcess) -> int:
    return len(asked(server, "SELECT 1 FROM breakers_outgoingevent"))


def test_a_recovered_service_closes_its_breakers_in_their_processes(
    service: ServiceProcess, server: ServerProcess, durable: RedisServer
) -> None:
    service.ask("call", name="data_service", times=1)
    assert service.ask("state", name="data_service") == "open"
    eventually(lambda: told(durable), what="the opening is told")
    see(durable, lambda redis: put(redis, RECOVERED))
    eventually(lambda: service.ask("state", name="data_service") == "closed", what="the breaker is reset")
    changes = server.request("GET", "/circuit-breakers/data_service/changes")[1]["results"]
    assert (changes[0]["kind"], changes[0]["actor"]) == ("reset", "event:health_monitor")

    def kinds() -> Counter[str]:
        return Counter(event["event_type"].partition(".")[2] for event in see(durable, stream))

    all_told = {"config_changed": 1, "state_changed": 2, "recovery": 1, "reset": 1}
    eventually(lambda: kinds() == all_told, what="registration, opening, reset and closing are told, each once")


def test_a_server_ends_with_nothing_untold(
    service: ServiceProcess, server: ServerProcess, durable: RedisServer
) -> None:
    service.ask("storm", name="data_service", transitions=50)
    eventually(lambda: not service.ask("storming"))
    service.end()
    assert server.stop() == 0
    assert told(durable) == recorded(server)
    assert len(told(durable)) == 50
    assert see(durable, lambda redis: redis.xinfo_consumers(STREAM, GROUP)) == []


def test_a_server_killed_between_adding_and_deleting_tells_each_transition_once(
    service: ServiceProcess, server: ServerProcess, durable: RedisServer
) -> None:
    durable.kill()
    service.ask("storm", name="data_service", transitions=50)
    eventually(lambda: len(recorded(server)) == 50, what="the history has them, Redis or not")
    server.kill()
    durable.start()
    script = [sys.executable, "-c", KILLED_BETWEEN]
    assert subprocess.run(script, env=server.environment, cwd=ROOT, timeout=50, check=False).returncode == -9
    assert len(see(durable, stream)) == 20
    server.start()
    eventually(lambda: len(told(durable)) == 50, what="the rest is told")
    eventually(lambda: waiting(server) == 0, what="the outbox is empty")
    assert told(durable) == recorded(server), "each once, in order"


def test_in_a_storm_in_which_redis_is_killed_twice_every_transition_is_told_once(
    service: ServiceProcess, server: ServerProcess, durable: RedisServer
) -> None:
    service.ask("storm", name="data_service", transitions=600, pause=0.005)
    for already in (1, 200):
        eventually(lambda already=already: len(told(durable)) >= already, what="the storm is told")  # type: ignore[misc]  # bound now
        durable.kill()
        eventually(lambda: server.log.read_text().count("events-out: ConnectionError"), what="the server has noticed")
        durable.start()
    eventually(lambda: not service.ask("storming"))
    eventually(lambda: len(recorded(server)) == 600)
    eventually(lambda: len(told(durable)) >= 600, what="all is told")
    assert told(durable) == recorded(server), "each once, in order"
    log = server.log.read_text()
    assert log.count("events-in: ConnectionError") <= 2, "one line a kind and outage"
    assert "events-in: goes on" in log


@pytest.mark.timeout(240)  # two servers and a database of their own
def test_two_servers_on_postgresql_share_the_work_and_the_one_that_is_left_goes_on(
    durable: RedisServer, tmp_path: Path
) -> None:
    with Postgres() as postgres, ExitStack() as stack:
        shared = {"DATABASE_URL": postgres.url, "REDIS_URL": durable.url, "DJANGO_SECRET_KEY": "x" * 50}
        first, second = (ServerProcess(tmp_path, environment=shared, tuned=True) for _ in range(2))
        first.manage("migrate", "--verbosity", "0")
        second.token = first.create_key("tests", "agent,read,operate")
        for server in (first, second):  # the first takes the lease of who sends
            server.start(within=60)
            stack.callback(server.stop)
        service = stack.enter_context(ServiceProcess(second, log=tmp_path / "service.log")).linked()
        service.ask("breaker", name="data_service", failure_threshold=1, recovery_timeout=3600.0)
        eventually(lambda: see(durable, stream), what="somebody sends")
        eventually(lambda: len(see(durable, lambda redis: redis.xinfo_consumers(STREAM, GROUP))) == 2)

        assert second.request("POST", "/circuit-breakers", {"name": "kyc"})[0] == 201
        service.ask("storm", name="data_service", transitions=300, pause=0.01)
        with durable.client() as redis:  # each id thrice in a row, so that both servers are at it at once
            for number in range(300):
                put(redis, {**RECOVERED, "event_id": f"event {number // 3}", "data": {"service_name": "kyc"}})
                if number == 150:
                    first.kill()
            put(redis, {**RECOVERED, "data": {}})

        def settled() -> bool:
            group = see(durable, lambda redis: redis.xinfo_groups(STREAM))[0]
            return not service.ask("storming") and group["pending"] == group["lag"] == 0

        eventually(settled, what="what the killed server had taken is claimed")
        database = stack.enter_context(closing(psycopg.connect(postgres.url)))
        database.autocommit = True

        def rows(query: str) -> list[Any]:
            return database.execute(query).fetchall()

        history = "SELECT instance::text, sequence FROM breakers_statechange ORDER BY id"
        eventually(lambda: len(rows(history)) >= 300)
        eventually(lambda: not rows("SELECT 1 FROM breakers_outgoingevent"), what="the other sends")
        assert told(durable) == rows(history), "each once, in order"
        assert len(rows("SELECT 1 FROM breakers_appliedevent")) == 100
        resets = rows("SELECT reason FROM breakers_configchange WHERE kind = 'reset'")
        assert len(resets) == len(set(resets)) == 100, "each id once"
        assert len(see(durable, dead)) == 1
        assert 'control_plane_events_received_total{outcome="applied"}' in second.request("GET", "/metrics")[1]


def test_without_redis_there_is_no_thread_and_nothing_is_loaded_for_it(tmp_path: Path, durable: RedisServer) -> None:
    server = ServerProcess(tmp_path)
    server.prepare()
    assert server.python(LOADED) == "True [] False\n"
    server.environment["REDIS_URL"] = durable.url
    assert server.python(LOADED) == "True ['events-in', 'events-out'] True\n"
    server.environment["CIRCUIT_BREAKER_EVENTS"] = "0"
    assert server.python(LOADED).startswith("True [] ")


def test_health_says_how_events_go_and_that_one_server_cannot_take_them(
    server: ServerProcess, durable: RedisServer
) -> None:
    def health() -> Any:
        return server.request("GET", "/health")[1]

    well = {"in": "ok", "out": "ok", "lag": 0, "waiting": 0, "waiting_seconds": 0.0}
    eventually(lambda: health()["events"] == well, what="nothing waits")
    assert "degraded" not in health()
    with durable.client() as redis:
        redis.delete(STREAM)
        redis.set(STREAM, "something else")  # nobody can read a stream there, nor write into it
    eventually(lambda: health()["events"]["in"] == "failed")
    assert health()["degraded"] == ["events"]
    server.request("POST", "/circuit-breakers", {"name": "data_service"})
    eventually(lambda: health()["events"]["out"] == "failed")
    assert health()["events"]["waiting"] == 1
    with durable.client() as redis:
        redis.delete(STREAM)
    eventually(lambda: "degraded" not in health(), what="it mends itself")
    eventually(lambda: health()["events"] == well)
    assert len(see(durable, stream)) == 1
    durable.kill()
    eventually(lambda: health()["degraded"] == ["redis"], what="without Redis there are no events, and it says that")
    durable.start()
    eventually(lambda: "degraded" not in health())


@pytest.mark.parametrize(
    ("standing", "late"),
    [
        (Standing(True, True, 0, 0, 0.0), False),
        (Standing(True, True, 9, 9, LATE), False),
        (Standing(True, True, 0, 1, LATE + 0.1), True),
        (Standing(False, True, 0, 0, 0.0), True),
        (Standing(True, False, 0, 0, 0.0), True),
    ],
)
def test_somebody_should_look_when_a_thread_fails_or_an_event_waits_for_a_minute(
    standing: Standing, late: bool
) -> None:
    assert standing.late is late
