"""Puts a text on a websocket at once, where nothing waits before it.

daphne's way leads through four layers and then once more round the event loop until the bytes leave. Here the frame is
made, and handed to the operating system.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.tcp import Connection

_TEXT: Final = 0x81
"""First byte of a text in one piece."""


def put(protocol: Any, text: str) -> bool:
    """Whether ``text`` is on its way over daphne's ``protocol``; False: take the long way, which knows why not."""
    if protocol is None or not _is_clear(protocol):
        return False
    frame = framed(text.encode())
    sent = protocol.transport.writeSomeData(frame)
    if isinstance(sent, Exception):
        sent = 0  # it is lost, as its transport finds out when it tries
    if sent < len(frame):
        protocol.transport.write(frame[sent:])
    return True


def framed(payload: bytes) -> bytes:
    """One frame, as servers send it: without a mask."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", _TEXT, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", _TEXT, 126, length) + payload
    return struct.pack("!BBQ", _TEXT, 127, length) + payload


def _is_clear(protocol: Any) -> bool:
    """Open, over bare TCP, uncompressed, and with nothing left to send: else the order of bytes is others' affair."""
    transport = protocol.transport
    return (
        isinstance(transport, Connection)
        and protocol.state == WebSocketProtocol.STATE_OPEN
        and protocol._perMessageCompress is None
        and not (transport.TLS or transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer)
        and not protocol.send_queue
    )
