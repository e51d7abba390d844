"""What a linked program's calls touch, as the interpreter itself tells of it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.servers import ROOT, clean_environment

PROGRAM = """
import asyncio, json, socket, sys, threading
import breakers

def fail():
    raise ConnectionError("refused")

async def answer():
    return 1

async def fail_async():
    fail()

async def main():
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, never answers
    url = "http://127.0.0.1:%d" % silent.getsockname()[1]
    link = breakers.connect(service="calls", url=url, token="tpcb_any")
    breaker = breakers.get_circuit_breaker("api", breakers.CircuitBreakerConfig(failure_threshold=3))
    await breaker.call(answer)
    caller, touched, watching = threading.get_ident(), [], True

    def watch(event, arguments):
        if watching and threading.get_ident() == caller:
            touched.append(event)

    sys.addaudithook(watch)
    for _ in range(200):
        await breaker.call(answer)
        breaker.call_sync(int)
        for _ in range(4):
            try:
                await breaker.call(fail_async)
            except (ConnectionError, breakers.CircuitBreakerOpenError):
                pass
            try:
                breaker.call_sync(fail)
            except (ConnectionError, breakers.CircuitBreakerOpenError):
                pass
        breaker.reset()
    watching = False
    metrics = breaker.get_metrics()
    assert metrics["state_changes_total"] == 400 and metrics["rejected_total"] == 1000, metrics
    print(json.dumps(sorted(set(touched))))
    link.close()

asyncio.run(main())
"""
OUTSIDE = ("open", "os.", "socket.", "sqlite3.", "subprocess.", "shutil.", "import", "http.", "urllib.")
"""Events of Python's audit table that tell of a file, a network, a database or another process."""


def test_a_call_touches_no_file_no_network_and_no_database_whatever_becomes_of_it() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert [event for event in json.loads(done.stdout) if event.startswith(OUTSIDE)] == []
