"""How long the acknowledgement of a report and the push of an edit take, amid reads. All in milliseconds.

``flood``: at rest and under two floods of reads, of what is answered from memory on the event loop, and of what takes a
thread and the database. Beside each flood stands what the same flood costs that asks another server: what the machine
is short of is no delay by the reads. Two servers of 100 breakers; situations take turns, so that what the machine does
otherwise is spread over all of them, and what is shown are medians over the rounds.

``kinds``: amid each kind of read, by itself, on a server of 1,000 breakers that ten services report of: what holds the
loop, the interpreter or the fleet's lock for long shows in the last columns.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.api import APPLICATIONS, BREAKERS, CONNECTIONS, load, serving
from breakers.core.config import CircuitBreakerConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import (
    Ack,
    BreakerStatus,
    Counts,
    Desired,
    Hello,
    Registration,
    Report,
    decode_from_server,
    encode,
)
from tests.servers import ROOT, ServerProcess

FLOODS = {
    "memory": ["/circuit-breakers", "/circuit-breakers/breaker-7/state", "/dashboard"],
    "threads": ["/circuit-breakers/breaker-7", "/circuit-breakers/breaker-7/history", "/alerts"],
}
KINDS = {
    "state": "/circuit-breakers/breaker-7/state",
    "list of 100": "/circuit-breakers",
    "list of 1,000": "/circuit-breakers?page_size=1000",
    "list, searched": "/circuit-breakers?search=breaker-7&ordering=-failure_rate",
    "dashboard of 1,000": "/dashboard",
    "page of 1,000": "/dashboard?html",
    "one breaker": "/circuit-breakers/breaker-7",
    "page of a breaker": "/dashboard/breakers/breaker-7?html",
    "history": "/circuit-breakers/breaker-7/history?page_size=1000",
    "changes": "/circuit-breakers/breaker-7/changes?page_size=1000",
    "export of history": "/history.csv",
    "export of changes": "/changes.json",
    "configs as YAML": "/configs",
    "alerts": "/alerts",
    "metrics": "/metrics",
    "OpenAPI": "/schema",
}
READERS = 4
ROUNDS, ROUND, KIND = 4, 2.5, 2.5
REPORTS, EDITS = 0.04, 0.2
"""Seconds between two."""


@dataclass
class Took:
    """Seconds."""

    acks: list[float] = field(default_factory=list)
    pushes: list[float] = field(default_factory=list)


@asynccontextmanager
async def agent(server: ServerProcess, first: int = 0) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A link that has a hundred breakers."""
    header = {"Authorization": f"Bearer {server.token}"}
    url = f"ws://127.0.0.1:{server.port}/ws/agent"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=header, max_msg_size=0) as socket:
        now = time.time()
        names = [f"breaker-{first + number}" for number in range(BREAKERS)]
        known = tuple(Registration(name, CircuitBreakerConfig(name=name).as_dict()) for name in names)
        hello = Hello(str(uuid.uuid4()), f"bench-{first}", "host", 1, "0", now, now, registrations=known)
        await socket.send_str(encode(hello))
        yield socket


def report(number: int, first: int = 0, revision: int = 0) -> str:
    closed, counts = CircuitBreakerState.CLOSED, Counts(successes=number)
    told = [BreakerStatus(f"breaker-{first + i}", closed, counts=counts) for i in range(BREAKERS)]
    return encode(Report(number, time.time(), revision, tuple(told)))


async def measured(server: ServerProcess, seconds: float) -> Took:
    """Of acknowledgements of reports of 100 breakers, and of pushes of edits."""
    took, sent, edited = Took(), dict[int, float](), [0.0]
    async with agent(server) as socket, asyncio.TaskGroup() as group:
        group.create_task(_report(socket, sent, seconds))
        group.create_task(_edit(server, edited, seconds))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                heard = decode_from_server((await socket.receive(timeout=0.2)).data)
            except TimeoutError:
                continue
            if isinstance(heard, Ack) and heard.id in sent:
                took.acks.append(time.monotonic() - sent.pop(heard.id))
            elif isinstance(heard, Desired) and edited[0]:
                took.pushes.append(time.monotonic() - edited[0])
                edited[0] = 0.0
    return took


async def _report(socket: aiohttp.ClientWebSocketResponse, sent: dict[int, float], seconds: float) -> None:
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        message = report(number)
        sent[number] = time.monotonic()
        await socket.send_str(message)
        await asyncio.sleep(REPORTS)


async def _edit(server: ServerProcess, edited: list[float], seconds: float) -> None:
    until, number = time.monotonic() + seconds, 0
    header = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=header) as session:
        while time.monotonic() < until:
            await asyncio.sleep(EDITS)
            number += 1
            edited[0] = time.monotonic()
            url = f"{server.url}/circuit-breakers/breaker-3/config"
            async with session.patch(url, json={"failure_threshold": int(time.time()) + number}) as answer:
                await answer.read()


@contextmanager
def beside(*arguments: object) -> Iterator[None]:
    """Another process of this program, from when it says that it is at work."""
    command = [sys.executable, "-m", "benchmarks.delays", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def _say(what: str) -> None:
    print(what, flush=True)


async def flooded(paths: Sequence[str], port: int, token: str) -> None:
    """Reads over 32 connections each, as fast as they are answered, until it is ended."""
    asyncio.get_running_loop().call_later(0.3, _say, "flooding")
    await asyncio.gather(*(load(port, token, "GET", path, 3600.0) for path in paths))


async def read(path: str, port: int, token: str) -> None:
    """The same of whatever is streamed, too, over a few connections."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Accept": "text/html"} if path.endswith("?html") else {})
    async with aiohttp.ClientSession(headers=headers) as session:

        async def again() -> None:
            while True:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    answer.raise_for_status()
                    await answer.read()

        asyncio.get_running_loop().call_later(0.5, _say, "reading")
        await asyncio.gather(*(again() for _ in range(READERS)))


async def reported(port: int, token: str) -> None:
    """Nine services beside the one that is measured, that report a hundred breakers each second."""
    server = ServerProcess(Path())
    server.port, server.token = port, token

    async def one(first: int) -> None:
        async with agent(server, first) as socket:
            heard = [0]
            listening = asyncio.create_task(_listen(socket, heard))
            for number in range(1, 10_000):
                await socket.send_str(report(number, first, heard[0]))
                await asyncio.sleep(1.0)
            listening.cancel()

    asyncio.get_running_loop().call_later(1.0, _say, "reporting")
    await asyncio.gather(*(one(BREAKERS * number) for number in range(1, 10)))


async def _listen(socket: aiohttp.ClientWebSocketResponse, heard: list[int]) -> None:
    """Up to which revision it has heard: who confirms nothing is sent away after a minute."""
    async for message in socket:
        told = decode_from_server(message.data)
        if isinstance(told, Desired):
            heard[0] = max(heard[0], told.revision)


def percentiles(rounds: Sequence[list[float]]) -> str:
    """Medians over the rounds of p50, p90 and p99, and how many there were in all."""
    kept = [sorted(each) for each in rounds if each]
    if not kept:
        return "none"
    at = {share: statistics.median(each[int(len(each) * share)] for each in kept) for share in (0.5, 0.9, 0.99)}
    return " / ".join(f"{seconds * 1e3:5.1f}" for seconds in at.values()) + f"  ({sum(map(len, kept))})"


def show(found: dict[str, list[Took]]) -> None:
    for what, rounds in found.items():
        acks, pushes = percentiles([took.acks for took in rounds]), percentiles([took.pushes for took in rounds])
        print(f"{what:32s} acknowledged {acks}   pushed {pushes}", flush=True)


def show_flood(folder: Path) -> None:
    print(f"p50 / p90 / p99, medians of {ROUNDS} rounds; {3 * CONNECTIONS} connections")
    found: dict[str, list[Took]] = {}
    for each in ("watched", "other"):
        (folder / each).mkdir()
    watched, apart = (serving(folder / each, APPLICATIONS["ours"]) for each in ("watched", "other"))
    with watched as (server, _), apart as (other, _):
        floods = [
            (f"{of}, of {whose}", of, asked)
            for of in FLOODS
            for whose, asked in (("another server", other), ("this server", server))
        ]
        for what, of, asked in [("at rest", "", server), *floods] * ROUNDS:
            with beside("flooding", asked.port, asked.token, *FLOODS[of]) if of else nullcontext():
                found.setdefault(what, []).append(asyncio.run(measured(server, ROUND)))
    show(found)


def show_kinds(folder: Path) -> None:
    print(f"p50 / p90 / p99; {READERS} readers, 1,000 breakers, a report of each a second")
    with serving(folder, APPLICATIONS["ours"], 1000) as (server, _), beside("reported", server.port, server.token):
        asyncio.run(measured(server, 1.0))
        show({"at rest": [asyncio.run(measured(server, KIND))]})
        for what, path in KINDS.items():
            with beside("reading", server.port, server.token, path):
                took = asyncio.run(measured(server, KIND))
            show({what: [took]})


def main() -> None:
    match sys.argv[1:]:
        case ["flooding", port, token, *paths]:
            asyncio.run(flooded(paths, int(port), token))
        case ["reading", port, token, path]:
            asyncio.run(read(path, int(port), token))
        case ["reported", port, token]:
            asyncio.run(reported(int(port), token))
        case wanted:
            for what in wanted or ["flood", "kinds"]:
                with tempfile.TemporaryDirectory() as folder:
                    {"flood": show_flood, "kinds": show_kinds}[what](Path(folder))


if __name__ == "__main__":
    main()
