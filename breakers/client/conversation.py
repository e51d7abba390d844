"""One connection of a link, from hello to goodbye."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import aiohttp

from breakers.core.sync import Sync
from breakers.core.wire import Desired, Farewell, FromAgent, Goodbye, Welcome, decode_from_server, encode

SILENCE = 15.0
"""Seconds without a message after which the server is taken for dead: each heartbeat is answered, so three are lost."""
LONGEST_HEARTBEAT = 5.0
COALESCE = 0.03
"""Seconds that urgent news waits for company."""
CONFIRM = (0.05, 0.25)
"""Seconds, drawn between these, until what was applied is confirmed: the confirmations of a fleet must not come in the
way of the push that they answer, which others still wait for."""


class Disconnected(Exception):
    """The server ended the conversation, or fell silent. ``code`` is the websocket's close code."""

    def __init__(self, code: int | None, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(code, reason)

    def __str__(self) -> str:
        return self.reason if self.code is None else f"closed with {self.code}: {self.reason or 'no reason given'}"


class Conversation:
    """Speaks for ``sync`` over ``socket`` until the connection breaks or, once ``closing``, all is said and answered.

    ``wake`` is set when there is something to say; ``welcomed`` and ``instructed`` are called after the server's
    welcome and after each desired state that was applied.
    """

    def __init__(
        self,
        sync: Sync,
        socket: aiohttp.ClientWebSocketResponse,
        *,
        wake: asyncio.Event,
        closing: asyncio.Event,
        welcomed: Callable[[], None],
        instructed: Callable[[], None],
    ) -> None:
        self._sync, self._socket, self._wake, self._closing = sync, socket, wake, closing
        self._on_welcome, self._on_desired = welcomed, instructed
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._confirmation: asyncio.TimerHandle | None = None

    async def hold(self) -> None:
        """Returns after the farewell. Raises :class:`Disconnected`, ``WireError`` or a ``ClientError``."""
        await self._send(self._sync.hello())
        tasks = [asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._speak())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if self._confirmation is not None:
                self._confirmation.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, message: FromAgent) -> None:
        await self._socket.send_str(encode(message))

    # --- hearing -------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            message = decode_from_server(await self._hear())
            if isinstance(message, Farewell):
                return
            if message is not None:
                self._sync.receive(message)
            if isinstance(message, Welcome) and not self._welcome.done():
                self._welcome.set_result(message)
                self._on_welcome()
            if isinstance(message, Desired):
                self._on_desired()
                self._confirm_soon()
            elif self._sync.urgent or self._closing.is_set():
                self._wake.set()

    def _confirm_soon(self) -> None:
        if self._confirmation is None:
            wait = random.uniform(*CONFIRM)  # noqa: S311  # no secret
            self._confirmation = asyncio.get_running_loop().call_later(wait, self._confirm)

    def _confirm(self) -> None:
        self._confirmation = None
        self._wake.set()

    async def _hear(self) -> str:
        try:
            async with asyncio.timeout(SILENCE):
                message = await self._socket.receive()
        except TimeoutError:
            raise Disconnected(None, f"the server said nothing for {SILENCE:g} s") from None
        if message.type is aiohttp.WSMsgType.TEXT:
            text: str = message.data
            return text
        if message.type is aiohttp.WSMsgType.CLOSE:
            raise Disconnected(message.data, message.extra or "")
        if message.type is aiohttp.WSMsgType.ERROR:
            raise Disconnected(self._socket.close_code, str(message.data))
        raise Disconnected(self._socket.close_code, "the connection is gone")

    # --- saying --------------------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        welcome = await self._welcome
        heartbeat = min(max(welcome.heartbeat, 0.05), LONGEST_HEARTBEAT)
        interval = min(max(welcome.interval, 0.05), heartbeat)
        self._most = min(max(welcome.max_transitions, 1), 500)
        now = asyncio.get_running_loop().time
        next_whole = next_beat = now()
        while not self._closing.is_set():
            await self._news(until=next_whole)
            whole = now() >= next_whole
            if await self._say(whole=whole, heartbeat=now() >= next_beat):
                next_beat = now() + heartbeat
            if whole:
                next_whole = now() + interval
        await self._take_leave()

    async def _news(self, *, until: float) -> None:
        """Waits for something urgent, and a moment more for its company; not past ``until``, by the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            return
        if not self._closing.is_set():
            await asyncio.sleep(COALESCE)
        self._wake.clear()

    async def _say(self, *, whole: bool, heartbeat: bool) -> bool:
        """Reports all there is to report. True if that was anything."""
        said = False
        while report := self._sync.report(whole=whole, heartbeat=heartbeat, transitions=self._most):
            await self._send(report)
            said, whole, heartbeat = True, False, False
        return said

    async def _take_leave(self) -> None:
        await self._say(whole=True, heartbeat=True)
        while len(self._sync.outbox):  # each acknowledgement lets more of it go
            await self._wake.wait()
            self._wake.clear()
            await self._say(whole=False, heartbeat=False)
        await self._send(Goodbye())
        await asyncio.Event().wait()  # the farewell ends the conversation
