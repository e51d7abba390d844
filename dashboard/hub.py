"""One hub a process: it asks the fleet what changed, serialises once, and hands the same text to every reader."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from prometheus_client import Counter

from breakers.api.health import without
from breakers.api.memory import with_rows
from breakers.fleet import fleet

from .gate import Gate

logger = logging.getLogger(__name__)

PERIOD = 0.2
"""Seconds between two updates, at the least."""
HEARTBEAT = 1.0
"""Seconds between two updates, at the most: an empty one says how old the picture is."""
EVENTS = 3000
"""Events kept between two ticks; the oldest go first, the history has them all."""
BACKLOG = EVENTS + 500
"""Frames that wait for one reader; a slower one gets a fresh snapshot in their place. A tick can bring all its events
at once, and whoever has just been sent them is not slow."""
AT_ONCE = 20
"""Frames that are written before the event loop does something else in between: sending may not wait for anything."""
PATIENCE = 30.0
"""Seconds for which a socket may take nothing of what it was sent. Daphne drops those that answer no ping somewhat
later and without a word; and not at all those that still talk."""
DEAF = 4408
"""Close code: it took nothing for that long."""

_DEAF_READERS = Counter("control_plane_deaf_readers_total", "Sockets of the feed that were closed: they took nothing.")

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Reader:
    """What one socket has still to be sent. ``stale``: it needs a snapshot before any update makes sense to it."""

    def __init__(self, send: Send, gate: Gate) -> None:
        self.stale = True
        self.gate = gate
        self._send = send
        self._frames: deque[str] = deque()
        self._wake = asyncio.Event()
        self._given_up = False

    def offer(self, *frames: str) -> None:
        """Queue them for a reader that keeps up; one that does not forgets all and waits for a snapshot."""
        if self.gate.closed or len(self._frames) + len(frames) > BACKLOG:
            self._frames.clear()
            self.stale = True
        elif frames and not self.stale:
            self._frames.extend(frames)
            self._wake.set()

    def refresh(self, snapshot: str) -> None:
        """Begin anew from ``snapshot``: what was queued is older."""
        self._frames.clear()
        self.stale = False
        self.offer(snapshot)

    def check(self) -> None:
        """Give up on a socket that takes nothing: what it was sent last stays in memory for as long as it is there."""
        if self.gate.closed_for >= PATIENCE and not self._given_up:
            self._given_up = True
            self._wake.set()
            _DEAF_READERS.inc()

    async def pump(self) -> None:
        """Write until cancelled or given up. One task a reader, so that none waits for another."""
        while not self._given_up:
            await self._wake.wait()
            self._wake.clear()
            for sent in count(1):
                if not self._frames:
                    break
                await self._send({"type": "websocket.send", "text": self._frames.popleft()})
                if not sent % AT_ONCE:
                    await asyncio.sleep(0)
        await self._send({"type": "websocket.close", "code": DEAF})


@dataclass(frozen=True, slots=True)
class Batch:
    """What one tick sends: the changes, the events since the last, and a snapshot where somebody needs one."""

    update: str | None
    events: tuple[str, ...]
    snapshot: str | None


class Hub:
    """Fans the fleet out. Runs as a task of the event loop while it has readers; the fleet may call from any thread."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._events: deque[Mapping[str, Any]] = deque(maxlen=EVENTS)
        self._version = 0
        self._last_sent = 0.0
        self._poked = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def join(self, reader: Reader) -> None:
        """Its snapshot comes with the next tick, at most ``PERIOD`` from now."""
        self._readers.add(reader)
        if self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._wake = asyncio.Event()
            self._task = self._loop.create_task(self._run())
        self._wake.set()

    async def leave(self, reader: Reader) -> None:
        """The last one out stops the hub."""
        self._readers.discard(reader)
        if not self._readers and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def poke(self) -> None:
        """Something changed: look soon. From any thread; cheap when it was said already."""
        loop = self._loop
        if self._poked or loop is None:
            return
        self._poked = True
        with suppress(RuntimeError):  # the loop closed between the two lines
            loop.call_soon_threadsafe(self._wake.set)

    def note(self, event: Mapping[str, Any]) -> None:
        """An event of the fleet, from any thread."""
        self._events.append(event)
        self.poke()

    async def _run(self) -> None:
        self._version = await asyncio.to_thread(lambda: fleet.version)
        self._events.clear()
        self._poked = False
        leave_fleet, leave_events = fleet.subscribe(self.poke), fleet.on_event(self.note)
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await self._wake.wait()
                self._wake.clear()
                self._poked = False
                await self._tick()
                await asyncio.sleep(PERIOD)
        finally:
            leave_fleet()
            leave_events()
            self._loop = None

    async def _tick(self) -> None:
        """Collect in a thread, so that a thousand rows never hold up the loop; then hand out."""
        for reader in self._readers:
            reader.check()
        waiting = [reader for reader in self._readers if reader.stale and not reader.gate.closed]
        try:
            batch = await asyncio.to_thread(self._collect, bool(waiting))
        except Exception:
            logger.exception("The feed skipped a beat")
            return
        for reader in waiting:
            reader.refresh(batch.snapshot or "")
        current = self._readers.difference(waiting)
        frames = (*filter(None, (batch.update,)), *batch.events)
        for reader in current:
            reader.offer(*frames)

    def _collect(self, with_snapshot: bool) -> Batch:
        """Read the fleet once. A snapshot is read after the changes, so that it is never older than they are."""
        self._version, changed, removed = fleet.changed_since(self._version)
        events = tuple(_text(self._events.popleft()) for _ in range(len(self._events)))
        rows = [row for row in map(fleet.row, changed) if row is not None]
        now = datetime.now(UTC)
        update = None
        if rows or removed or now.timestamp() - self._last_sent >= HEARTBEAT:
            self._last_sent = now.timestamp()
            update = with_rows({"type": "update", "removed": list(removed), **_circumstances(now)}, "rows", rows)
        snapshot = None
        if with_snapshot:
            snapshot = with_rows({"type": "snapshot", **_circumstances(now)}, "rows", fleet.rows())
        return Batch(update, events, snapshot)


def _circumstances(now: datetime) -> dict[str, Any]:
    return {"summary": fleet.summary(), "server_time": now.isoformat(), "without": without()}


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


hub = Hub()
