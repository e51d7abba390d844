"""``/ws/feed``: the fleet as it changes, read-only. Plain ASGI: a Channels consumer costs a thread hop a message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async

from breakers.access import address_of_scope, refused
from breakers.outage import AWAY

from .access import headers_of, may_read
from .gate import watch
from .hub import Reader, Send, hub

RECHECK = 60.0
"""Seconds after which a socket must show again that it may read: sessions end, keys are revoked."""
SIGNED_OUT = 4401
"""Close code: what opened this socket is no longer good."""
BUSY = 1013
"""Close code: try again later."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

# its own thread a call: the shared one would make a reader wait for every other database user of the process
_admitted = database_sync_to_async(may_read, thread_sensitive=False)


class FeedConsumer:
    """One reader of the feed, from handshake to close."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._headers = headers_of(scope["headers"])
        self._where = address_of_scope(scope)
        self._receive = receive
        self._send = send

    @classmethod
    def as_asgi(cls) -> Application:
        """The ASGI application, as Channels' routing expects it."""

        async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).serve()

        return application

    async def serve(self) -> None:
        """Refuse before the handshake, or feed until the socket closes."""
        await self._receive()  # websocket.connect
        try:
            admitted = await _admitted(self._headers)
        except AWAY:  # no refusal: that would be the end of the page's attempts
            await self._send({"type": "websocket.accept"})
            await self._send({"type": "websocket.close", "code": BUSY})
            return
        if not admitted:
            refused(who="a reader", what="/ws/feed", where=self._where, why="neither signed in here nor a key to read")
            await self._send({"type": "websocket.close", "code": SIGNED_OUT})
            return
        await self._send({"type": "websocket.accept"})
        reader = Reader(self._send, watch(self._send, hub.poke))
        pump = asyncio.create_task(reader.pump())
        hub.join(reader)
        try:
            await self._listen(reader)
        finally:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump
            await hub.leave(reader)

    async def _listen(self, reader: Reader) -> None:
        while True:
            try:
                async with asyncio.timeout(RECHECK):
                    message = await self._receive()
            except TimeoutError:
                if not await self._still_admitted():
                    await self._send({"type": "websocket.close", "code": SIGNED_OUT})
                    return
                continue
            if message["type"] == "websocket.disconnect":
                return
            if _asks_to_resync(message.get("text")):
                reader.stale = True
                hub.poke()

    async def _still_admitted(self) -> bool:
        """What nobody can find out while the database is away stays as it was."""
        try:
            return bool(await _admitted(self._headers))
        except AWAY:
            return True


def _asks_to_resync(text: str | None) -> bool:
    if text is None or len(text) > 1000:
        return False
    with suppress(ValueError, RecursionError):
        message = json.loads(text)
        return isinstance(message, dict) and message.get("type") == "resync"
    return False
