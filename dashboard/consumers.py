"""``/ws/feed``: the fleet as it changes, read-only. Plain ASGI: a Channels consumer costs a thread hop a message."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async

from breakers.access import address_of_scope, refused
from breakers.outage import AWAY

from .access import Headers, headers_of, may_read, who_asks
from .gate import watch
from .hub import Reader, Send, hub

RECHECK = 6.0
"""Seconds after which a socket must show again that it may read: sessions end, keys are revoked."""
MOST_STANDING = 1000
SIGNED_OUT = 4401
"""Close code: what opened this socket is no longer good."""
BUSY = 1013
"""Close code: try again later."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

# its own thread a call: the shared one would make a reader wait for every other database user of the process
_admitted = database_sync_to_async(may_read, thread_sensitive=False)
_named = database_sync_to_async(who_asks, thread_sensitive=False)


class Standing:
    """Whether those who were let in still may read. The sockets of one person, or of one key, are one question.

    An answer stands for half of ``RECHECK``: so long and ``RECHECK`` is the most that a socket outlives what opened it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, ...], tuple[float, bool]] = {}

    async def still_admitted(self, headers: Headers) -> bool:
        """What nobody can find out while the database is away stays as it was."""
        who, now = tuple(map(headers.get, _CREDENTIALS)), time.monotonic()
        asked, found = self._known.get(who, (-math.inf, True))
        if now - asked < RECHECK / 2:
            return found
        try:
            found = bool(await _admitted(headers))
        except AWAY:
            return True
        if len(self._known) >= MOST_STANDING:
            self._known.clear()
        self._known[who] = now, found
        return found


_CREDENTIALS = ("authorization", "cookie", "origin", "host")
_standing = Standing()


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
            who = "" if admitted else await _named(self._headers)
        except AWAY:  # no refusal: that would be the end of the page's attempts
            await self._send({"type": "websocket.accept"})
            await self._send({"type": "websocket.close", "code": BUSY})
            return
        if not admitted:
            refused(who=who, what="/ws/feed", where=self._where, why="neither signed in here nor a key to read")
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
        loop = asyncio.get_running_loop()
        recheck_at = loop.time() + RECHECK
        while True:
            if loop.time() >= recheck_at:  # also of one that never stops talking
                if not await _standing.still_admitted(self._headers):
                    await self._send({"type": "websocket.close", "code": SIGNED_OUT})
                    return
                recheck_at = loop.time() + RECHECK
            try:
                async with asyncio.timeout_at(recheck_at):
                    message = await self._receive()
            except TimeoutError:
                continue
            if message["type"] == "websocket.disconnect":
                return
            if _asks_to_resync(message.get("text")):
                reader.stale = True
                hub.poke()


def _asks_to_resync(text: str | None) -> bool:
    if text is None or len(text) > 1000:
        return False
    with suppress(ValueError, RecursionError):
        message = json.loads(text)
        return isinstance(message, dict) and message.get("type") == "resync"
    return False
