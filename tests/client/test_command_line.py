"""``python -m breakers`` against a real control plane with a real instance, and how its words are laid out."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreakerConfig, CircuitBreakerState
from breakers.__main__ import main
from breakers.client import console
from breakers.client.answers import BreakerRow
from tests.servers import ROOT, ServerProcess, clean_environment, eventually, free_port

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet(control_plane: ServerProcess) -> Iterator[breakers.CircuitBreaker]:
    """This process as ``trading_service``, with a breaker that the control plane knows to be open."""
    breaker = breakers.get_circuit_breaker(
        "cli_quotes", CircuitBreakerConfig(failure_threshold=2, recovery_timeout=600)
    )
    link = breakers.connect(service="trading_service", url=control_plane.url, token=control_plane.token)
    yield breaker
    link.close()


@pytest.fixture
def quotes(fleet: breakers.CircuitBreaker, control_plane: ServerProcess) -> breakers.CircuitBreaker:
    eventually(lambda: fleet.get_metrics()["override"] is None, what="no test's override is left")
    fleet.reset()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError), fleet:
            raise ConnectionRefusedError("no\x1b[31m route")
    eventually(lambda: state_of(control_plane) == "open", what="the control plane has heard that it is open")
    return fleet


def state_of(control_plane: ServerProcess) -> str | None:
    status, answer = control_plane.request("GET", "/circuit-breakers/cli_quotes/state")
    return answer["state"] if status == 200 and answer["instances"]["total"] else None


@pytest.fixture(autouse=True)
def _configured(control_plane: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_URL", control_plane.url)
    monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TOKEN", control_plane.token)
    monkeypatch.delenv("CIRCUIT_BREAKER_SERVICE_TIMEOUT", raising=False)


def test_list_shows_each_breaker_in_a_line_and_counts_them(
    quotes: breakers.CircuitBreaker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--search", "cli_quotes"]) == 0
    head, line, _, count = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATE", "SINCE", "INSTANCES", "CALLS/S", "FAILED", "P95", "CAUSE"]
    assert line.startswith("cli_quotes  OPEN ")
    assert "1 open" in line
    assert "2 consecutive failures, last: ConnectionRefusedError: no [31m route" in line
    assert count == "1 breaker: 1 open"

    assert main(["list", "--search", "cli_quotes", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["state"], row["services"]) == ("cli_quotes", "open", ["trading_service"])
    assert main(["list", "--search", "cli_quotes", "--state", "closed"]) == 0
    assert capsys.readouterr().out == "There are no breakers here.\n"


def test_show_tells_of_instances_config_and_the_past(
    quotes: breakers.CircuitBreaker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "cli_quotes"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("cli_quotes  OPEN for ")
    assert "probes again in " in text
    instance = next(line for line in text.splitlines() if line.startswith("trading_service "))
    assert str(os.getpid()) in instance
    assert "OPEN" in instance
    assert re.search(r"^  failure_threshold +2$", text, re.MULTILINE)
    assert "closed -> open" in text
    assert main(["--json", "show", "cli_quotes"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["failure_threshold"] == 2


def test_reset_closes_it_in_the_process_that_has_it(
    quotes: breakers.CircuitBreaker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset", "cli_quotes", "--reason", "it recovered"]) == 0
    assert capsys.readouterr().out.startswith("cli_quotes is reset: 1 told, ")
    eventually(lambda: quotes.state is CircuitBreakerState.CLOSED)


def test_opening_most_of_a_group_takes_a_confirmation(
    control_plane: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cli_one", "cli_two"):
        control_plane.request("POST", "/circuit-breakers", {"name": name, "group": "cli"})
    assert main(["open", "cli_one"]) == 0
    assert main(["open", "cli_two"]) == 1
    assert "2 of the 2 breakers of the group 'cli'" in capsys.readouterr().err
    assert main(["open", "cli_two", "--confirm"]) == 0
    for name in ("cli_one", "cli_two"):
        assert main(["release", name]) == 0


def test_open_forces_for_a_while_close_too_and_release_lifts_it(
    quotes: breakers.CircuitBreaker, control_plane: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["open", "cli_quotes", "--for", "15m", "--reason", "INC-2291"]) == 0
    assert capsys.readouterr().out == "cli_quotes is forced open for 15 min\n"
    assert main(["list", "--search", "cli_quotes"]) == 0
    assert "FORCED OPEN" in (listed := capsys.readouterr().out)
    assert "INC-2291" in listed
    assert main(["show", "cli_quotes"]) == 0
    assert re.search(r"forced open by key:tests, (15 min|14 min \d+ s) left: INC-2291\n", capsys.readouterr().out)

    assert main(["close", "cli_quotes"]) == 0
    assert capsys.readouterr().out == "cli_quotes is forced closed until it is released\n"
    assert control_plane.request("GET", "/circuit-breakers/cli_quotes/state")[1]["override"]["expires_at"] is None
    assert main(["release", "cli_quotes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["override"] is None


def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    control_plane: ServerProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for arguments, code, said in (
        (["reset", "nobody"], 1, "There is no circuit breaker 'nobody'."),
        (["list", "--token", "wrong"], 1, ""),
        (["--url", nobody, "list"], 3, f"{nobody} could not be asked"),
        (["--url", nobody, "watch"], 3, f"{nobody} could not be asked: Connection refused"),
        (["watch", "--token", "wrong"], 1, "unknown or was revoked"),
        (["list", "--url", "nonsense"], 2, "url: must be http://host:port"),
    ):
        assert main(arguments) == code
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("breakers: ")
        assert said in error
        assert error.count("\n") == 1
    for arguments in (["open", "x", "--for", "soon"], ["list", "x"], ["explode"], []):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def run(control_plane: ServerProcess, *arguments: str) -> subprocess.Popen[str]:
    known = {
        "CIRCUIT_BREAKER_SERVICE_URL": control_plane.url,
        "CIRCUIT_BREAKER_SERVICE_TOKEN": control_plane.token,
    }
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "breakers", *arguments],
        cwd=ROOT, env={**clean_environment(), **known}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # a shell that runs the tests in the background lets its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_watch_tells_of_each_change_until_it_is_interrupted(
    quotes: breakers.CircuitBreaker, control_plane: ServerProcess
) -> None:
    with run(control_plane, "watch", "--search", "cli_quotes", "--every", "0.1") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "  cli_quotes  OPEN  2 consecutive failures" in watching.stdout.readline()
        quotes.reset()
        assert "  cli_quotes  CLOSED" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
        assert watching.stderr.read() == ""


async def test_watch_goes_on_when_a_control_plane_returns_that_was_gone(
    quotes: breakers.CircuitBreaker, control_plane: ServerProcess
) -> None:
    async def pass_on(request: web.Request) -> web.Response:
        headers = {"Authorization": request.headers["Authorization"]}
        async with aiohttp.request("GET", f"{control_plane.url}{request.path_qs}", headers=headers) as response:
            return web.json_response(await response.json(), status=response.status)

    async def serve(port: int) -> web.AppRunner:
        runner = web.AppRunner(app := web.Application(), access_log=None)
        app.router.add_get("/circuit-breakers", pass_on)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=True).start()
        return runner

    with socket.socket() as kept:  # nobody else has the port meanwhile, and nobody is there
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        here = await serve(port)
        url = f"http://127.0.0.1:{port}"
        with run(control_plane, "--url", url, "watch", "--search", "cli_quotes", "--every", "0.1") as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            assert "  cli_quotes  OPEN" in await asyncio.to_thread(watching.stdout.readline)
            await here.cleanup()
            assert f"{url} could not be asked" in await asyncio.to_thread(watching.stderr.readline)
            quotes.reset()
            here = await serve(port)
            assert "  cli_quotes  CLOSED" in await asyncio.to_thread(watching.stdout.readline)
            watching.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(watching.wait, 20) == 0
            assert "Traceback" not in watching.stderr.read()
        await here.cleanup()


def test_watch_ends_when_its_reader_goes_away_and_there_is_more_to_say(
    quotes: breakers.CircuitBreaker, control_plane: ServerProcess
) -> None:
    """As in ``python -m breakers watch | head -1``."""
    with run(control_plane, "watch", "--search", "cli_quotes", "--every", "0.1") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "  cli_quotes  OPEN" in watching.stdout.readline()
        watching.stdout.close()
        quotes.reset()
        assert watching.wait(20) == 0
        assert watching.stderr.read() == ""


async def test_watch_waits_for_a_control_plane_that_went_away_and_says_so_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once, it may come back; what it says on the way reaches the terminal without its control characters."""
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked in (2, 3, 4):
            return web.json_response({"error": {"code": "error", "message": "back\x1b[31m soon"}}, status=503)
        if asked == 6:
            return web.json_response({"error": {"code": "invalid", "message": "no such group"}}, status=400)
        return web.json_response({"count": 0, "next": None, "previous": None, "results": []})

    runner = web.AppRunner(app := web.Application(), access_log=None)
    app.router.add_get("/circuit-breakers", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        assert await asyncio.to_thread(main, ["--url", url, "watch", "--every", "0.01"]) == 1
    finally:
        await runner.cleanup()
    assert asked == 6
    assert capsys.readouterr().err.splitlines() == ["breakers: back [31m soon", "breakers: no such group"]


def test_a_reader_that_goes_away_is_no_error(quotes: breakers.CircuitBreaker, control_plane: ServerProcess) -> None:
    with run(control_plane, "list") as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.wait(20) == 0
        assert listing.stderr.read() == ""


# --- words and columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("900", 900), ("0.5", 0.5), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172800), ("0.5s", 0.5),
        ("1.5h", 5400), ("1h0.5m", 3630),
    ],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: float) -> None:
    assert console.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "soon", "15 m", "-5", "0", "0s", "0.0s", "1e9", "5w", "m", "nan", ".5s", "1.s", "9" * 400, "9" * 400 + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        console.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (7505, "2 h 5 min"), (90000, "1 d 1 h")],
)
def test_durations_are_told_in_two_units(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def row(name: str, state: str, **further: object) -> BreakerRow:
    counts = {"total": 3, "closed": 2, "half_open": 0, "open": 1, "silent": 0}
    facts = {
        "name": name, "group": "", "state": state, "override": None, "services": [], "instances": counts,
        "since": (NOW - timedelta(minutes=2)).isoformat(), "retry_at": None, "cause": None,
        "rates": {"calls": 12.34, "failures": 0.0, "rejected": 0.0}, "failure_rate": 0.484, "p50": None,
        "p95": 0.2304, "p99": None, "version": 1, "applied": {"on": 3, "of": 3}, "limit": None, "trend": [],
        "ready_to_probe": False,
    }  # fmt: skip
    return cast(BreakerRow, {**facts, **further})


def test_a_table_stands_in_columns_with_the_worst_first() -> None:
    forced = {"override": "forced_open", "reason": "INC-1", "by": "user:olivia", "expires_at": None}
    text = console.table(
        [
            row("a", "closed", failure_rate=None, p95=None, since=None),
            row("quotes", "half_open", cause="60 s passed"),
            row("orders", "open", cause="5 consecutive failures\nlast: \x1b[2Jgone", p95=2.5),
            row("forced", "closed", override=forced),
        ],
        now=NOW,
    )
    assert text.splitlines() == [
        "NAME    STATE        SINCE  INSTANCES         CALLS/S  FAILED     P95  CAUSE",
        "forced  FORCED OPEN  2 min  1 open, 2 closed     12.3     48%  230 ms  INC-1",
        "orders  OPEN         2 min  1 open, 2 closed     12.3     48%   2.5 s  5 consecutive failures last:  [2Jgone",
        "quotes  HALF-OPEN    2 min  1 open, 2 closed     12.3     48%  230 ms  60 s passed",
        "a       CLOSED              1 open, 2 closed     12.3",
        "",
        "4 breakers: 1 open, 1 half-open, 2 closed; 1 forced open",
    ]


def test_a_narrow_terminal_cuts_the_cause_and_colour_takes_no_room() -> None:
    rows = [row("orders", "open", cause="x" * 200)]
    (_, line, *_) = console.table(rows, now=NOW, width=80).splitlines()
    assert len(line) == 80
    assert line.endswith("x…")
    painted = console.table(rows, now=NOW, width=80, colour=True).splitlines()[1]
    assert painted.replace("\x1b[31m", "").replace("\x1b[0m", "") == line
    assert "\x1b[31mOPEN" in painted


def test_a_long_name_leaves_room_for_its_state_on_a_narrow_terminal() -> None:
    rows = [row("n" * 100, "open"), row("orders", "closed")]
    head, line, short, *_ = console.table(rows, now=NOW, width=80).splitlines()
    assert line.startswith("n" * 25 + "…  OPEN ")
    assert (head.index("STATE"), short.index("CLOSED")) == (28, 28)
    assert "n" * 100 in console.table([row("n" * 100, "open")], now=NOW)  # where no terminal is, all of it


def command_line(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "breakers", *arguments], cwd=ROOT, text=True, check=False, timeout=60, **more
    )


def test_output_that_cannot_be_written_is_told_in_a_sentence(control_plane: ServerProcess) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = command_line("list", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (4, "breakers: [Errno 28] No space left on device\n")


def without(stream: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Started as a shell does it for ``>&-``, or for ``2>&-``: without that stream."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {stream}>&-', "sh", sys.executable, "-m", "breakers", *arguments],
        cwd=ROOT, text=True, check=False, timeout=60, capture_output=True,
    )  # fmt: skip


def test_where_nobody_is_to_hear_of_it_it_is_done_all_the_same(control_plane: ServerProcess) -> None:
    control_plane.request("POST", "/circuit-breakers", {"name": "cli_unheard"})
    done = without(1, "open", "cli_unheard", "--reason", "from cron")
    assert (done.returncode, done.stderr) == (0, "")
    _, row = control_plane.request("GET", "/circuit-breakers/cli_unheard")
    assert row["override"]["reason"] == "from cron"
    assert main(["release", "cli_unheard"]) == 0
    assert without(1, "list", "--json").returncode == 0
    refused = without(2, "show", "nobody_has_it")
    assert (refused.returncode, refused.stdout) == (1, "")  # what reads it expects no sentence there


def test_letters_that_the_output_cannot_write_hide_nothing_else(control_plane: ServerProcess) -> None:
    control_plane.request("POST", "/circuit-breakers", {"name": "cli_letters", "group": "Märkte 市場"})
    control_plane.request(
        "PUT", "/circuit-breakers/cli_letters/override", {"override": "forced_closed", "reason": "Störung"}
    )
    ascii_only = {"env": {**os.environ, "PYTHONIOENCODING": "ascii"}, "capture_output": True}
    shown = command_line("list", "--search", "cli_letters", **ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[1].endswith("St?rung")
    told = command_line("list", "--search", "cli_letters", "--json", **ascii_only)
    assert json.loads(told.stdout)[0]["group"] == "Märkte 市場"
    assert main(["release", "cli_letters"]) == 0


def test_a_due_probe_is_told() -> None:
    assert console.shown_state(row("a", "open", ready_to_probe=True)) == "OPEN, READY TO PROBE"
