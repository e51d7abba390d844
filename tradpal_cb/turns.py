"""When reads are answered: on the event loop itself in turns with its sockets, or in threads one after the other.

A thread that computes takes the interpreter from the event loop, a millisecond at a time and again after each of the
loop's system calls: a flood of reads in threads makes every report and every push wait. What can be answered from
memory is therefore answered on the loop, a little at each of its passes, so that sockets are heard in between;
what needs a thread gets it when the one before is done. All of them let go first what takes precedence.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

from django.db import close_old_connections, connections

from breakers.precedence import precedence

logger = logging.getLogger(__name__)

SHARE: Final = 0.0
"""Seconds of each pass of the event loop that answers may take, and at least one answer."""
GIVES_WAY: Final = 0.005
"""Seconds that an answer on the loop gives way at most: a report takes a few thousandths, then its acknowledgement."""
GIVES_WAY_IN_THREADS: Final = 0.02
"""The same for what would compute beside an edit all the time that the edit takes."""
LONG: Final = 0.03
"""Seconds after which a read in a thread is asked whether it waits for something: then the next begins beside it."""
_IDLE: Final = 0.1
"""Share of the time that a thread has a processor at most, if it waits. One that computes has not much more, where the
event loop and others want the interpreter, too."""
_MOMENT: Final = 0.001
GOOD_FOR: Final = 0.02
"""Seconds that a look at the database is good for; what this process itself commits is seen at once."""


class Turns:
    """Of one event loop at a time: what waited on one that has ended is forgotten."""

    def __init__(self, share: float = SHARE, gives_way: float = GIVES_WAY) -> None:
        self._share = share
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._scheduled = False
        self._patience = Patience(gives_way)

    async def take(self, act: Callable[[], Any]) -> Any:
        """What ``act`` returns, or raises, when its turn has come; first come, first served."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._scheduled = loop, False
            self._waiting.clear()
        ticket = loop.create_future()
        self._waiting.append((ticket, act))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._pass, loop)
        return await ticket

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and self._patience.gives_way():
            loop.call_later(_MOMENT, self._pass, loop)
            return
        until = time.perf_counter() + self._share
        while self._waiting:
            self._serve(*self._waiting.popleft())
            if time.perf_counter() >= until:
                break
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            _after_who_came(loop, self._pass, loop)

    @staticmethod
    def _serve(ticket: asyncio.Future[Any], act: Callable[[], Any]) -> None:
        if ticket.cancelled():  # who asked has left
            return
        try:
            ticket.set_result(act())
        except Exception as problem:
            ticket.set_exception(problem)


def _after_who_came(loop: asyncio.AbstractEventLoop, act: Callable[..., None], *arguments: object) -> None:
    """``act``, once the loop has looked at its sockets and woken whom it found there: they may take precedence."""
    loop.call_soon(loop.call_soon, loop.call_soon, act, *arguments)


class Patience:
    """Whether to let go first what takes precedence; never for longer than ``longest`` seconds at a time."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._waits_since: float | None = None

    def gives_way(self) -> bool:
        now = time.monotonic()
        if not precedence.claimed or now - (self._waits_since or now) >= self._longest:
            self._waits_since = None
            return False
        self._waits_since = self._waits_since or now
        return True


class Effort:
    """How much one read computes in its thread, as the operating system counts it."""

    def __init__(self) -> None:
        self._clock: int | None = None
        self._asked, self._spent = time.monotonic(), 0.0

    def of(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """In the thread: what ``act`` returns."""
        if hasattr(time, "pthread_getcpuclockid"):  # not on every system; without it every read seems to wait
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
            self._spent = time.thread_time()
        return act(*arguments)

    def computes(self) -> bool:
        """Since it began, or was asked last; from another thread, while it is at it."""
        if self._clock is None:
            return False
        now, spent = time.monotonic(), time.clock_gettime(self._clock)
        share = (spent - self._spent) / max(now - self._asked, 1e-9)
        self._asked, self._spent = now, spent
        return share > _IDLE


class Gate:
    """Lets reads into their threads, one after the other, so that the event loop has one rival and not many.

    One that takes ``long`` and computes little waits for the database, or a disk: the next begins beside it.
    Of one event loop at a time, as :class:`Turns`.
    """

    def __init__(
        self, long: float = LONG, gives_way: float = GIVES_WAY_IN_THREADS, effort: Callable[[], Effort] = Effort
    ) -> None:
        self._long, self._effort = long, effort
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inside: set[object] = set()
        self._scheduled = False
        self._patience = Patience(gives_way)

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[Effort]:
        """Inside, what is read is read with :meth:`Effort.of`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._scheduled = loop, False
            self._waiting.clear()
            self._inside.clear()
        ticket = loop.create_future()
        self._waiting.append(ticket)
        self._admit(loop)
        try:
            await ticket
            effort = self._effort()
            loop.call_later(self._long, self._judge, loop, ticket, effort)
            yield effort
        finally:
            self._leave(loop, ticket)

    def _judge(self, loop: asyncio.AbstractEventLoop, ticket: object, effort: Effort) -> None:
        if ticket not in self._inside or loop is not self._loop:  # it has left
            return
        if effort.computes():
            loop.call_later(self._long, self._judge, loop, ticket, effort)
        else:
            self._leave(loop, ticket)

    def _leave(self, loop: asyncio.AbstractEventLoop, ticket: object) -> None:
        if loop is self._loop:
            self._inside.discard(ticket)
            self._admit(loop)

    def _admit(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and not self._inside and not self._scheduled:
            if self._patience.gives_way():
                self._scheduled = True
                loop.call_later(_MOMENT, self._look_again, loop)
                return
            ticket = self._waiting.popleft()
            if not ticket.cancelled():  # else who asked has left
                self._inside.add(ticket)
                ticket.set_result(None)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop:
            self._scheduled = False
            self._admit(loop)


Job = Callable[[], None]


class Looks:
    """``look`` in a thread of its own, once for all that came while the last one was under way; then their jobs.

    A look is good for a moment, unless :meth:`outdate` says, on any thread, that there is something new to see.
    Of one event loop at a time, as :class:`Turns`.
    """

    def __init__(self, look: Callable[[Collection[str]], None], good_for: float = GOOD_FOR) -> None:
        self._look, self._good_for = look, good_for
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="http-look")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.Future[bool] | None = None
        self._about: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._busy = False
        self._news = self._seen = 0
        self._good_until = 0.0

    def outdate(self) -> None:
        self._news += 1

    @property
    def good(self) -> bool:
        """Whether the last look still is."""
        return self._seen == self._news and time.monotonic() < self._good_until

    async def take(self, about: str, jobs: Mapping[str, Job] | None = None) -> bool:
        """Returns after a look at ``about`` that began after this call, and ``jobs``; whether the look succeeded.

        Of jobs that several bring under one name one is done. They raise nothing.
        """
        self._jobs.update(jobs or {})
        return await asyncio.shield(self._asked(about))  # one that leaves takes nothing from the others

    def renew(self, about: str) -> None:
        """Where the last look is good and no longer fresh, takes the next already: under load nobody waits for it."""
        if not self._busy and time.monotonic() > self._good_until - self._good_for / 2:
            self._asked(about)

    def _asked(self, about: str) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._next, self._busy = loop, None, False
        self._about.add(about)
        waiting = self._next = self._next or loop.create_future()
        if not self._busy:
            self._begin(loop)
        return waiting

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._next = self._next, None
        about, self._about = self._about, set()
        jobs, self._jobs = list(self._jobs.values()), {}
        if waiting is None or loop is not self._loop:
            return
        self._busy = True
        news, begun = self._news, time.monotonic()
        done = loop.run_in_executor(self._pool, self._take, about, jobs)

        def end(_: object) -> None:
            if loop is not self._loop:
                return
            succeeded = not done.cancelled() and done.result()
            self._seen, self._good_until = news, begun + self._good_for if succeeded else 0.0
            waiting.set_result(succeeded)
            if jobs:  # who reads waits, that who reports need not: a thread that always computes is in its way
                loop.call_later(time.monotonic() - begun, rested)
            else:
                rested()

        def rested() -> None:
            if loop is self._loop:
                self._busy = False
                self._begin(loop)

        done.add_done_callback(end)

    def _take(self, about: Collection[str], jobs: Iterable[Job]) -> bool:
        try:
            self._look(about)
            close_old_connections()
        except Exception:  # whatever it is, the request meets it too, in its own thread, and tells its client
            logger.debug("A look at the database failed", exc_info=True)
            return False
        for job in jobs:
            job()
        return True

    def close(self) -> None:
        """For tests: the thread ends, and its connection with it."""
        self._pool.submit(connections.close_all).result()
        self._pool.shutdown()
