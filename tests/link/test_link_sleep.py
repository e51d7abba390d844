"""A laptop that is closed for a while: the service's, or the server's. Nothing is lost, doubled, or taken for gone."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

Start = Callable[..., ServiceProcess]


@contextmanager
def asleep(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def shown(server: ServerProcess, name: str) -> Any:
    return server.request("GET", f"/circuit-breakers/{name}")[1]


def sequences(server: ServerProcess, name: str) -> list[int]:
    with closing(sqlite3.connect(server.database, timeout=10)) as database:
        found = database.execute("SELECT sequence FROM breakers_statechange WHERE breaker = ? ORDER BY id", (name,))
        return [sequence for (sequence,) in found]


def sleeps(row: Any) -> bool:
    return bool(row["instances"]["silent"] == 1)


def has_taken_over(row: Any, threshold: int) -> bool:
    return bool(row["config"]["failure_threshold"] == threshold and row["applied"] == {"on": 1, "of": 1})


@pytest.mark.timeout(150)
@pytest.mark.parametrize("start_service", ["websocket", "database"], indirect=True)
def test_a_process_that_sleeps_is_shown_as_silent_in_its_last_state_and_returns_as_itself(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server, f"service_of_{fresh}")
    service.ask("breaker", name=fresh, failure_threshold=1, recovery_timeout=3600.0)
    service.ask("call", name=fresh, times=1)
    before = eventually(lambda: (row := shown(shared_server, fresh)).get("state") == "open" and row)
    with asleep(service.pid):
        shared_server.request("PATCH", f"/circuit-breakers/{fresh}/config", {"failure_threshold": 7})
        silent = eventually(lambda: sleeps(row := shown(shared_server, fresh)) and row)
        assert (silent["state"], silent["since"]) == (before["state"], before["since"])
        assert silent["applied"] == {"on": 0, "of": 0}  # of the live ones
    after = eventually(lambda: has_taken_over(row := shown(shared_server, fresh), 7) and row)
    assert service.ask("config", name=fresh)["failure_threshold"] == 7
    assert (after["state"], after["since"]) == (before["state"], before["since"])
    assert [row["instance"] for row in after["instance_rows"]] == [row["instance"] for row in before["instance_rows"]]
    assert after["metrics"]["failures_total"] == 1
    assert sequences(shared_server, fresh) == [1]


@pytest.mark.timeout(150)
def test_a_server_that_sleeps_is_noticed_and_nothing_of_its_night_is_lost_or_doubled(
    own_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="night", failure_threshold=1)
    service.ask("storm", name="night", transitions=100, pause=0.0)
    eventually(lambda: len(sequences(own_server, "night")) == 100 and service.ask("status")["queued"] == 0)
    with asleep(own_server.pid):
        service.ask("storm", name="night", transitions=400, pause=0.0)
        lost = eventually(lambda: not (status := service.ask("status"))["connected"] and status)
        assert "said nothing for 15 s" in lost["last_error"]
        assert (lost["queued"], lost["dropped"]) == (400, 0)
    eventually(lambda: (status := service.ask("status"))["connected"] and status["queued"] == 0)
    assert sequences(own_server, "night") == list(range(1, 501))
    counted = service.ask("metrics", name="night")
    row = eventually(
        lambda: (row := shown(own_server, "night"))["metrics"]["failures_total"] == counted["failures_total"] and row
    )
    assert row["metrics"]["state_changes_total"] == counted["state_changes_total"] == 500
    assert row["instances"]["total"] == 1
