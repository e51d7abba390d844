"""``make run`` from nothing: what a newcomer sees, and that nothing is left behind, however it ends."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.groups import GROUPS
from tests.servers import ROOT, clean_environment, eventually, free_port

pytestmark = pytest.mark.timeout(120)
PROCESSES = 8  # the server, the flaky service, three services with two instances each
NAMES = {
    "auth_service", "broker_api", "data_service", "ledger", "news_feed", "order_router", "price_feed", "risk_engine",
}  # fmt: skip


def demo(var: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m demo``, to its end."""
    command = [sys.executable, "-m", "demo", "--var", str(var), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=50)


def children(parent: int) -> set[int]:
    """Processes that ``parent`` started and that have not ended."""
    return {pid for pid, (ppid, state) in _processes().items() if ppid == parent and state != "Z"}


def _processes() -> dict[int, tuple[int, str]]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        found[int(stat.parent.name)] = (int(fields[1]), fields[0])
    return found


def alive(pids: set[int]) -> set[int]:
    return {pid for pid, (_, state) in _processes().items() if pid in pids and state != "Z"}


class Run:
    """One ``python -m demo run`` on a free port."""

    def __init__(self, var: Path, *command: str) -> None:
        self.var = var
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = command or ("run", "--port", str(self.port))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--var", str(var), *arguments],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def children(self) -> set[int]:
        return children(self.process.pid)

    def get(self, path: str) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as response:
            answer: dict[str, object] = json.load(response)
            return answer

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "var"


Starter = Callable[..., Run]


@pytest.fixture(scope="module")
def starter(var: Path) -> Iterator[Starter]:
    runs = []

    def start(*command: str) -> Run:
        runs.append(Run(var, *command))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


@pytest.fixture(scope="module")
def run(starter: Starter) -> Run:
    """The one that most tests look at; the last of them ends it."""
    started = starter()
    started.announced = started.lines(3)  # type: ignore[attr-defined]  # for the test of the lines
    return started


def rows(run: Run) -> dict[str, dict[str, object]]:
    answer = run.get("/circuit-breakers")
    results = answer["results"]
    assert isinstance(results, list)
    return {row["name"]: row for row in results}


def test_three_lines_say_where_how_and_how_to_stop(run: Run) -> None:
    dashboard, sign_in, stop = run.announced  # type: ignore[attr-defined]  # set by the fixture
    password = (run.var / "operator-password").read_text().strip()
    assert f"{run.url}/dashboard" in dashboard
    assert "operator" in sign_in
    assert password in sign_in
    assert "Ctrl-C" in stop
    assert run.get("/health")["status"] == "healthy"


def test_what_is_secret_is_for_the_owner_alone(run: Run) -> None:
    for name in ("operator-password", "fleet-key", "secret-key"):
        assert (run.var / name).stat().st_mode & 0o777 == 0o600


def test_every_instance_is_linked(run: Run) -> None:
    def complete() -> bool:
        found = rows(run)
        instances = {name: row["instances"]["total"] for name, row in found.items()}  # type: ignore[index]  # JSON
        return found.keys() >= NAMES and instances["data_service"] == instances["risk_engine"] == 4

    eventually(complete, what="eight breakers, and four instances of those that two services share")


def test_breakers_that_belong_together_are_grouped(run: Run) -> None:
    found = {name: row["group"] for name, row in rows(run).items()}
    assert found == {name: group for name, (group, _) in GROUPS.items()}
    assert found.keys() == NAMES
    eventually(lambda: all(row["applied"]["on"] == row["applied"]["of"] for row in rows(run).values()))  # type: ignore[index]  # JSON
    page = urllib.request.Request(f"{run.url}/dashboard", headers={"Accept": "text/html"})
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert "market-data" in answer.read().decode()


def test_a_person_breaks_a_route_sees_the_breaker_open_heals_it_and_sees_it_close(run: Run) -> None:
    assert demo(run.var, "break", "ledger", "--for", 600).returncode == 0
    row = eventually(lambda: (r := rows(run)["ledger"])["state"] == "open" and r)
    assert "503" in str(row["cause"]) or "Service Unavailable" in str(row["cause"])
    healed = demo(run.var, "heal", "ledger", "--for", 600)
    assert re.search(r"^ledger\s+none\s+by person", healed.stdout, re.MULTILINE)
    eventually(lambda: rows(run)["ledger"]["state"] == "closed")
    expected = {"consecutive_failures", "recovery_timeout", "probes_succeeded"}
    eventually(lambda: reasons(run, "ledger") >= expected, what="the history tells it all")


def reasons(run: Run, name: str) -> set[str]:
    """Why the breaker changed, as far as that stands in the history by now."""
    history = run.get(f"/circuit-breakers/{name}/history")["results"]
    assert isinstance(history, list)
    return {event["reason"] for event in history}


def test_the_operator_signs_in_with_what_was_printed(run: Run) -> None:
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = browser.open(f"{run.url}/dashboard/login", timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    form = {
        "username": "operator",
        "password": (run.var / "operator-password").read_text().strip(),
        "csrfmiddlewaretoken": token[1],
        "next": "/admin/",
    }
    with browser.open(f"{run.url}/dashboard/login", urllib.parse.urlencode(form).encode(), timeout=10) as response:
        assert response.status == 200
        assert response.url == f"{run.url}/admin/"


def test_a_second_start_is_answered_with_a_sentence(run: Run) -> None:
    second = demo(run.var, "run", "--port", free_port())
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.count("\n") == 1
    assert str(run.port) in second.stderr


def test_a_taken_port_is_answered_with_a_sentence(run: Run, tmp_path: Path) -> None:
    refused = demo(tmp_path, "run", "--port", run.port)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert f"Port {run.port} is taken" in refused.stderr
    assert demo(tmp_path, "run", "--port", 70000).stderr == "70000 is no port; choose one from 1 to 65535.\n"


def test_a_folder_that_cannot_be_written_is_answered_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = demo(tmp_path / "file" / "var", "run", "--port", free_port())
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)


def test_a_word_to_a_demo_that_does_not_run_is_answered_with_a_sentence(tmp_path: Path) -> None:
    refused = demo(tmp_path, "break", "ledger")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)


def test_breakers_open_and_close_by_the_schedule_alone(run: Run) -> None:
    """Within a minute of its start; the first outage is over after a quarter of one."""

    def reasons() -> set[object]:
        history = run.get("/circuit-breakers/data_service/history")["results"]
        assert isinstance(history, list)
        return {event["reason"] for event in history}

    eventually(lambda: {"consecutive_failures", "probes_succeeded"} <= reasons())


def test_ctrl_c_ends_every_process(run: Run) -> None:
    processes = run.children()
    assert len(processes) == PROCESSES
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 0
    assert not alive(processes)
    assert run.process.stdout is not None
    assert run.process.stdout.read() == ""  # three lines and no more
    assert run.process.stderr is not None
    assert run.process.stderr.read() == ""


def test_services_took_their_leave_of_the_server(run: Run) -> None:
    """Their totals are in the database, and none of them will be missed as silent."""
    assert run.process.poll() == 0  # the test before this one ended it
    with contextlib.closing(sqlite3.connect(run.var / "control-plane.sqlite3")) as database:
        gone = database.execute("select count(*) from breakers_instance where gone_at is not null").fetchone()
    assert gone == (6,)


def test_a_supervisor_that_is_killed_leaves_nothing_behind(run: Run, starter: Starter) -> None:
    again = starter()
    again.lines(3)
    processes = again.children()
    assert len(processes) == PROCESSES
    again.process.kill()
    again.process.wait()
    eventually(lambda: not alive(processes))


def test_the_end_of_the_server_ends_the_rest(run: Run, starter: Starter) -> None:
    again = starter()
    again.lines(3)
    processes = again.children()
    (server,) = {pid for pid in processes if b"daphne" in Path(f"/proc/{pid}/cmdline").read_bytes()}
    os.kill(server, signal.SIGKILL)
    assert again.process.wait(20) == 1
    assert not alive(processes)
    assert again.process.stderr is not None
    assert re.fullmatch(r"The server ended .*\n", again.process.stderr.read())


def test_services_go_on_calling_without_a_server(run: Run, starter: Starter) -> None:
    fleet = starter("fleet", "--url", f"http://127.0.0.1:{free_port()}")
    fleet.lines(1)

    def calls() -> dict[str, int]:
        words = [line.split() for line in demo(fleet.var, "routes").stdout.splitlines()]
        return {line[0]: int(line[-2]) for line in words}

    eventually(lambda: all(count > 3 for count in calls().values()) and calls().keys() == NAMES)
    processes = fleet.children()
    fleet.process.terminate()
    assert fleet.process.wait(20) == 0
    assert not alive(processes)
