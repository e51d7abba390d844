"""Requests per second of the HTTP API, beside a bare ASGI callable and the same on stock settings, in one run.

Each server is a daphne process of its own over a SQLite file with 100 breakers; 32 connections are kept busy by one
client process. ``cpu`` is the server's own CPU time a request, which other work moves least: ratios are of that.
What reads cost those who must not wait is in ``benchmarks.delays``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
_FILL = """
from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
for number in range(%d):
    name = f"breaker-{number}"
    services.breaker_create(
        name=name, config=CircuitBreakerConfig(name=name), http=HttpConfig(), by=services.Actor("system")
    )
"""
RATE = {"CIRCUIT_BREAKER_KEY_RATE": "1000000", "DJANGO_LOG_LEVEL": "ERROR"}
Figures = tuple[float, float, float, float]
"""Requests a second, p50 and p99 in milliseconds, CPU of the server a request in milliseconds."""


@contextmanager
def serving(folder: Path, application: str, breakers: int = BREAKERS) -> Iterator[tuple[ServerProcess, int]]:
    """A control plane with so many breakers behind ``application``, and the id of its process."""
    server = ServerProcess(folder, environment=RATE)
    server.prepare()
    server.python(_FILL % breakers)
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


def main() -> int:
    found: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or APPLICATIONS:
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
    sys.exit(main())
