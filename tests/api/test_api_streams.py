"""A stream goes as fast as its reader takes it, and ends when it leaves; by a real daphne."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.servers import ServerProcess, eventually

EVER = "3600"


class Server(ServerProcess):
    @property
    def _command(self) -> list[str]:
        place = ["-b", "127.0.0.1", "-p", str(self.port), "--application-close-timeout", EVER]
        return ["-m", "daphne", *place, "tests.stream_program:application"]


class Stream:
    """One that is read as the test likes."""

    def __init__(self, server: Server, kind: str) -> None:
        self._server, self._name = server, uuid4().hex
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.socket.sendall(f"GET /stream/{kind}/{self._name} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert self.socket.recv(1000).startswith(b"HTTP/1.1 200")

    def _told(self, what: str) -> Any:
        return self._server.request("GET", "/health")[1][what]

    @property
    def whole(self) -> int:
        return int(self._told("whole"))

    @property
    def sent(self) -> int:
        return int(self._told("sent")[self._name])

    @property
    def ended(self) -> bool:
        return self._name in self._told("ended")

    def stands_still(self) -> bool:
        looks = [self.sent for _ in range(5)]
        return looks[0] == looks[-1]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("streams"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["asynchronous", "synchronous"])
def stream(server, request) -> Iterator[Stream]:
    made = Stream(server, request.param)
    yield made
    made.socket.close()


def test_what_nobody_reads_is_not_made(stream):
    eventually(stream.stands_still)
    assert stream.sent < stream.whole / 4
    assert not stream.ended


@pytest.mark.parametrize("path", ["stream/asynchronous/head", "stream/synchronous/head", "long"])
def test_who_asks_for_the_head_alone_gets_no_body_and_nothing_is_made(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("HEAD", f"/{path}")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.request("GET", "/health")  # is answered when the one before is done
    assert "head" not in json.load(connection.getresponse())["sent"]
    connection.close()


def test_what_is_read_comes_whole(stream):
    left = stream.whole
    while left > 0:
        piece = stream.socket.recv(1 << 20)
        assert piece
        left -= len(piece)
    eventually(lambda: stream.ended)
    assert stream.sent == stream.whole


def test_a_stream_whose_reader_leaves_ends(stream):
    stream.socket.close()
    eventually(lambda: stream.ended)
    assert stream.sent < stream.whole
