"""gunicorn, which loads a program once and forks its workers from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, ServerProcess, clean_environment, eventually, free_port

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
WORKERS = 3


class Gunicorn:
    def __init__(self, server: ServerProcess, log: Path) -> None:
        self.called = 0
        self.url = f"http://127.0.0.1:{free_port()}"
        environment = {
            **clean_environment(),
            "CIRCUIT_BREAKER_SERVICE_URL": server.url,
            "CIRCUIT_BREAKER_SERVICE_TOKEN": server.token,
            "CIRCUIT_BREAKER_SERVICE_NAME": "prefork_service",
        }
        where = self.url.removeprefix("http://")
        command = [sys.executable, "-m", "gunicorn", "--preload", "-w", str(WORKERS), "-b", where]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "tests.prefork_app:application"], cwd=ROOT, env=environment, stdout=out, stderr=out
            )

    def call(self, times: int) -> set[int]:
        """Which workers answered."""
        return {self._call() for _ in range(times)}

    def _call(self) -> int:
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            worker = int(answer.read())
        self.called += 1
        return worker

    def answers(self) -> bool:
        with suppress(OSError):
            return bool(self._call())
        return False

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def gunicorn(shared_server: ServerProcess, tmp_path: Path) -> Iterator[Gunicorn]:
    made = Gunicorn(shared_server, tmp_path / "gunicorn.log")
    try:
        eventually(made.answers)
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


@pytest.mark.timeout(120)
def test_workers_are_instances_of_their_own_and_nothing_is_lost_when_they_end(
    shared_server: ServerProcess, gunicorn: Gunicorn
) -> None:
    def row() -> Any:
        return shared_server.request("GET", "/circuit-breakers/preforked")[1]

    def failures() -> int:
        return int(row().get("metrics", {}).get("failures_total", 0))

    workers = gunicorn.call(60)
    eventually(lambda: failures() == gunicorn.called)
    eventually(lambda: row()["instances"]["total"] == WORKERS + 1, what="the workers, and whoever forked them")
    os.kill(next(iter(workers)), signal.SIGKILL)
    eventually(lambda: gunicorn.call(5) - workers, what="another worker has taken its place")
    gunicorn.call(20)
    assert gunicorn.stop() == 0
    eventually(lambda: row()["instances"]["total"] <= 1, what="all but the killed one have said goodbye")
    assert failures() == gunicorn.called
