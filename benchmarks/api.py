"""Requests per second of the HTTP API, beside a bare ASGI callable and the same on stock settings, in one run.

Each server is a daphne process of its own over a SQLite file with 100 breakers; 32 connections are kept busy by one
client process. ``cpu`` is the server's own CPU time a request, which other work moves least: ratios are of that.
Then: how long the acknowledgement of a report and the push of an edit take, at rest and under two floods of reads: of
what is answered from memory on the event loop, and of what takes a thread and the database. Beside each flood stands
what the same flood costs that asks another server: what the machine is short of is no delay by the reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path

import aiohttp

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
from tests.servers import ROOT, ServerProcess, eventually

BREAKERS, CONNECTIONS, SECONDS, WARM = 100, 32, 3.0, 0.5
GOAL = 4.0
APPLICATIONS = {
    "bare": "benchmarks._bare:application",
    "stock": "benchmarks._stock:application",
    "ours": "tradpal_cb.asgi:application",
}
REQUESTS = {
    "list": ("GET", "/circuit-breakers"),
    "state": ("GET", "/circuit-breakers/breaker-7/state"),
    "dashboard": ("GET", "/dashboard"),
    "reset": ("POST", "/circuit-breakers/breaker-7/reset"),
}
FLOODS = {
    "from memory": ["/circuit-breakers", "/circuit-breakers/breaker-7/state", "/dashboard"],
    "in threads": ["/circuit-breakers/breaker-7", "/circuit-breakers/breaker-7/history", "/alerts"],
}
DELAYS, ROUNDS, ROUND = "delays", 3, 4.0
_FILL = f"""
from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
for number in range({BREAKERS}):
    name = f"breaker-{{number}}"
    services.breaker_create(
        name=name, config=CircuitBreakerConfig(name=name), http=HttpConfig(), by=services.Actor("system")
    )
"""
RATE = {"CIRCUIT_BREAKER_KEY_RATE": "1000000", "DJANGO_LOG_LEVEL": "ERROR"}
Figures = tuple[float, float, float, float]
"""Requests a second, p50 and p99 in milliseconds, CPU of the server a request in milliseconds."""


@contextmanager
def serving(folder: Path, application: str) -> Iterator[tuple[ServerProcess, int]]:
    """A filled control plane behind ``application``, and the id of its process."""
    server = ServerProcess(folder, environment=RATE)
    server.prepare()
    server.python(_FILL)
    command = ["-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(server.port), application]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=server.environment, stdin=subprocess.DEVNULL)

    def answers() -> bool:
        with suppress(OSError):
            return server.request("GET", "/circuit-breakers")[0] == 200
        return False

    try:
        eventually(answers, within=40, what=application)
        yield server, process.pid
    finally:
        process.terminate()
        process.wait(20)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one_connection(port: int, raw: bytes, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        begun = time.monotonic()
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(head.decode())
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        took.append(time.monotonic() - begun)
    writer.close()


async def load(port: int, token: str, method: str, path: str, seconds: float) -> list[float]:
    """How long each request took, with every connection busy."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {token}"]
    body = b"{}" if method == "POST" else b""
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    raw, took = "\r\n".join([*lines, "", ""]).encode() + body, list[float]()
    until = time.monotonic() + seconds
    await asyncio.gather(*(one_connection(port, raw, until, took) for _ in range(CONNECTIONS)))
    return took


def measure(server: ServerProcess, pid: int, method: str, path: str) -> Figures:
    asyncio.run(load(server.port, server.token, method, path, WARM))
    cpu, begun = cpu_of(pid), time.monotonic()
    took = sorted(asyncio.run(load(server.port, server.token, method, path, SECONDS)))
    spent, used = time.monotonic() - begun, cpu_of(pid) - cpu
    return len(took) / spent, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3, used / len(took) * 1e3


@asynccontextmanager
async def agent(server: ServerProcess) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A link that has all breakers, past its first reports."""
    header = {"Authorization": f"Bearer {server.token}"}
    url = f"ws://127.0.0.1:{server.port}/ws/agent"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=header, max_msg_size=0) as socket:
        now = time.time()
        names = [f"breaker-{number}" for number in range(BREAKERS)]
        known = tuple(Registration(name, CircuitBreakerConfig(name=name).as_dict()) for name in names)
        hello = Hello(str(uuid.uuid4()), "bench", "host", 1, "0", now, now, registrations=known)
        await socket.send_str(encode(hello))
        yield socket


async def delays(server: ServerProcess, seconds: float) -> tuple[list[float], list[float]]:
    """Of acknowledgements of reports, ten a second; of pushes of edits, two a second."""
    acks, pushes, sent, edited = [], [], dict[int, float](), [0.0]
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
                acks.append(time.monotonic() - sent.pop(heard.id))
            elif isinstance(heard, Desired) and edited[0]:
                pushes.append(time.monotonic() - edited[0])
                edited[0] = 0.0
    return acks, pushes


async def _report(socket: aiohttp.ClientWebSocketResponse, sent: dict[int, float], seconds: float) -> None:
    closed, until, number = CircuitBreakerState.CLOSED, time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        told = [BreakerStatus(f"breaker-{i}", closed, counts=Counts(successes=number)) for i in range(BREAKERS)]
        message = encode(Report(number, time.time(), breakers=tuple(told)))
        sent[number] = time.monotonic()
        await socket.send_str(message)
        await asyncio.sleep(0.1)


async def _edit(server: ServerProcess, edited: list[float], seconds: float) -> None:
    until, number = time.monotonic() + seconds, 0
    header = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=header) as session:
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            number += 1
            edited[0] = time.monotonic()
            url = f"{server.url}/circuit-breakers/breaker-3/config"
            async with session.patch(url, json={"failure_threshold": number}) as answer:
                await answer.read()


@contextmanager
def flood(server: ServerProcess, of: str, seconds: float) -> Iterator[None]:
    """Reads from another process, as fast as they are answered."""
    command = [sys.executable, "-m", "benchmarks.api", "flood", of, str(server.port), server.token, str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.wait(30)


async def flooded(of: str, port: int, token: str, seconds: float) -> None:
    await asyncio.gather(*(load(port, token, "GET", path, seconds) for path in FLOODS[of]))


def said(what: str, took: list[float]) -> str:
    if not took:
        return f"{what} none"
    took = sorted(took)
    p50, p90 = statistics.median(took) * 1e3, took[int(len(took) * 0.9)] * 1e3
    return f"{what} p50 {p50:5.1f}, p90 {p90:5.1f} ms ({len(took)})"


def show_delays(folder: Path) -> None:
    """In rounds, so that what the machine does otherwise is spread over all."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for each in ("watched", "other"):
        (folder / each).mkdir()
    watched, apart = (serving(folder / each, APPLICATIONS["ours"]) for each in ("watched", "other"))
    with watched as (server, _), apart as (other, _):
        floods = [
            (f"flood {of}, of {whose}", of, asked)
            for of in FLOODS
            for whose, asked in (("another server", other), ("this server", server))
        ]
        for what, of, asked in [("at rest", "", server), *floods] * ROUNDS:
            with flood(asked, of, ROUND + 2.0) if of else nullcontext():
                took = asyncio.run(delays(server, ROUND))
            for all_of_it, some in zip(found.setdefault(what, ([], [])), took, strict=True):
                all_of_it += some
    for what, (acks, pushes) in found.items():
        print(f"{what:36s} {said('report acknowledged', acks)}; {said('edit pushed', pushes)}", flush=True)


def main() -> int:
    found: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or [*APPLICATIONS, DELAYS]:
            if name == DELAYS:
                show_delays(Path(folder))
                continue
            application = APPLICATIONS[name]
            Path(folder, name).mkdir()
            with serving(Path(folder, name), application) as (server, pid):
                wanted = {"list": REQUESTS["list"]} if name == "bare" else REQUESTS
                found[name] = {what: measure(server, pid, *request) for what, request in wanted.items()}
                for what, (rate, p50, p99, cpu) in found[name].items():
                    line = f"{rate:7.0f} a second   p50 {p50:6.1f}   p99 {p99:6.1f} ms   cpu {cpu:6.3f} ms"
                    print(f"{name:6s}{what:10s}{line}", flush=True)
    if not found.keys() >= {"stock", "ours"}:
        return 0
    ratios = {what: found["stock"][what][3] / found["ours"][what][3] for what in REQUESTS}
    print("ours against stock, by CPU a request:", ", ".join(f"{what} {ratio:.1f} x" for what, ratio in ratios.items()))
    print(json.dumps({"ratios": {what: round(ratio, 2) for what, ratio in ratios.items()}}))
    return int(min(ratios["list"], ratios["state"]) < GOAL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["flood"]:
        asyncio.run(flooded(sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5])))
        sys.exit()
    sys.exit(main())
