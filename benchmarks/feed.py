"""500 browsers' sockets over 1,000 breakers in a storm of changes, beside a bare broadcast of the same bytes.

The server is ``manage.py serve`` over a played fleet. Everything shares this machine, so compare ratios; what a message
costs the processor is all of the server's work between two messages: deriving the rows, encoding them once, sending.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.servers import ServerProcess

BREAKERS, CHANGED = 1000, 50
ROUNDS = 20
STORM = 20.0
PING, PONG = 0x89, 0x8A
TICK = os.sysconf("SC_CLK_TCK")


class Server(ServerProcess):
    """With the benchmark's doors. Reading is public, so that sockets need no key."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, environment={"CIRCUIT_BREAKER_PUBLIC_READ": "1"})

    def start(self, within: float = 180.0) -> None:
        """A thousand breakers take their time to make."""
        super().start(within=within)

    @property
    def _command(self) -> list[str]:
        return ["-m", "benchmarks._feed_server", str(self.port), str(BREAKERS)]

    def knock(self, door: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/bench/{door}", timeout=20) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def cpu(self) -> float:
        """Seconds of processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self) -> float:
        """Resident, in MB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def handshake(port: int) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        *("GET /ws/feed HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"),
        *(f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""),
    ]
    return "\r\n".join(lines).encode()


class Reader(asyncio.Protocol):
    """A browser's socket that notes when it had the last byte of each large message; a bare one costs too much here."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = bytearray()
        self._open = False
        self._transport: Any = None
        self.large: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(handshake(self._port))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._open = True
            del self._buffer[: end + 4]
        while self._open and self._frame():
            pass

    def _frame(self) -> bool:
        """Takes one whole frame out."""
        buffer = self._buffer
        if len(buffer) < 10:
            return False
        length, begins = buffer[1], 2
        if length > 125:
            begins = 4 if length == 126 else 10
            length = int.from_bytes(buffer[2:begins])
        if len(buffer) < begins + length:
            return False
        if length > 4096:
            self.large.append(time.monotonic())
        if buffer[0] == PING:
            self._transport.write(bytes((PONG, 0x80 | length, 0, 0, 0, 0)) + buffer[begins : begins + length])
        del buffer[: begins + length]
        return True


async def until_all(readers: list[Reader], count: int) -> list[float]:
    """When each had its large message number ``count``."""
    deadline = time.monotonic() + 30
    while any(len(reader.large) < count for reader in readers):
        assert time.monotonic() < deadline, f"{sum(len(r.large) < count for r in readers)} sockets never heard"
        await asyncio.sleep(0.005)
    return [reader.large[count - 1] for reader in readers]


async def measured(server: Server, sockets: int) -> None:
    loop = asyncio.get_running_loop()
    empty, began = server.memory(), time.monotonic()
    readers = [
        (await loop.create_connection(lambda: Reader(server.port), "127.0.0.1", server.port))[1] for _ in range(sockets)
    ]
    await until_all(readers, 1)
    line(f"{sockets} sockets with a snapshot of {BREAKERS} rows each", time.monotonic() - began, "s")
    await asyncio.sleep(2)
    line("memory a socket in the server", 1e3 * (server.memory() - empty) / sockets, "KB")
    heard: dict[str, list[float]] = {"feed": [], "bare": [], "whole": []}
    cost: dict[str, list[float]] = {"feed": [], "bare": []}
    size, number = 0, 1
    for _ in range(ROUNDS):
        for way in ("feed", "bare"):
            number += 1
            before = server.cpu()
            door = f"change?rows={CHANGED}" if way == "feed" else "broadcast"
            told = await asyncio.to_thread(server.knock, door)
            stamps = await until_all(readers, number)
            sent = await asyncio.to_thread(server.knock, "sent")
            size = sent["bytes"]
            heard[way].append(1e3 * (max(stamps) - sent["first"]))
            cost[way].append(1e6 * (server.cpu() - before) / sockets)
            if way == "feed":
                heard["whole"].append(1e3 * (max(stamps) - told["began"]))
            await asyncio.sleep(0.25)
    feed, bare = statistics.median(heard["feed"]), statistics.median(heard["bare"])
    line(f"an update of {CHANGED} rows", size / 1e3, "kB")
    line("feed: first socket to last, median", feed, "ms")
    line("bare broadcast of the same bytes, median", bare, "ms")
    line("feed beside the bare broadcast", feed / bare, "x", "goal: at most 1.5")
    line("change to the last socket, the pace of 5 a second included", statistics.median(heard["whole"]), "ms")
    for way in ("feed", "bare"):
        line(f"{way}: processor a message and socket", statistics.mean(cost[way]), "us")


async def storm(server: Server, seconds: float) -> float:
    """MB of memory that a storm adds, of 200 rows five times a second."""
    before, ends = server.memory(), time.monotonic() + seconds
    while time.monotonic() < ends:
        await asyncio.to_thread(server.knock, "change?rows=200")
        await asyncio.sleep(0.2)
    return server.memory() - before


async def deaf(server: Server) -> None:
    """One who reads all along; then beside them one who never does."""
    await asyncio.get_running_loop().create_connection(lambda: Reader(server.port), "127.0.0.1", server.port)
    await storm(server, 10.0)  # what any reader and any storm cost once
    line(f"memory that {STORM:.0f} s of storm add while everybody reads", await storm(server, STORM), "MB")
    with closing(socket.socket()) as never:
        never.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        never.connect(("127.0.0.1", server.port))
        never.sendall(handshake(server.port))
        line("what a reader that never reads costs at once: its snapshot", await storm(server, 3.0), "MB")
        line(f"memory that {STORM:.0f} s of storm add to that", await storm(server, STORM), "MB", "goal: none")


def line(what: str, value: float, unit: str, goal: str = "") -> None:
    print(f"{what:62}{value:10.1f} {unit:6}{goal}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=500)
    sockets = parser.parse_args().sockets
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        asyncio.run(measured(server, sockets))
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        asyncio.run(deaf(server))


if __name__ == "__main__":
    main()
