"""Texts go straight to the socket, and never before what waits there already."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Connection

from breakers.agents.outlet import framed, put

MORE_THAN_A_SOCKET_TAKES = "x" * (16 << 20)


class Way:
    """A websocket of daphne's, as far as sending goes, and the other end of its connection."""

    def __init__(self):
        ours, self.far = socket.socketpair()
        self.reactor = SelectReactor()
        self.transport = Connection(ours, None, self.reactor)
        self.transport.connected = True
        self.protocol = SimpleNamespace(
            transport=self.transport, state=WebSocketProtocol.STATE_OPEN, send_queue=[], _perMessageCompress=None
        )

    def heard(self, length):
        """What arrives at the far end, while the reactor sends what waits."""
        self.far.setblocking(False)
        got = bytearray()
        while len(got) < length:
            self.reactor.iterate(0)
            try:
                got += self.far.recv(1 << 20)
            except BlockingIOError:
                continue
        return bytes(got)


@pytest.fixture
def way():
    made = Way()
    yield made
    made.reactor.removeAll()
    made.transport.socket.close()
    made.far.close()


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "81 00"),
        (125, "81 7d"),
        (126, "81 7e 00 7e"),
        (65535, "81 7e ff ff"),
        (65536, "81 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_a_text_is_on_its_way_at_once_in_one_frame(way, length, head):
    assert put(way.protocol, "x" * length)
    wanted = bytes.fromhex(head) + b"x" * length
    assert way.far.recv(len(wanted), socket.MSG_WAITALL) == wanted


def test_what_a_socket_does_not_take_waits_and_nothing_goes_before_it(way):
    assert put(way.protocol, MORE_THAN_A_SOCKET_TAKES)
    assert not put(way.protocol, "next")  # the long way queues it behind
    way.transport.write(framed(b"next"))
    wanted = framed(MORE_THAN_A_SOCKET_TAKES.encode()) + framed(b"next")
    assert way.heard(len(wanted)) == wanted
    assert put(way.protocol, "at once again")


def test_who_has_gone_is_found_out_by_the_transport(way):
    way.far.close()
    assert put(way.protocol, "hello?")
    assert way.transport._tempDataBuffer == [framed(b"hello?")]


@pytest.mark.parametrize(
    "hindrance",
    [
        {"state": WebSocketProtocol.STATE_CLOSING},
        {"send_queue": [b"first"]},
        {"_perMessageCompress": object()},
        {"transport": object()},  # TLS, say
    ],
)
def test_whatever_is_in_the_way_is_left_to_those_who_know_it(way, hindrance):
    way.protocol.__dict__.update(hindrance)
    assert not put(way.protocol, "x")


@pytest.mark.parametrize("hindrance", ["TLS", "disconnecting", "dataBuffer", "_tempDataBuffer"])
def test_a_transport_that_is_not_bare_and_idle_is_left_alone(way, hindrance):
    setattr(way.transport, hindrance, [b"x"])
    assert not put(way.protocol, "x")


def test_under_another_server_there_is_no_such_way():
    assert not put(None, "x")
