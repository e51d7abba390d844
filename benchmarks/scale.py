"""What a link and an update cost with 1, 2 and 3 servers, over PostgreSQL and Redis: CPU of all servers, and of each.

The links are the library's own, spread evenly, each with 20 breakers of which every one is called once a second. Needs
Debian's redis-server and postgresql. Everything shares this machine: compare ratios.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.link import MeasuredServer
from tests.engines import Postgres
from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess, eventually

SECONDS = 8.0
EDITS = 10


class Scaled(ServerProcess):
    """As it runs in earnest."""

    cpu, memory = MeasuredServer.cpu, MeasuredServer.memory


class Agents:
    """One process of links to one server."""

    def __init__(self, server: ServerProcess, links: int, stack: ExitStack) -> None:
        command = [sys.executable, "-m", "benchmarks._link_agents", server.url, server.token]
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        )
        self.tell("link", number=links)
        self.hear()

    def tell(self, do: str, **arguments: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def house(number: int, links: int) -> Iterator[tuple[list[Scaled], list[Agents]]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis, postgres = stack.enter_context(RedisServer(folder)), stack.enter_context(Postgres())
        shared = {
            "DATABASE_URL": postgres.url, "REDIS_URL": redis.url, "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "DJANGO_LOG_LEVEL": "ERROR",
        }  # fmt: skip
        servers = []
        for index in range(number):
            (folder / str(index)).mkdir()
            servers.append(Scaled(folder / str(index), environment=shared, tuned=True))
        servers[0].manage("migrate", "--verbosity", "0")
        token = servers[0].create_key("benchmark", "agent,read,operate")
        for server in servers:
            server.token = token
            server.start(within=120)
            stack.callback(server.stop)
        agents = [Agents(server, links // number, stack) for server in servers]
        for server in servers:
            eventually(lambda: _instances(server) == links // number * number, within=60)  # noqa: B023  # asked before the next
        yield servers, agents


def _instances(server: ServerProcess) -> int:
    found: int = server.request("GET", "/dashboard")[1]["summary"]["instances"]
    return found


def load(servers: list[Scaled], agents: list[Agents], do: str) -> float:
    """Percent of a core that all servers together use while the agents do that."""
    before, began = [server.cpu() for server in servers], time.monotonic()
    for each in agents:
        each.tell(do, seconds=SECONDS)
    for each in agents:
        each.hear()
    used = sum(server.cpu() for server in servers) - sum(before)
    return 100 * used / (time.monotonic() - began)


def seen_elsewhere(servers: list[Scaled]) -> float:
    """Milliseconds from the answer to an edit at the first server until the last one's memory has it, as a median."""
    took = []
    for number in range(EDITS):
        path, body = "/circuit-breakers/breaker-0/config", {"failure_threshold": 2 + number}
        version = servers[0].request("PATCH", path, body)[1]["version"]
        began = time.monotonic()
        eventually(lambda: _version(servers[-1]) >= version)  # noqa: B023  # asked before the next
        took.append(1e3 * (time.monotonic() - began))
    return sorted(took)[EDITS // 2]


def _version(server: ServerProcess) -> int:
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{server.url}/circuit-breakers/breaker-0/state", headers={"Authorization": f"Bearer {server.token}"}
        )
    ) as answer:
        return int(answer.headers["ETag"].strip('"'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=180)
    links = parser.parse_args().links
    one = None
    print(f"{links} links of 20 breakers; percent of a core, all servers together (beside one server)")
    for number in (1, 2, 3):
        with house(number, links) as (servers, agents):
            idle = load(servers, agents, "idle")
            busy = load(servers, agents, "busy")
            storm = load(servers, agents, "storm")
            edit = seen_elsewhere(servers)
            memory = sum(server.memory() for server in servers) / number / 1e3
        one = one or (idle, busy, storm)
        print(
            f"{number} server{'s' if number > 1 else ' '}: idle {idle:5.1f} ({idle / one[0]:.2f} x)  "
            f"each breaker called each second {busy:5.1f} ({busy / one[1]:.2f} x, {busy / number:5.1f} a server)  "
            f"a transition each 2 s {storm:5.1f} ({storm / one[2]:.2f} x)  "
            f"edit seen elsewhere {edit:4.0f} ms  memory a server {memory:4.0f} MB",
            flush=True,
        )
        print(
            f"   {busy / links * 1e4:5.0f} us a link and second, {busy / links / 20 * 1e4:5.1f} us an update",
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as missing:
        print(f"Nothing was measured: {missing}")
