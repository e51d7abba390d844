"""The feed of a real server: a reader that does not read costs nothing and gets the last state."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ServerProcess, eventually

BREAKERS, ROUNDS = 600, 40
"""40 snapshots of 600 rows are some 15 MB: no kernel keeps that for a reader that does not read."""
_MANY = f"""
from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
for number in range({BREAKERS}):
    name = f"b{{number}}"
    config = CircuitBreakerConfig(name=name)
    services.breaker_create(name=name, config=config, http=HttpConfig(), group="g" * 100, by=services.Actor("system"))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as server:
        yield server


class RawSocket:
    """A websocket by hand, so that the test says when the kernel's buffer is read."""

    def __init__(self, server: ServerProcess) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        headers = (
            f"GET /ws/feed HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        )
        self._socket.sendall(headers.encode())
        self._stream = self._socket.makefile("rb")
        assert b"101" in self._stream.readline()
        while self._stream.readline() != b"\r\n":
            pass

    def message(self) -> dict[str, Any]:
        """The next text message."""
        while True:
            opcode, length = self._stream.read(2)
            length = int.from_bytes(self._stream.read(2 if length == 126 else 8)) if length > 125 else length
            content = self._stream.read(length)
            if opcode & 15 == 1:
                found: dict[str, Any] = json.loads(content)
                return found

    def ask_for_a_snapshot(self) -> None:
        """Does not wait for it."""
        content = b'{"type":"resync"}'
        self._socket.sendall(bytes([0x81, 0x80 | len(content)]) + bytes(4) + content)

    def snapshot(self) -> list[Any]:
        """The rows of a fresh one."""
        self.ask_for_a_snapshot()
        while (message := self.message())["type"] != "snapshot":
            pass
        rows: list[Any] = message["rows"]
        return rows

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def test_a_reader_that_does_not_read_is_spared_what_it_cannot_take(server: ServerProcess) -> None:
    server.python(_MANY)
    with closing(RawSocket(server)) as slow, closing(RawSocket(server)) as quick:
        eventually(lambda: len(quick.snapshot()) == BREAKERS, what="the server knows them all")
        for _ in range(ROUNDS):
            slow.ask_for_a_snapshot()
            quick.snapshot()
        server.request("POST", "/circuit-breakers", {"name": "newest"})
        slow.ask_for_a_snapshot()

        snapshots, known = 0, set[str]()
        while "newest" not in known:
            message = slow.message()
            snapshots += message["type"] == "snapshot"
            known.update(row["name"] for row in message.get("rows", ()))
        assert snapshots < ROUNDS
