"""Streams go as fast as their reader takes them, and end when it leaves.

daphne's ``send`` never waits: what nobody reads it keeps in memory, all of it, and a stream for a reader that has left
it goes on with for ten seconds. Other servers' ``send`` waits by itself.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

Message = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class PatientSend:
    """``send`` that waits while the connection has no room. A push producer, as Twisted calls that."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._room = asyncio.Event()
        self._room.set()
        self._response = _daphnes(send)
        if self._response is not None:
            self._response.registerProducer(self, True)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.end()  # first: Twisted wants nobody to produce for what is finished
        await self._send(message)
        await self._room.wait()

    def end(self) -> None:
        """Idempotent."""
        response, self._response = self._response, None
        if response is not None and response.channel is not None:  # else the connection is lost
            response.unregisterProducer()
        self._room.set()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._room.clear()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._room.set()

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's name
        self._room.clear()  # for good: the connection is lost, as the next message to be received says


def _daphnes(send: Send) -> Any:
    """The response behind daphne's ``send``; ``None`` under another server, or where its connection is lost already."""
    response = send.args[0] if isinstance(send, functools.partial) and send.args else None
    return response if getattr(response, "channel", None) is not None else None


async def while_read(stream: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Runs ``stream`` to its end, or until who reads it has left."""
    sending, left = asyncio.ensure_future(stream), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((sending, left), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, left):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await sending


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
