"""``Link``: the thread that carries :mod:`breakers.core.sync` over a websocket to the control plane.

One daemon thread with its own event loop, so that it serves sync and async programs, and a blocked loop of the program
does not silence it. It never raises into the program and never holds it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import aiohttp

from breakers.core.sync import Sync

from .backoff import Backoff
from .cache import DesiredCache
from .conversation import Conversation
from .faults import Faults
from .process import DaemonThreads, descriptor_of, keep_for_ever, let_go
from .requests import shown

logger = logging.getLogger("breakers.link")

FLUSH = 2.0
"""Seconds that closing, and the end of the interpreter, wait at most."""
ATTEMPT = 10.0
"""Seconds that one attempt to connect may take."""
SETTLING = 0.1
"""Seconds that a forked child waits before it links: most that end sooner are about to become another program."""
_LONGEST_MESSAGE = 16 << 20  # how much is sent is the server's affair; it keeps to MAX_BYTES


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How a link stands; also a mapping, for ``dict(status)`` and logs."""

    connected: bool
    since: datetime
    """When it was connected or, if it is not, lost. Aware, UTC."""
    server: str | None
    """The server process that it speaks to, or last spoke to."""
    revision: int
    """Of the desired state that was applied."""
    last_error: str | None
    queued: int
    """Transitions not acknowledged."""
    dropped: int
    """Transitions lost to a full queue, cumulative."""

    def keys(self) -> Iterator[str]:
        return (f.name for f in fields(self))

    def __getitem__(self, key: str) -> object:
        if key not in self.__dataclass_fields__:
            raise KeyError(key)
        return getattr(self, key)


class Link:
    """Made by :func:`breakers.connect`. Thread-safe. Survives ``fork``: see :meth:`begin_anew`."""

    def __init__(self, sync: Sync, *, url: str, token: str | None, cache: DesiredCache | None = None) -> None:
        self.url, self.sync = url, sync
        self._shown = shown(url)
        self._token, self._cache = token, cache
        self._closed = False
        self._begin(settling=0.0)

    def __repr__(self) -> str:  # neither the key nor a password may show
        return f"<Link {self.sync.service} to {self._shown}>"

    def _begin(self, *, settling: float) -> None:
        self._connected, self._since = False, datetime.now(UTC)
        self._faults, self._backoff = Faults(self._shown), Backoff()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poked = False
        self._descriptor: int | None = None
        self.sync.wake = self._poke
        self._thread = threading.Thread(target=self._run, args=(settling,), name="breakers-link", daemon=True)
        self._thread.start()

    def begin_anew(self) -> None:
        """After ``fork``, in the child: a new instance over a connection of its own; the parent's is left alone."""
        if self._closed:
            return
        keep_for_ever(self._loop)
        if self._descriptor is not None:
            let_go(self._descriptor)
        self.sync.begin_anew()
        self._begin(settling=SETTLING)

    def status(self) -> LinkStatus:
        """Microseconds."""
        return LinkStatus(
            connected=self._connected,
            since=self._since,
            server=self.sync.server,
            revision=self.sync.revision,
            last_error=self._faults.last,
            queued=len(self.sync.outbox),
            dropped=self.sync.outbox.dropped,
        )

    def close(self) -> None:
        """Reports what is left and says goodbye, for at most 2 s. A second time: nothing."""
        self.begin_close()
        self.finish_close(time.monotonic() + FLUSH)

    def begin_close(self) -> None:
        """The first half of :meth:`close`: does not wait."""
        self._closed = True
        self.sync.close()
        self._poke()

    def finish_close(self, deadline: float) -> None:
        """The other half: waits for the flush until ``deadline``, in seconds of ``time.monotonic``."""
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether its thread is gone, and its ``Sync`` free for another link."""
        return not self._thread.is_alive()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _poke(self) -> None:
        """Wakes the thread, from any other; a second poke before it woke costs nothing."""
        loop = self._loop
        if loop is not None and (self._closed or not self._poked):
            self._poked = True
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._poked = False
        self._wake.set()
        if self._closed and not self._closing.is_set():
            self._closing.set()
            asyncio.get_running_loop().call_later(FLUSH, self._task.cancel)

    def _run(self, settling: float) -> None:
        try:
            asyncio.run(self._live(settling))
        except asyncio.CancelledError:
            logger.debug("The link to %s had more to say than fits into its last %g s", self._shown, FLUSH)
        except Exception:  # a bug of ours must not reach the program
            logger.exception("The link to %s has ended", self._shown)
        finally:
            self._loop, self._connected = None, False

    async def _live(self, settling: float) -> None:
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._task = asyncio.ensure_future(self._keep_linked(settling))
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(DaemonThreads())
        self._woken()  # for whoever poked before there was a loop
        await self._task

    async def _keep_linked(self, settling: float) -> None:
        await self._pause(settling)
        while True:
            last_words = self._closing.is_set()
            if await self._attempt() or last_words or self._faults.refused:
                break
            await self._pause(self._backoff.wait())
        if self._faults.refused:
            self.sync.close()  # nobody will ever ask for what it would collect

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _attempt(self) -> bool:
        """One connection, from beginning to end. True after a farewell."""
        try:
            await self._converse()
        except Exception as error:  # whatever can happen on a network
            self._faults.met(error)
            if self._faults.restarting:
                self._backoff.spread()
            return False
        else:
            return True
        finally:
            self._lost()

    async def _converse(self) -> None:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(ATTEMPT):
                socket = await session.ws_connect(
                    f"{self.url.rstrip('/')}/ws/agent",
                    headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                    max_msg_size=_LONGEST_MESSAGE,
                )
            async with socket:
                self._descriptor = descriptor_of(socket)
                await self._conversation(socket).hold()

    def _conversation(self, socket: aiohttp.ClientWebSocketResponse) -> Conversation:
        return Conversation(
            self.sync,
            socket,
            wake=self._wake,
            closing=self._closing,
            welcomed=self._welcomed,
            instructed=self._instructed,
        )

    def _welcomed(self) -> None:
        self._backoff.connected()
        self._connected, self._since = True, datetime.now(UTC)
        logger.info("Linked to %s as %s (%s)", self._shown, self.sync.service, self.sync.instance)

    def _instructed(self) -> None:
        if self._cache is not None:
            self._cache.write(self.sync.rows())

    def _lost(self) -> None:
        self._descriptor = None
        if self._connected:
            self._connected, self._since = False, datetime.now(UTC)
        if self._backoff.lost():
            self._faults.forget()
