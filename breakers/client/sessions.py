"""One ``aiohttp.ClientSession`` an event loop, closed with the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import ClientSession, DummyCookieJar

_Holder = AsyncGenerator[ClientSession, None]


async def _hold() -> _Holder:
    """Keeps a session open until it is closed itself: by us, or by the loop, which ends its generators when it ends."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


class LoopSessions:
    """Connections belong to a loop, so each loop gets its own session. Thread-safe: a loop touches its own entry."""

    def __init__(self) -> None:
        self._held: dict[asyncio.AbstractEventLoop, tuple[ClientSession, _Holder]] = {}

    async def current(self) -> ClientSession:
        """The open session of the running loop."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is not None and not held[0].closed:
            return held[0]
        self._forget_ended_loops()
        holder = _hold()
        session = await anext(holder)
        self._held[loop] = session, holder
        return session

    async def close(self) -> None:
        """Closes the session of the running loop, if it has one."""
        held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[1].aclose()

    def _forget_ended_loops(self) -> None:
        for loop in list(self._held):
            if loop.is_closed():
                session, _ = self._held.pop(loop)
                session.detach()  # its loop cannot close it any more; without this it would complain when collected
