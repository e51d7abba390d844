"""Every linked agent of this process: who it is, what it was told, and what it has confirmed.

One hub a process encodes what changed once and writes the same text to each socket that it concerns. The sockets live
on event loops, usually one; the hub may be told of changes from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import UUID

from breakers import selectors
from breakers.core.wire import Desired, ResetCommand
from breakers.fleet import fleet
from breakers.models import InstanceIdentity
from breakers.precedence import precedence, written

from . import messages
from .codes import LAGGING, REVOKED, SUPERSEDED, CloseCode

logger = logging.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds after which an agent that has not confirmed what it was told is told again."""
FEW: Final = 10
"""Writes of which everybody hears all whom one of them concerns: one text for all costs less than many."""
TURN: Final = 0.01
"""Seconds of a push of more than that, until the event loop does something else in between."""
LONGEST_LAG: Final = 60.0
"""Seconds after which an agent that confirms nothing is sent away: it does not read, and its buffer grows."""


class AgentLink:
    """One agent's socket. All but the construction happens on its ``loop``."""

    def __init__(
        self,
        identity: InstanceIdentity,
        names: Iterable[str],
        send: Callable[[str], Awaitable[None]],
        close: Callable[[CloseCode], Awaitable[None]],
        key: int,
    ) -> None:
        self.identity, self.names = identity, set(names)
        self.key = key
        self.send, self.close = send, close
        self.loop = asyncio.get_running_loop()
        self.reported = 0
        """Id of the last report."""
        self.recorded = 0
        """Transitions up to here stand in the database."""
        self.covered = 0
        """Desired state was looked through up to this revision."""
        self.told = 0
        """And the agent was told that it has everything up to this one."""
        self.told_at = 0.0
        self.lagging_since: float | None = None

    @property
    def id(self) -> UUID:
        return self.identity.id

    def resets(self) -> tuple[ResetCommand, ...]:
        return fleet.resets_for(self.id, self.covered)

    async def instruct(self, texts: Iterable[str], revision: int) -> None:
        """Sends ``texts``, which bring the agent to ``revision``."""
        self.covered = self.told = max(revision, self.covered)
        self.told_at = time.monotonic()
        for text in texts:
            await self.send(text)

    async def instruct_whole(self) -> None:
        desired = messages.whole(self.names, fleet.resets_for(self.id, 0))
        await self.instruct(messages.encoded(desired, lambda: self.names), desired.revision)

    async def introduce(self, names: Iterable[str]) -> None:
        """The agent has made these breakers: tells it what is wanted of those that are known."""
        new = set(names) - self.names
        self.names |= new
        rows = fleet.desired(new)
        if rows:
            desired = Desired(revision=self.told, since=self.told, breakers=rows)
            await self.instruct(messages.encoded(desired, lambda: new), self.told)


class Hub:
    """Thread-safe where it says so; the rest belongs to the event loops."""

    def __init__(self) -> None:
        self._links: dict[UUID, AgentLink] = {}
        self._scheduled: set[asyncio.AbstractEventLoop] = set()
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()  # the event loop holds tasks weakly

    def __len__(self) -> int:
        return len(self._links)

    def links(self) -> list[AgentLink]:
        """Those that are here now. Any thread."""
        with self._lock:
            return list(self._links.values())

    async def join(self, link: AgentLink) -> None:
        """An instance has one link: an older one, perhaps half-open and not yet noticed, gives way."""
        with self._lock:
            older = self._links.get(link.id)
            self._links[link.id] = link
        if older is not None:
            self.run(older.loop, partial(older.close, SUPERSEDED))

    def leave(self, link: AgentLink) -> None:
        with self._lock:
            if self._links.get(link.id) is link:
                del self._links[link.id]

    def publish(self) -> None:
        """Desired state may have changed: brings every agent up to date, soon. Any thread; cheap to call too often."""
        with self._lock:
            loops = {link.loop for link in self._links.values()} - self._scheduled
            self._scheduled |= loops
        for loop in loops:
            self.run(loop, partial(self._deliver, loop))

    def dismiss_revoked(self) -> None:
        """Sends away whose key was revoked since it came. One query; any thread with a database connection."""
        links = self.links()
        if not links:
            return
        revoked = selectors.revoked_keys({link.key for link in links})
        for link in links:
            if link.key in revoked:
                self.run(link.loop, partial(link.close, REVOKED))

    def run(self, loop: asyncio.AbstractEventLoop, act: Callable[[], Awaitable[None]]) -> None:
        """Runs ``act`` on ``loop``. Any thread."""
        with suppress(RuntimeError):  # it has closed, and its sockets with it
            loop.call_soon_threadsafe(lambda: self._start(loop, act()))

    def _start(self, loop: asyncio.AbstractEventLoop, act: Awaitable[None]) -> None:
        task = loop.create_task(_guarded(act))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._scheduled.discard(loop)
        batch = _Batch(fleet.revision)
        with precedence.taken():
            rest = time.monotonic() + TURN
            for link in self.links():
                if link.loop is loop and link.covered < batch.revision:
                    await _guarded(batch.bring(link))
                    if batch.is_long and time.monotonic() > rest:
                        await asyncio.sleep(0)
                        rest = time.monotonic() + TURN
            await written()

    async def heard(self, link: AgentLink, revision: int) -> None:
        """A report says what the agent has applied: tells it again what it seems to have missed."""
        if link.covered < fleet.revision:
            self.publish()
        elif revision >= link.covered:
            link.lagging_since = None
        elif revision >= link.told:  # nothing of what changed since concerned it
            await link.instruct(messages.encoded(Desired(revision=link.covered, since=link.told), list), link.covered)
        elif time.monotonic() - link.told_at >= PATIENCE:
            await self._tell_again(link)

    async def _tell_again(self, link: AgentLink) -> None:
        now = time.monotonic()
        link.lagging_since = link.lagging_since or now
        if now - link.lagging_since >= LONGEST_LAG:
            await link.close(LAGGING)
        else:
            await link.instruct_whole()


class _Batch:
    """One pass over the links: each text is made once for all that need the same."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.is_long = False
        """It takes so long that others must have their turn meanwhile."""
        self._changes: dict[int, Desired | None] = {}
        self._parts: dict[int, messages.Parts] = {}
        self._texts: dict[tuple[int, int, tuple[str, ...]], list[str]] = {}

    async def bring(self, link: AgentLink) -> None:
        changes = self._changed(link.covered)
        if changes is None:
            await link.instruct_whole()
            return
        resets = link.resets()
        many = changes.revision - link.covered > FEW
        self.is_long = self.is_long or many
        texts = self._chosen(changes, link, resets) if many else self._common(changes, link, resets)
        if texts:
            await link.instruct(texts, changes.revision)
        link.covered = max(link.covered, changes.revision)

    def _changed(self, since: int) -> Desired | None:
        if since not in self._changes:
            self._changes[since] = messages.changed(since)
        return self._changes[since]

    def _common(self, changes: Desired, link: AgentLink, resets: tuple[ResetCommand, ...]) -> list[str]:
        """All that changed, if any of it concerns the link."""
        if not resets and not any(row.name in link.names for row in changes.breakers):
            return []
        key = (link.covered, link.told, tuple(reset.id for reset in resets))
        if key not in self._texts:
            told = Desired(changes.revision, link.told, changes.breakers, resets)
            self._texts[key] = messages.encoded(told, list)
        return self._texts[key]

    def _chosen(self, changes: Desired, link: AgentLink, resets: tuple[ResetCommand, ...]) -> list[str]:
        """What concerns the link: of a thousand changes it may be a few."""
        if link.covered not in self._parts:
            self._parts[link.covered] = messages.Parts(changes)
        parts = self._parts[link.covered]
        names = parts.concern(link.names)
        return parts.encoded(names, link.told, resets) if names or resets else []


async def _guarded(act: Awaitable[None]) -> None:
    """One socket's trouble is not the others'."""
    try:
        await act
    except Exception:
        logger.exception("An agent could not be told what is wanted")


hub = Hub()
