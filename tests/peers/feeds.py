"""A reader of the feed in a thread of its own, who keeps rows as a page does."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any, Self

import aiohttp

from tests.servers import ServerProcess, eventually


class Reader:
    """``rows`` is what follows from all messages since the first snapshot; ``transitions`` what was told, a breaker;
    ``without`` what the server last said that it does without."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.rows: dict[str, Any] = {}
        self.before_resync: dict[str, Any] | None = None
        self.transitions: Counter[str] = Counter()
        self.without: list[str] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._read(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.rows, what="the first snapshot")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        self._loop.close()

    def resync(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The rows as they followed from messages, and those of the fresh snapshot that was asked for."""
        self.before_resync = None
        asyncio.run_coroutine_threadsafe(self._socket.send_str('{"type": "resync"}'), self._loop).result(10)
        before = eventually(lambda: self.before_resync, what="a fresh snapshot")
        return before, dict(self.rows)

    async def _read(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        headers = {"Authorization": f"Bearer {self._server.token}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.ws_connect(f"{self._server.url}/ws/feed", max_msg_size=0) as self._socket,
            ):
                async for message in self._socket:
                    self._take(message.json())
        except asyncio.CancelledError:
            return

    def _take(self, message: dict[str, Any]) -> None:
        self.without = message.get("without", self.without)
        if message["type"] == "snapshot":
            self.before_resync = self.rows
            self.rows = {row["name"]: row for row in message["rows"]}
        elif message["type"] == "update":
            changed = {row["name"]: row for row in message["rows"]}
            self.rows = {name: row for name, row in {**self.rows, **changed}.items() if name not in message["removed"]}
        elif message["kind"] == "transition":
            self.transitions[message["name"]] += 1
