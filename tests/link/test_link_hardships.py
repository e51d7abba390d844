"""What real deployments do to a link: locks, kills, connections that break, databases that are put back."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from breakers.client.process import DaemonThreads
from tests.programs import ServiceProcess
from tests.proxies import Proxy
from tests.servers import ServerProcess, eventually

Start = Callable[..., ServiceProcess]


def told(server: ServerProcess, name: str) -> list[tuple[str, int]]:
    """(instance, sequence) of every transition of the breaker in the order in which the database got them."""
    with closing(sqlite3.connect(server.database, timeout=10)) as database:
        query = "SELECT instance, sequence FROM breakers_statechange WHERE breaker = ? ORDER BY id"
        return database.execute(query, (name,)).fetchall()


def recorded(server: ServerProcess, name: str, number: int, within: float = 60.0) -> list[int]:
    """The sequences of one instance as they came, once there are ``number``."""
    rows = eventually(lambda: len(rows := told(server, name)) >= number and rows, within=within)
    assert len({instance for instance, _ in rows}) == 1
    return [sequence for _, sequence in rows]


@pytest.mark.timeout(120)
def test_a_database_that_is_locked_for_longer_than_it_waits_loses_nothing(
    own_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="locked", failure_threshold=1)
    eventually(lambda: own_server.request("GET", "/circuit-breakers/locked")[0] == 200)
    with closing(sqlite3.connect(own_server.database, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()
        service.ask("storm", name="locked", transitions=3000, pause=0.0005)
        eventually(lambda: "does not answer" in own_server.log.read_text())
        eventually(lambda: time.monotonic() - locked >= 10)
        assert service.ask("status")["connected"]  # heartbeats are answered all the same
        database.execute("ROLLBACK")
    assert recorded(own_server, "locked", 3000) == list(range(1, 3001))
    eventually(lambda: service.ask("status")["queued"] == 0)


def test_a_service_that_is_killed_takes_only_its_last_moment_with_it(
    own_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="killed", failure_threshold=1)
    service.ask("storm", name="killed", transitions=200, pause=0.0)
    eventually(lambda: not service.ask("storming"))
    recorded(own_server, "killed", 200)
    service.ask("storm", name="killed", transitions=100_000, pause=0.001)
    recorded(own_server, "killed", 400)
    service.kill()
    eventually(lambda: "WSDISCONNECT" in own_server.log.read_text())
    own_server.stop()  # which writes what had arrived
    sequences = sorted(sequence for _, sequence in told(own_server, "killed"))
    assert sequences == list(range(1, len(sequences) + 1))
    own_server.start()
    assert sorted(sequence for _, sequence in told(own_server, "killed")) == sequences


def test_what_a_service_had_reported_outlives_it_and_then_the_server(
    own_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="outlived", failure_threshold=0)
    service.ask("call", name="outlived", times=7)
    eventually(lambda: _failures(own_server, "outlived") == 7)
    service.kill()
    eventually(lambda: '"failures": 7' in _observed(own_server))
    own_server.kill()
    own_server.start()
    assert _failures(own_server, "outlived") == 7


def _observed(server: ServerProcess) -> str:
    """What the database holds of all instances."""
    with closing(sqlite3.connect(server.database, timeout=10)) as database:
        return "".join(observed for (observed,) in database.execute("SELECT observed FROM breakers_instance"))


class FlakyProxy(Proxy):
    """Between services and a server: breaks every connection ``lifetime`` seconds after it was made."""

    def __init__(self, target: ServerProcess, lifetime: float) -> None:
        self._target, self.lifetime = target, lifetime
        self.connections = itertools.count()
        self.made = 0
        super().__init__()

    async def open(self) -> tuple[int, Callable[[], Awaitable[None]]]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

        async def end() -> None:
            server.close()

        return server.sockets[0].getsockname()[1], end

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made = next(self.connections) + 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(self.lifetime):
                await asyncio.gather(_pour(reader, there_writer), _pour(there_reader, writer))
        for end in (writer, there_writer):
            end.transport.abort()  # in the middle of whatever it was


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(999):
        sink.write(chunk)
        await sink.drain()


@pytest.fixture
def flaky_proxy(own_server: ServerProcess) -> Iterator[FlakyProxy]:
    proxy = FlakyProxy(own_server, lifetime=0.4)
    yield proxy
    proxy.close()


def test_a_connection_that_breaks_again_and_again_neither_loses_nor_doubles_anything(
    own_server: ServerProcess, flaky_proxy: FlakyProxy
) -> None:
    with ServiceProcess() as service:
        service.ask("connect", service="unlucky", url=flaky_proxy.url, token=own_server.token)
        service.ask("breaker", name="flaky", failure_threshold=1)
        service.ask("storm", name="flaky", transitions=4000, pause=0.001)
        eventually(lambda: flaky_proxy.made >= 4)
        flaky_proxy.lifetime = 600.0
        eventually(lambda: not service.ask("storming"))
        assert recorded(own_server, "flaky", 4000) == list(range(1, 4001))
        eventually(lambda: _failures(own_server, "flaky") == service.ask("metrics", name="flaky")["failures_total"])


def _failures(server: ServerProcess, name: str) -> Any:
    return server.request("GET", f"/circuit-breakers/{name}/metrics")[1].get("failures_total")


def test_a_database_that_was_put_back_is_believed_and_edits_arrive_again(
    own_server: ServerProcess, start_service: Start, tmp_path: Path
) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="restored", failure_threshold=9)
    eventually(lambda: own_server.request("GET", "/circuit-breakers/restored")[0] == 200)
    own_server.stop()
    _copy(own_server.database, tmp_path / "backup")
    own_server.start()
    for threshold in (2, 3, 4):
        own_server.request("PATCH", "/circuit-breakers/restored/config", {"failure_threshold": threshold})
    eventually(lambda: service.ask("config", name="restored")["failure_threshold"] == 4)
    own_server.stop()
    _copy(tmp_path / "backup", own_server.database)
    own_server.start()
    eventually(lambda: service.ask("config", name="restored")["failure_threshold"] == 9)
    own_server.request("PATCH", "/circuit-breakers/restored/config", {"failure_threshold": 5})
    eventually(lambda: service.ask("config", name="restored")["failure_threshold"] == 5)


def _copy(database: Path, place: Path) -> None:
    """Whole, with what stands in its write-ahead log."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(place)) as target:
        source.backup(target)


def test_a_child_of_multiprocessing_says_goodbye_and_what_it_counted(
    shared_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(shared_server, "multiprocessing_service")
    service.ask("breaker", name="multiprocessed", failure_threshold=0)
    service.ask("call", name="multiprocessed", times=2)
    assert service.ask("multiprocess", name="multiprocessed", failures=5) == 0
    eventually(lambda: _failures(shared_server, "multiprocessed") == 7)
    assert shared_server.request("GET", "/circuit-breakers/multiprocessed")[1]["instances"]["total"] == 1


def test_a_child_that_multiprocessing_starts_afresh_links_itself_and_says_what_it_counted(
    shared_server: ServerProcess,
) -> None:
    with ServiceProcess(environment=environment(shared_server, "spawning_service")) as service:
        service.ask("breaker", name="spawned", failure_threshold=0)
        service.ask("call", name="spawned", times=2)
        eventually(lambda: _failures(shared_server, "spawned") == 2)
        assert service.ask("multiprocess", name="spawned", failures=4, how="spawn") == 0
        eventually(lambda: _failures(shared_server, "spawned") == 6)
        assert shared_server.request("GET", "/circuit-breakers/spawned")[1]["instances"]["total"] == 1


def test_a_process_that_slept_learns_what_it_missed(shared_server: ServerProcess, start_service: Start) -> None:
    service = start_service(shared_server, "sleeper")
    service.ask("breaker", name="asleep", failure_threshold=9)
    eventually(lambda: services_of(shared_server, "asleep") == ["sleeper"])
    os.kill(service.pid, signal.SIGSTOP)
    shared_server.request("PATCH", "/circuit-breakers/asleep/config", {"failure_threshold": 4})
    shared_server.request("PUT", "/circuit-breakers/asleep/override", {"override": "forced_open", "reason": "INC-1"})
    os.kill(service.pid, signal.SIGCONT)
    eventually(lambda: service.ask("config", name="asleep")["failure_threshold"] == 4)
    eventually(lambda: service.ask("call", name="asleep", times=1, ok=True) == {"rejected": 1})


def test_a_loop_that_is_held_up_does_not_silence_the_link(shared_server: ServerProcess, start_service: Start) -> None:
    service = start_service(shared_server, "held_up")
    service.ask("breaker", name="held_up")
    eventually(lambda: services_of(shared_server, "held_up") == ["held_up"])
    held = threading.Thread(target=service.ask, args=("block",), kwargs={"seconds": 6.0})
    held.start()
    shared_server.request("PATCH", "/circuit-breakers/held_up/config", {"failure_threshold": 4})
    eventually(lambda: shared_server.request("GET", "/circuit-breakers/held_up")[1]["applied"] == {"on": 1, "of": 1})
    assert held.is_alive(), "or else this shows nothing"
    held.join(20)


def test_a_program_ends_though_the_name_server_does_not_answer() -> None:
    with ServiceProcess() as service:
        service.ask("lose_the_name_server")
        service.ask("connect", service="lost", url="http://nowhere.invalid:1", token="tpcb_any")
        service.ask("call", name="lost", times=1, ok=True)
        assert service.end() == 0


def test_a_name_server_that_answers_after_nobody_waits_any_more_disturbs_nobody() -> None:
    """A thread that ends with an exception is a warning, and so an error here."""
    asked, answers = threading.Event(), threading.Event()

    def resolve() -> str:
        asked.set()
        answers.wait(10)
        return "127.0.0.1"

    future = DaemonThreads().submit(resolve)
    asked.wait(10)
    future.cancel()
    answers.set()
    assert future.result(10) == "127.0.0.1"


# --- implicit and explicit links ----------------------------------------------------------------------------------


def environment(server: ServerProcess, name: str) -> dict[str, str]:
    return {
        "CIRCUIT_BREAKER_SERVICE_URL": server.url,
        "CIRCUIT_BREAKER_SERVICE_TOKEN": server.token,
        "CIRCUIT_BREAKER_SERVICE_NAME": name,
    }


def services_of(server: ServerProcess, name: str) -> Any:
    return server.request("GET", f"/circuit-breakers/{name}")[1].get("services")


def test_with_the_url_set_the_first_breaker_links_the_process_by_itself(shared_server: ServerProcess) -> None:
    with ServiceProcess(environment=environment(shared_server, "implicit_service")) as service:
        service.ask("breaker", name="implicit")
        eventually(lambda: services_of(shared_server, "implicit") == ["implicit_service"])


def test_an_explicit_link_takes_its_arguments_from_the_variables_and_the_place_of_the_implicit_one(
    shared_server: ServerProcess,
) -> None:
    with ServiceProcess(environment=environment(shared_server, "from_variables")) as service:
        service.ask("breaker", name="explicit", failure_threshold=0)
        service.ask("call", name="explicit", times=3)
        eventually(lambda: services_of(shared_server, "explicit") == ["from_variables"])
        service.ask("connect", service="explicit_service")
        service.linked().ask("call", name="explicit", times=2)
        eventually(lambda: services_of(shared_server, "explicit") == ["explicit_service"])
        eventually(lambda: _failures(shared_server, "explicit") == 5)


def test_a_link_that_was_closed_is_taken_up_again(shared_server: ServerProcess, start_service: Start) -> None:
    service = start_service(shared_server, "comes_back")
    service.ask("breaker", name="taken_up", failure_threshold=1)
    service.ask("call", name="taken_up", times=1)
    service.ask("close")
    assert [sequence for _, sequence in told(shared_server, "taken_up")] == [1]
    service.ask("connect", service="comes_back", url=shared_server.url, token=shared_server.token)
    service.linked().ask("storm", name="taken_up", transitions=2)
    eventually(lambda: sorted(sequence for _, sequence in told(shared_server, "taken_up")) == [1, 2, 3])
    metrics = service.ask("metrics", name="taken_up")
    eventually(lambda: _failures(shared_server, "taken_up") == metrics["failures_total"] == 2)


def test_two_links_of_one_process_do_not_count_anything_twice(
    shared_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(shared_server, "first_of_two")
    service.ask("breaker", name="twofold", failure_threshold=0)
    service.ask("call", name="twofold", times=4)
    eventually(lambda: services_of(shared_server, "twofold") == ["first_of_two"])
    service.ask("connect", service="second_of_two", url=shared_server.url, token=shared_server.token)
    eventually(lambda: services_of(shared_server, "twofold") == ["first_of_two", "second_of_two"])
    eventually(lambda: _failures(shared_server, "twofold") == 4)
