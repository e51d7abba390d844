"""``breakers.connect_database()``: no server at all, only its database.

What both kinds of link promise is tested with the other's processes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """Of a server that never runs."""
    made = ServerProcess(tmp_path_factory.mktemp("database"))
    made.prepare()
    return made


@pytest.fixture
def service(database: ServerProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(database, log=tmp_path / "service.log", by_database=True) as made:
        yield made.linked()


def rows(database: ServerProcess, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(database.database, timeout=10)) as reading:
        return reading.execute(query, values).fetchall()


def told(database: ServerProcess, name: str) -> list[int]:
    found = rows(database, "SELECT sequence FROM breakers_statechange WHERE breaker = ? ORDER BY sequence", name)
    return [sequence for (sequence,) in found]


def observed(database: ServerProcess, service: ServiceProcess) -> Any:
    """(what was observed, when it was gone) of the process."""
    return rows(database, "SELECT observed, gone_at FROM breakers_instance WHERE pid = ?", service.pid)[0]


def test_a_breaker_is_registered_and_its_transitions_are_recorded(
    database: ServerProcess, service: ServiceProcess
) -> None:
    service.ask("breaker", name="alone", failure_threshold=1)
    service.ask("storm", name="alone", transitions=900)
    eventually(lambda: told(database, "alone") == list(range(1, 901)))
    eventually(lambda: service.ask("status")["queued"] == 0)
    query = "SELECT failure_threshold, managed FROM breakers_breakerconfig WHERE name = 'alone'"
    assert rows(database, query) == [(1, 0)]


def test_its_end_writes_what_it_counted_and_that_it_is_gone(database: ServerProcess, service: ServiceProcess) -> None:
    service.ask("breaker", name="ended", failure_threshold=0)
    service.ask("call", name="ended", times=7)
    assert service.end() == 0
    kept, gone_at = observed(database, service)
    assert '"failures": 7' in kept
    assert gone_at is not None


def test_while_the_database_is_locked_calls_go_on_and_nothing_is_lost(
    database: ServerProcess, service: ServiceProcess, tmp_path: Path
) -> None:
    service.ask("breaker", name="locked", failure_threshold=1)
    eventually(lambda: rows(database, "SELECT 1 FROM breakers_breakerconfig WHERE name = 'locked'"))
    with closing(sqlite3.connect(database.database, isolation_level=None)) as locking:
        locking.execute("BEGIN IMMEDIATE")
        service.ask("storm", name="locked", transitions=600)
        eventually(lambda: not service.ask("status")["connected"], within=20)
        assert service.ask("state", name="locked") == "closed"
        locking.execute("ROLLBACK")
    eventually(lambda: told(database, "locked") == list(range(1, 601)), within=30)
    eventually(lambda: service.ask("status")["connected"])
    assert (tmp_path / "service.log").read_text().count("Not linked to the database") == 1


def test_a_forked_child_is_an_instance_of_its_own(database: ServerProcess, service: ServiceProcess) -> None:
    service.ask("breaker", name="forked", failure_threshold=0)
    service.ask("call", name="forked", times=10)
    child = service.ask("fork", name="forked", failures=5)
    service.ask("call", name="forked", times=1)
    assert service.end() == 0
    found = rows(database, "SELECT observed FROM breakers_instance WHERE pid = ?", child)
    assert '"failures": 5' in found[0][0]
    assert '"failures": 11' in observed(database, service)[0]
