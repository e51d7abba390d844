"""``breakers.connect_database()``: no server at all, only its database.

What both kinds of link promise is tested with the other's processes.
"""

from __future__ import annotations

import json
import sqlite3
import time
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
    folder = tmp_path_factory.mktemp("database")
    store = folder / "store"
    store.mkdir()
    made = ServerProcess(folder, database=store / "breakers.sqlite3")
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
    found = rows(database, "SELECT sequence FROM breakers_statechange WHERE breaker = ? ORDER BY id", name)
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


@pytest.mark.timeout(120)
def test_while_the_database_is_locked_calls_go_on_and_nothing_is_lost(
    database: ServerProcess, service: ServiceProcess, tmp_path: Path
) -> None:
    service.ask("breaker", name="locked", failure_threshold=1)
    eventually(lambda: rows(database, "SELECT 1 FROM breakers_breakerconfig WHERE name = 'locked'"))
    with closing(sqlite3.connect(database.database, isolation_level=None)) as locking:
        locking.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()
        service.ask("storm", name="locked", transitions=600, pause=0.005)
        eventually(lambda: not service.ask("status")["connected"])
        eventually(lambda: time.monotonic() - locked >= 10)
        assert service.ask("call", name="untouched", times=2, ok=True) == {"succeeded": 2}
        locking.execute("ROLLBACK")
    _nothing_lost(database, service, "locked", 600)
    assert (tmp_path / "service.log").read_text().count("Not linked to the database") == 1


def _nothing_lost(database: ServerProcess, service: ServiceProcess, name: str, transitions: int) -> None:
    """In the end the database holds what the service itself has counted, and no more."""
    eventually(lambda: told(database, name) == list(range(1, transitions + 1)))
    eventually(lambda: service.ask("status")["connected"])
    assert service.ask("counted")[name] == transitions
    assert service.ask("status")["dropped"] == 0
    counted = service.ask("metrics", name=name)
    assert service.end() == 0
    assert totals(database, name) == {key: counted[key] for key in TOTALS}


TOTALS = ("successes_total", "failures_total", "rejected_total", "state_changes_total")


def totals(database: ServerProcess, name: str) -> Any:
    """As a server that starts now reads them."""
    code = "import json\nfrom breakers.fleet import Fleet\nf = Fleet()\nf.synchronise()\n"
    found = json.loads(database.python(f"{code}print(json.dumps(f.metrics({name!r}), default=str))"))
    return {key: found[key] for key in TOTALS}


@pytest.mark.timeout(120)
def test_while_the_database_is_away_calls_go_on_and_nothing_is_lost(
    database: ServerProcess, service: ServiceProcess, tmp_path: Path
) -> None:
    service.ask("breaker", name="away", failure_threshold=1)
    eventually(lambda: rows(database, "SELECT 1 FROM breakers_breakerconfig WHERE name = 'away'"))
    store = database.database.parent
    store.rename(tmp_path / "elsewhere")
    service.ask("storm", name="away", transitions=600, pause=0.001)
    eventually(lambda: not service.ask("status")["connected"])
    eventually(lambda: not service.ask("storming"))
    assert service.ask("call", name="untouched", times=2, ok=True) == {"succeeded": 2}
    (tmp_path / "elsewhere").rename(store)
    _nothing_lost(database, service, "away", 600)
    assert (tmp_path / "service.log").read_text().count("Not linked to the database") == 1


def test_a_process_starts_with_what_it_remembers_while_the_database_is_away(
    database: ServerProcess, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    environment = {"CIRCUIT_BREAKER_CACHE_FILE": str(cache)}
    with ServiceProcess(database, environment=environment, by_database=True) as service:
        service.linked().ask("breaker", name="cached")
        eventually(lambda: rows(database, "SELECT 1 FROM breakers_breakerconfig WHERE name = 'cached'"))
        database.python(
            "from breakers import services\n"
            "from breakers.core.config import CircuitBreakerConfig, HttpConfig\n"
            "services.breaker_edit(name='cached', config=CircuitBreakerConfig(name='cached', failure_threshold=2), "
            "http=HttpConfig(), reason='', by=services.Actor('system'))"
        )
        eventually(lambda: cache.exists() and '"failure_threshold": 2' in cache.read_text())
    store = database.database.parent
    store.rename(tmp_path / "elsewhere")
    try:
        with ServiceProcess(database, environment=environment, by_database=True) as service:
            service.ask("breaker", name="cached")
            assert service.ask("config", name="cached")["failure_threshold"] == 2
            assert not service.ask("status")["connected"]
    finally:
        (tmp_path / "elsewhere").rename(store)


def test_a_process_that_is_killed_takes_only_its_last_moment_with_it(
    database: ServerProcess, service: ServiceProcess
) -> None:
    service.ask("breaker", name="killed", failure_threshold=1)
    service.ask("storm", name="killed", transitions=100_000, pause=0.001)
    for _ in range(3):  # whatever it has seen by now stands there soon
        seen = service.ask("counted").get("killed", 0)
        eventually(lambda seen=seen: len(told(database, "killed")) > seen)  # type: ignore[misc]  # of a lambda that keeps its own
    eventually(lambda: "failures" in observed(database, service)[0])
    service.kill()
    sequences = told(database, "killed")
    assert sequences == list(range(1, len(sequences) + 1))
    kept = json.loads(observed(database, service)[0])["killed"]["counts"]["failures"]
    assert totals(database, "killed")["failures_total"] == kept


def test_a_forked_child_is_an_instance_of_its_own(database: ServerProcess, service: ServiceProcess) -> None:
    service.ask("breaker", name="forked", failure_threshold=0)
    service.ask("call", name="forked", times=10)
    child = service.ask("fork", name="forked", failures=5)
    service.ask("call", name="forked", times=1)
    assert service.end() == 0
    found = rows(database, "SELECT observed FROM breakers_instance WHERE pid = ?", child)
    assert '"failures": 5' in found[0][0]
    assert '"failures": 11' in observed(database, service)[0]


def test_a_process_whose_row_was_deleted_while_it_slept_is_not_counted_twice(
    database: ServerProcess, service: ServiceProcess
) -> None:
    service.ask("breaker", name="slept", failure_threshold=0)
    service.ask("call", name="slept", times=5)
    eventually(lambda: rows(database, "SELECT 1 FROM breakers_instance WHERE observed LIKE '%slept%'"))
    eventually(lambda: '"failures": 5' in observed(database, service)[0])
    database.python(
        "from datetime import timedelta\n"
        "from django.db import transaction\n"
        "from django.utils import timezone\n"
        "from breakers import services\n"
        "soon = timezone.now() + timedelta(minutes=1)\n"
        "with transaction.atomic():\n"
        "    services.instances_fold(before=soon)\n"
        "    services.instances_forget(before=soon)"
    )
    service.ask("call", name="slept", times=2)
    assert service.end() == 0
    assert totals(database, "slept")["failures_total"] == 7


# --- beside a server that runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def direct(server: ServerProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(server, "direct_service", log=tmp_path / "service.log", by_database=True) as made:
        yield made.linked()


def row(server: ServerProcess, name: str) -> Any:
    status, found = server.request("GET", f"/circuit-breakers/{name}")
    return found if status == 200 else {}


def test_a_running_server_shows_what_it_counts_and_how_it_stands(server: ServerProcess, direct: ServiceProcess) -> None:
    direct.ask("breaker", name="shown", failure_threshold=3)
    direct.ask("call", name="shown", times=4, ok=True)
    eventually(lambda: row(server, "shown").get("metrics", {}).get("successes_total") == 4)
    assert row(server, "shown")["services"] == ["direct_service"]
    direct.ask("call", name="shown", times=5)
    eventually(lambda: row(server, "shown")["state"] == "open")
    eventually(lambda: row(server, "shown")["metrics"]["rejected_total"] == 2)
    shown = row(server, "shown")
    assert shown["instances"] == {"total": 1, "closed": 0, "half_open": 0, "open": 1, "silent": 0}
    assert shown["cause"].startswith("3 consecutive failures")
    assert shown["metrics"]["failures_total"] == 3
    assert direct.end() == 0
    eventually(lambda: row(server, "shown")["instances"]["total"] == 0)
    assert row(server, "shown")["metrics"]["requests_total"] == 9


def test_a_running_server_is_told_what_it_confirms_and_refuses(server: ServerProcess, direct: ServiceProcess) -> None:
    direct.ask("breaker", name="asked", failure_threshold=1)
    eventually(lambda: row(server, "asked").get("applied") == {"on": 1, "of": 1})
    server.request("PATCH", "/circuit-breakers/asked/config", {"failure_threshold": 7})
    eventually(lambda: direct.ask("config", name="asked")["failure_threshold"] == 7)
    eventually(lambda: row(server, "asked")["applied"] == {"on": 1, "of": 1})
    direct.ask("call", name="asked", times=7)
    eventually(lambda: row(server, "asked")["state"] == "open")
    _, reset = server.request("POST", "/circuit-breakers/asked/reset")
    assert reset["instances"]["targeted"] == 1, reset
    eventually(lambda: direct.ask("state", name="asked") == "closed")
    eventually(lambda: row(server, "asked")["state"] == "closed")
    # a value that no library takes, as a newer server may think of one
    server.python(
        "from breakers.models import BreakerConfig, Revision\n"
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('PRAGMA ignore_check_constraints = 1')\n"
        '    cursor.execute("UPDATE breakers_breakerconfig SET failure_threshold = -1, '
        "revision = (SELECT current FROM breakers_revision) + 1 WHERE name = 'asked'\")\n"
        "    cursor.execute('UPDATE breakers_revision SET current = current + 1')\n"
    )
    eventually(lambda: row(server, "asked")["instance_rows"][0]["refused"])
    assert direct.ask("config", name="asked")["failure_threshold"] == 7
    assert row(server, "asked")["applied"] == {"on": 0, "of": 1}


def test_a_server_that_restarts_counts_it_once_and_history_totals_agree(
    server: ServerProcess, direct: ServiceProcess
) -> None:
    direct.ask("breaker", name="kept", failure_threshold=1)
    direct.ask("storm", name="kept", transitions=40)
    eventually(lambda: told(server, "kept") == list(range(1, 41)))

    eventually(lambda: transitions_counted(server, "kept") == 40)
    eventually(lambda: row(server, "kept")["metrics"]["failures_total"] == 20)
    server.kill()
    server.start()
    direct.ask("storm", name="kept", transitions=2)
    eventually(lambda: row(server, "kept")["metrics"]["failures_total"] == 21)
    eventually(lambda: transitions_counted(server, "kept") == 42)
    assert row(server, "kept")["instances"]["total"] == 1


def transitions_counted(server: ServerProcess, name: str) -> float:
    """As Prometheus is told."""
    lines = server.request("GET", "/metrics")[1].splitlines()
    mine = [line for line in lines if line.startswith("circuit_breaker_transitions_total{") and f'"{name}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in mine)


@pytest.mark.timeout(120)
def test_a_server_that_is_killed_in_a_storm_misses_none_of_it(server: ServerProcess, direct: ServiceProcess) -> None:
    direct.ask("breaker", name="stormy", failure_threshold=1)
    direct.ask("storm", name="stormy", transitions=1500, pause=0.003)
    eventually(lambda: transitions_counted(server, "stormy") >= 100)
    server.kill()
    server.start()  # in the midst of it
    eventually(lambda: not direct.ask("storming"))
    eventually(lambda: told(server, "stormy") == list(range(1, 1501)))
    eventually(lambda: transitions_counted(server, "stormy") == 1500)
    eventually(lambda: row(server, "stormy")["metrics"]["failures_total"] == 750)
