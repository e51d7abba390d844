"""Three servers over one PostgreSQL and one Redis behind one nginx, and two hundred links from five processes."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import pytest

from tests.engines import Nginx, Postgres, deployed
from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess, clean_environment, eventually

SERVERS, PROCESSES, LINKS = 3, 5, 200
UNSTEADY = ("rates", "failure_rate", "trend")
"""What depends on when a server looked: all else must be the same everywhere."""


class Crowd:
    """The services, in a handful of processes; see ``tests/crowd_program.py``."""

    def __init__(self, processes: int = PROCESSES) -> None:
        command = [sys.executable, str(ROOT / "tests" / "crowd_program.py")]
        environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}
        self._processes = [
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(processes)
        ]
        self._threads = ThreadPoolExecutor(processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._threads.shutdown()

    def ask(self, command: str, **arguments: object) -> list[Any]:
        """The answer of each process."""
        return list(self._threads.map(lambda process: _ask(process, command, arguments), self._processes))

    def counted(self) -> dict[str, Counter[str]]:
        """Breaker to the counts of all services."""
        found: dict[str, Counter[str]] = {}
        for some in self.ask("counted"):
            for name, counts in some.items():
                found.setdefault(name, Counter()).update(counts)
        return found

    def settle(self, links: int = LINKS) -> None:
        """Waits until every link is up and every transition acknowledged."""
        eventually(lambda: sum(self.ask("linked")) == links, within=90, what="every link is up")
        eventually(lambda: sum(self.ask("queued")) == 0, within=90, what="every transition is acknowledged")


def _ask(process: subprocess.Popen[str], command: str, arguments: dict[str, object]) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert "error" not in answer, f"{command}: {answer['error']}"
    return answer["answer"]


class House:
    """All of it. ``door`` is nginx, asked like a server."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.redis = stack.enter_context(RedisServer(folder))
        self.postgres = stack.enter_context(Postgres())
        shared = {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "CIRCUIT_BREAKER_PROXIES": "1",
            "DJANGO_LOG_LEVEL": "ERROR",
        }
        self.servers = [self._server(folder / f"server-{number}", shared) for number in range(SERVERS)]
        first = self.servers[0]
        first.manage("migrate", "--verbosity", "0")
        token = first.create_key("tests", "agent,read,operate")
        for server in self.servers:
            server.token = token
        with ThreadPoolExecutor(SERVERS) as pool:
            list(pool.map(lambda server: server.start(within=100), self.servers))
        for server in self.servers:
            stack.callback(server.stop)
        self.door = ServerProcess(folder)
        self.door.token = token
        configuration = (ROOT / "deploy" / "nginx" / "default.conf").read_text()
        ports = [server.port for server in self.servers]
        stack.enter_context(Nginx(folder, deployed(configuration, port=self.door.port, servers=ports)))
        self.crowd = stack.enter_context(Crowd())
        self.crowd.ask("link", number=LINKS // PROCESSES, url=self.door.url, token=token)
        self.crowd.settle()

    @staticmethod
    def _server(folder: Path, environment: dict[str, str]) -> ServerProcess:
        folder.mkdir()
        return ServerProcess(folder, environment=environment, tuned=True)

    @property
    def running(self) -> list[ServerProcess]:
        return [server for server in self.servers if server.running]

    @contextmanager
    def storming(self) -> Iterator[None]:
        """Meanwhile every service calls its breakers twice a second; afterwards all is said and acknowledged."""
        self.crowd.ask("storm", every=0.5)
        try:
            yield
        finally:
            self.crowd.ask("calm")
        self.crowd.settle()

    def storm(self, *, seconds: float) -> None:
        with self.storming():
            time.sleep(seconds)  # the length of the storm

    def linked(self) -> int:
        return sum(self.crowd.ask("linked"))

    def all_link(self, within: float = 90.0) -> None:
        """Waits until every link is up, at whichever server."""
        try:
            eventually(lambda: self.linked() == LINKS, within=within)
        except AssertionError:
            raise AssertionError(f"not linked: {self.crowd.ask('unlinked')}") from None

    def agree(self, within: float = 90.0, *, but: str = "") -> None:
        """Waits until every server that runs shows exactly what the services have counted, and all the same rows.

        ``but``: a key that need not be the same.
        """
        found: list[str] = []

        def none() -> bool:
            found[:] = [each for each in self.disagreements() if not (but and each.startswith(f"{but} of"))]
            return not found

        try:
            eventually(none, within=within)
        except AssertionError:
            raise AssertionError("\n".join(found)) from None

    def disagreements(self) -> list[str]:
        counted = self.crowd.counted()
        transitions = {name: counts.pop("transitions") for name, counts in counted.items()}
        found = [] if self.recorded() == transitions else [f"history: {self.recorded()} of {transitions}"]
        for server in self.running:
            told = transitions_of(server)
            found += [] if told == transitions else [f"{server.port}: told of {told} of {transitions}"]
            for name, counts in counted.items():
                metrics = server.request("GET", f"/circuit-breakers/{name}/metrics")[1]
                shown = {key: metrics.get(key) for key in counts}
                found += [] if shown == counts else [f"{server.port}: {name} {shown} for {dict(counts)}"]
        return found + self.rows_that_differ()

    def rows_that_differ(self) -> list[str]:
        first, *others = (steady(server) for server in self.running)
        return [
            f"{key} of {mine['name']}: {mine[key]!r} and {theirs[key]!r}"
            for rows in others
            for mine, theirs in zip(first, rows, strict=True)
            for key in mine
            if mine[key] != theirs[key]
        ]

    def speeds_that_differ(self) -> list[str]:
        """What servers see of steady traffic, each with its own clock: near to each other, and there.

        Exactly the same only by one clock: see ``tests/fleet``.
        """
        seen = [{row["name"]: row for row in all_rows(server)} for server in self.running]
        return [
            f"{name}: {values}"
            for name in seen[0]
            for values, near in (
                ([rows[name]["rates"]["calls"] for rows in seen], 0.2),
                ([rows[name]["rates"]["failures"] for rows in seen], 0.35),
                ([(rows[name]["trend"] or [None])[-1] for rows in seen], 0.35),
                ([rows[name]["failure_rate"] for rows in seen], 0.2),
            )
            if not all(values) or max(values) - min(values) > near * max(values)
        ]

    def recorded(self) -> dict[str, int]:
        """Breaker to the transitions in the history."""
        found = self.postgres.run("SELECT breaker, count(*) FROM breakers_statechange GROUP BY breaker")
        return {name: int(count) for name, count in (line.split("|") for line in found.splitlines())}

    def silent(self) -> list[str]:
        """Alerts that say that instances are silent, of every server."""
        return [alert for server in self.running for alert in _alarms(server, ("silent_instances",))]

    @contextmanager
    def watching(self) -> Iterator[set[str]]:
        """Alerts of any server that somebody would look into for nothing, were they there for half a second."""
        found: set[str] = set()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.5):
                for server in self.running:
                    with suppress(OSError, HTTPException):  # it is on its way out
                        found.update(_alarms(server, ("silent_instances", "config_not_applied", "reports_dropped")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            over.set()
            watcher.join()


def _alarms(server: ServerProcess, kinds: tuple[str, ...]) -> list[str]:
    told = server.request("GET", "/alerts")[1].get("alerts", ())
    return [f"{server.port}: {alert['name']}: {alert['message']}" for alert in told if alert["kind"] in kinds]


def all_rows(server: ServerProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = server.request("GET", "/circuit-breakers?page_size=100")[1]["results"]
    return rows


def steady(server: ServerProcess) -> list[dict[str, Any]]:
    return [steady_row(row) for row in all_rows(server)]


def steady_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in UNSTEADY}


def transitions_of(server: ServerProcess) -> dict[str, int]:
    """Breaker to the transitions that Prometheus is told of."""
    found: Counter[str] = Counter()
    for line in server.request("GET", "/metrics")[1].splitlines():
        if line.startswith("circuit_breaker_transitions_total{"):
            found[line.partition('name="')[2].partition('"')[0]] += int(float(line.rpartition(" ")[2]))
    return dict(found)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("house"), stack)
