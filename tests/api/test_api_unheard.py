"""What is no HTTP, or too much of it, is refused in the one shape too: by daphne, before it is a request."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from twisted.internet.testing import StringTransport

from tests.servers import ServerProcess
from tradpal_cb import unheard


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("unheard")) as running:
        yield running


def answer_to(server: ServerProcess, *request: bytes) -> tuple[int, dict[str, str], dict[str, object]]:
    """Status, headers and error of what comes back until the server closes the connection, or has said all."""
    head = b"\r\n".join((*request, b"", b""))
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        connection.sendall(head)
        reader = stack.enter_context(connection.makefile("rb"))
        status = int(reader.readline().split()[1])
        lines = iter(lambda: reader.readline().strip(), b"")
        headers = {
            name.decode().lower(): value.decode() for name, _, value in (line.partition(b": ") for line in lines)
        }
        error = json.loads(reader.read(int(headers["content-length"])))["error"]
        assert set(error) == {"code", "message", "fields"}
        if headers.get("connection") == "close":
            assert reader.read() == b""
    return status, headers, error


HOST = b"Host: localhost"
KNOWN = (b"POST /circuit-breakers HTTP/1.1", HOST)


@pytest.mark.parametrize(
    "request_",
    [
        (b"\x16\x03\x01\x02\x00",),
        (b"GET /health",),
        (b"GET /health HTTP/9.9", HOST),
        (b"GET /a b HTTP/1.1", HOST),
        (b"GET /\xff\xfe HTTP/1.1", HOST),
        (b"GET /health HTTP/1.1", HOST, b"no colon"),
        (b"GET /health HTTP/1.1", HOST, b"X: a\x00b"),
        (*KNOWN, b"Content-Length: -5"),
        (*KNOWN, b"Content-Length: 2", b"Content-Length: 3"),
        (*KNOWN, b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (*KNOWN, b"Transfer-Encoding: gzip"),
    ],
)
def test_what_is_no_http_is_told_so_and_let_go(server: ServerProcess, request_: tuple[bytes, ...]):
    status, headers, error = answer_to(server, *request_)
    assert (status, error["code"], error["fields"]) == (400, "bad_request", {})
    assert (headers["content-type"], headers["connection"]) == ("application/json", "close")


def test_a_form_in_broken_parts_is_judged_as_any_other_body(server: ServerProcess):
    parts = b"Content-Type: multipart/form-data; boundary=x"
    key = b"Authorization: Bearer " + server.token.encode()
    status, _, error = answer_to(server, *KNOWN, key, parts, b"Content-Length: 0")
    assert status == 400, "no name"
    status, _, error = answer_to(server, *KNOWN, key, parts, b"Content-Length: 2", b"", b"{}")
    assert (status, error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("line", [b"GET /" + 20_000 * b"a", b"GET / HTTP/1.1\r\nX: " + 20_000 * b"a"])
def test_a_line_without_end_is_answered_before_the_connection_is_closed(line: bytes):
    channel, transport = unheard.Channel(), StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(line)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["error"]["code"] == "too_large"
    assert transport.disconnecting
