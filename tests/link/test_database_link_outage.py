"""``breakers.connect_database()`` over PostgreSQL that is stopped, and comes back with what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import Postgres
from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually


@pytest.fixture
def engine() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


@pytest.mark.timeout(150)
def test_while_postgresql_is_down_calls_go_on_and_nothing_is_lost_or_doubled(engine: Postgres, tmp_path: Path) -> None:
    plane = ServerProcess(tmp_path, environment={"DATABASE_URL": engine.url})  # it never runs
    plane.manage("migrate", "--verbosity", "0")
    with ServiceProcess(plane, log=tmp_path / "service.log", by_database=True) as service:
        service.linked().ask("breaker", name="api", failure_threshold=1)
        service.ask("storm", name="api", transitions=5000, pause=0.001)
        eventually(lambda: int(engine.run("SELECT count(*) FROM breakers_statechange")) > 100)
        engine.stop()
        eventually(lambda: not service.ask("status")["connected"])
        assert "OperationalError" in service.ask("status")["last_error"]
        assert service.ask("call", name="untouched", times=2, ok=True) == {"succeeded": 2}
        eventually(lambda: not service.ask("storming"))
        engine.start()
        eventually(lambda: (status := service.ask("status"))["connected"] and status["queued"] == 0)
        assert service.ask("status")["last_error"] is None
        assert service.ask("status")["dropped"] == 0
        counted = service.ask("metrics", name="api")
        assert service.end() == 0
    told = engine.run("SELECT sequence FROM breakers_statechange ORDER BY id").splitlines()
    assert list(map(int, told)) == list(range(1, 5001))
    for total in ("failures", "successes", "rejected", "state_changes"):
        kept = engine.run(f"SELECT observed -> 'api' -> 'counts' ->> '{total}' FROM breakers_instance")
        assert int(kept) == counted[f"{total}_total"], total
    assert (tmp_path / "service.log").read_text().count("Not linked to the database") == 1
