"""The log: one line an event, for people and for machines, and what a request did found again by its id."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import logging.handlers
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory

import breakers
from breakers.tracing import request_id
from tests.documents.pages import blocks
from tests.programs import ServiceProcess
from tests.servers import ROOT, ServerProcess, eventually
from tradpal_cb import logs
from tradpal_cb.requests import RequestIds, id_for

SHOWN = json.loads(next(block.code for block in blocks(ROOT / "docs/deploy.md") if block.language == "json"))
"""The line that the page for operators shows."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("logging")
    environment = {"CIRCUIT_BREAKER_LOG_FILE": str(folder / "tradpal.log")}
    with ServerProcess(folder, environment=environment) as running:
        yield running


def lines(server: ServerProcess, **facts: object) -> list[dict[str, Any]]:
    """Of the file for machines, those with these facts."""
    file = server.folder / "tradpal.log"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line for line in found if facts.items() <= line.items()]


def test_grep_finds_each_state_change_with_who_and_why(server: ServerProcess) -> None:
    with ServiceProcess(server, "trading_service") as service:
        service.linked()
        service.ask("breaker", name="logged", failure_threshold=2)
        service.ask("call", name="logged", times=2)
        (line,) = eventually(lambda: lines(server, breaker="logged", to_state="open"))
        instance = eventually(lambda: server.request("GET", "/circuit-breakers/logged/history")[1]["results"])[0]

        assert line["message"].startswith("Circuit breaker 'logged' went from closed to open (consecutive_failures)")
        assert line["level"] == "WARNING"
        assert line["logger"] == "breakers"
        assert line["timestamp"].endswith("+00:00")
        assert (line["service"], line["instance"]) == ("trading_service", instance["instance"])
        assert (line["from_state"], line["reason"]) == ("closed", "consecutive_failures")
        assert "the dependency is down" in line["cause"]
        assert line.keys() == SHOWN.keys()

        assert server.request("POST", "/circuit-breakers/logged/reset", {"reason": "well again"})[0] == 200
        (closed,) = eventually(lambda: lines(server, breaker="logged", to_state="closed"))
        assert (closed["level"], closed["reason"]) == ("INFO", "reset")

    grep = subprocess.run(["grep", "Circuit breaker", server.log], capture_output=True, text=True, check=True)
    told = [line for line in grep.stdout.splitlines() if "'logged' went" in line]
    assert len(told) == 2, "the console has the same"
    assert re.match(r"\d{4}-\d\d-\d\d [\d:,]+ WARNING breakers Circuit breaker 'logged' went from closed", told[0])


def test_a_service_that_logs_for_machines_has_the_same_facts_by_the_same_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaker = breakers.CircuitBreaker(breakers.CircuitBreakerConfig(name="own", failure_threshold=1))
    with pytest.raises(ZeroDivisionError):
        breaker.call_sync(lambda: 1 / 0)
    (record,) = [one for one in caplog.records if one.name == "breakers"]
    found = json.loads(formatted("json", record))
    assert {key: found[key] for key in ("level", "breaker", "from_state", "to_state", "reason")} == {
        "level": "WARNING", "breaker": "own", "from_state": "closed", "to_state": "open",
        "reason": "consecutive_failures",
    }  # fmt: skip
    assert found["cause"] == "1 failure, last: ZeroDivisionError: division by zero"
    assert found.keys() == SHOWN.keys() - {"service", "instance"}


def test_what_people_do_is_in_the_log_too(server: ServerProcess) -> None:
    body = {"name": "made", "failure_threshold": 3}
    assert server.request("POST", "/circuit-breakers", body)[0] == 201
    (line,) = eventually(lambda: lines(server, breaker="made"))
    assert line["message"] == "Circuit breaker 'made', key:tests: created"


def ask(server: ServerProcess, method: str, path: str, body: object, **headers: str) -> str:
    """The id in the answer."""
    head = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json", **headers}
    asked = Request(f"{server.url}{path}", json.dumps(body).encode() if body else None, head, method=method)
    with urlopen(asked, timeout=10) as answer:
        return str(answer.headers["X-Request-ID"])


def test_a_request_is_found_by_its_id_in_answer_audit_and_log(server: ServerProcess) -> None:
    config = "/circuit-breakers/traced/config"
    ask(server, "POST", "/circuit-breakers", {"name": "traced"})
    named = {"X-Request-ID": "deploy-2291"}
    assert ask(server, "PATCH", config, {"failure_threshold": 9}, **named) == "deploy-2291"
    made = ask(server, "PATCH", config, {"failure_threshold": 8})

    audit = server.request("GET", "/circuit-breakers/traced/changes")[1]["results"]
    assert [change["request_id"] for change in audit[:2]] == [made, "deploy-2291"]
    (line,) = lines(server, request_id="deploy-2291", method="PATCH")
    assert (line["method"], line["path"], line["status"]) == ("PATCH", config, 200)
    assert line["message"].startswith(f"PATCH {config}: 200 after ")
    assert "[deploy-2291]" in server.log.read_text()


def test_reading_writes_no_line_but_has_an_id(server: ServerProcess) -> None:
    known = ask(server, "GET", "/circuit-breakers", None)
    assert re.fullmatch(r"[0-9a-f]{32}", known)
    assert not lines(server, request_id=known)


def test_what_django_says_of_a_request_that_went_wrong_has_its_id_too(server: ServerProcess) -> None:
    with pytest.raises(HTTPError) as refused:
        ask(server, "GET", "/circuit-breakers/nobody", None, **{"X-Request-ID": "lost-17"})
    refused.value.close()
    assert refused.value.headers["X-Request-ID"] == "lost-17"
    (line,) = eventually(lambda: lines(server, logger="django.request", request_id="lost-17"))
    assert line["status_code"] == 404


def test_all_that_a_server_says_to_machines_is_json_from_its_start_to_its_end(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, environment={"CIRCUIT_BREAKER_LOG_FORMAT": "json"}, tuned=True) as running:
        running.request("GET", "/nowhere")
    said = [json.loads(line)["message"] for line in running.log.read_text().splitlines()]
    assert said[0].startswith(f"Serving on {running.url} (daphne on uvloop")
    assert said[-1].startswith("Draining: no new connections")


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, "line\nbreak", "ünsafe", "<script>"])
def test_an_id_that_is_not_plain_is_replaced(given: str | None) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", id_for(given))


def test_an_id_ends_with_its_request_however_that_ends() -> None:
    seen = []

    def view(request: object) -> HttpResponse:
        seen.append(request_id.get())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        RequestIds(view)(RequestFactory().get("/", headers={"X-Request-ID": "one"}))
    assert (seen, request_id.get()) == (["one"], "")


def written(style: str, *, message: str, **extra: object) -> str:
    """What the console would show of one record, as Django configures it."""
    logger = logging.getLogger("breakers")
    return formatted(style, logger.makeRecord("breakers", logging.INFO, "", 0, message, (), None, extra=dict(extra)))


def formatted(style: str, record: logging.LogRecord) -> str:
    configured = logs.configuration(level="INFO", format=style, file="")
    maker = logging.config.DictConfigurator(configured)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(maker.configure_formatter(configured["formatters"][style]))
    handler.addFilter(logs.RequestIdFilter())
    handler.handle(record)
    return stream.getvalue()


def test_nobody_writes_lines_of_his_own() -> None:
    text = written("text", message="who: alice\n2026-01-01 INFO all is well\u2028\x1b[2J")
    assert text.count("\n") == 1
    assert text.endswith("who: alice\\x0a2026-01-01 INFO all is well\\x2028\\x1b[2J\n")
    assert written("json", message="a\nb").count("\n") == 1


def test_json_may_be_had_on_the_console_too() -> None:
    ticket = request_id.set("one")
    try:
        line = json.loads(written("json", message="hello", breaker="a"))
    finally:
        request_id.reset(ticket)
    assert {key: line[key] for key in ("level", "logger", "message", "breaker", "request_id")} == {
        "level": "INFO", "logger": "breakers", "message": "hello", "breaker": "a", "request_id": "one",
    }  # fmt: skip


def test_a_wrong_setting_is_a_sentence_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="CIRCUIT_BREAKER_LOG_FORMAT is 'xml'; it can be text or json"):
        logs.configuration(level="INFO", format="xml", file="")
    with pytest.raises(ImproperlyConfigured, match=r"CIRCUIT_BREAKER_LOG_FILE is '.*missing/x.log', which cannot be"):
        logs.configuration(level="INFO", format="text", file=str(tmp_path / "missing" / "x.log"))


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Where the root logger writes as a server's does, and nowhere else but the console."""
    (tmp_path / "log").mkdir()
    file = tmp_path / "log" / "x.log"
    handler: dict[str, Any] = logs.configuration(level="INFO", format="text", file=str(file))["handlers"]["file"]
    assert handler["class"] == "tradpal_cb.logs.LogFile"
    made = logs.LogFile(handler["filename"], delay=handler["delay"])
    logging.getLogger().addHandler(made)
    yield file
    logging.getLogger().removeHandler(made)
    made.close()


def test_a_log_that_was_moved_away_is_begun_anew(log_file: Path) -> None:
    logging.getLogger("breakers").warning("before")
    log_file.rename(log_file.with_suffix(".1"))
    logging.getLogger("breakers").warning("after")
    assert log_file.read_text() == "after\n"


def test_a_log_that_cannot_be_written_any_more_harms_nobody_and_is_told_once(
    log_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.message for record in caplog.records if "CIRCUIT_BREAKER_LOG_FILE" in record.message]

    caplog.set_level(logging.INFO, logger="breakers")
    logging.getLogger("breakers").warning("before")
    log_file.parent.rename(log_file.parent.with_name("elsewhere"))
    for _ in range(3):
        logging.getLogger("breakers").warning("lost")
    (said,) = told()
    assert "is not written" in said
    assert "No such file" in said
    log_file.parent.mkdir()
    logging.getLogger("breakers").warning("after")
    assert [text.partition(":")[0] for text in told()[1:]] == ["CIRCUIT_BREAKER_LOG_FILE is written again"]
    assert "after\n" in log_file.read_text()


FULL = """
import logging, os, sys
for _ in range(3):
    logging.getLogger("breakers").warning("lost")
sys.stderr.flush()
os._exit(0)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full plays the disk that is full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, environment={"CIRCUIT_BREAKER_LOG_FILE": "/dev/full"})
    script = [sys.executable, "-c", f"import django; django.setup()\n{FULL}"]
    said = subprocess.run(script, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=50).stderr
    lines = said.splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "is not written" not in line] == ["lost"] * 3, said
    assert [line.partition(": ")[2] for line in lines if "is not written" in line] == [
        "[Errno 28] No space left on device"
    ]


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="which cannot be written"):
        logs.configuration(level="INFO", format="text", file=str(tmp_path))
