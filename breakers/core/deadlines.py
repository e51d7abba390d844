"""Timeouts that cost little: one queue and one timer an event loop and limit.

Calls with one constant limit reach their deadlines in the order in which they came. So a call only enters itself into
a dict (which keeps that order) and takes itself out; the one timer looks at the oldest entry, and sleeps until that one
would be due. ``asyncio.timeout`` makes and cancels a timer of the loop for every call, which costs ten times as much.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio import AbstractEventLoop, BaseEventLoop, Task
from collections.abc import Callable
from typing import Any, NoReturn

if sys.version_info >= (3, 12):
    current_task = asyncio.current_task
else:
    # what asyncio.current_task does in Python there, without its frame; from 3.12 it is written in C
    current_task: Callable[[AbstractEventLoop], Task[Any] | None] = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # not in typeshed


def no_task() -> NoReturn:
    raise RuntimeError("a limited call needs to run in a task, which can be cancelled")


class _Nowhere:
    _thread_id = None


_NOWHERE = _Nowhere()


class DeadlineQueue:
    """The calls of one event loop that have the same limit, oldest first. Used by that loop's thread only.

    ``entries`` maps what to cancel (a task, or a :class:`Deadline` where the task has an entry already) to the time at
    which the call began. An entry that is gone before its call took it out has struck.
    """

    __slots__ = ("armed", "entries", "limit", "loop", "runner", "shared")

    def __init__(self, loop: AbstractEventLoop, limit: float, shared: bool) -> None:
        self.loop = loop
        self.limit = limit
        self.shared = shared
        """The breaker's clock is the loop's clock, so one reading serves both."""
        self.runner: Any = loop if isinstance(loop, BaseEventLoop) else _NOWHERE
        """``runner._thread_id == get_ident()`` says that the loop runs in this thread.

        ``asyncio.get_running_loop`` would say so too, but before Python 3.12 it asks the system for the process first,
        which costs half a guarded call. Loops that are not asyncio's keep their thread to themselves: those are
        looked up each time.
        """
        self.entries: dict[Task[Any] | Deadline, float] = {}
        self.armed = False

    def arm(self) -> None:
        """Starts the timer for the oldest entry, if there is one."""
        self.armed = bool(self.entries)
        if self.armed:
            self.loop.call_at(next(iter(self.entries.values())) + self.limit, self._strike)

    def _strike(self) -> None:
        now = self.loop.time()
        expired = []
        for entry, began in self.entries.items():
            if began + self.limit > now:
                break
            expired.append(entry)
        for entry in expired:
            del self.entries[entry]
            entry.cancel()
        self.arm()


class Deadline:
    """One call's entry in a queue."""

    __slots__ = ("cancelling", "queue", "task")

    def __init__(self, queue: DeadlineQueue, task: Task[Any], began: float) -> None:
        """Arms the deadline of a call that began at ``began``, no earlier than any other of the queue."""
        self.queue = queue
        self.task = task
        self.cancelling = task.cancelling()
        """How often the task had been asked to cancel before the call began."""
        queue.entries[self] = began
        if not queue.armed:
            queue.arm()

    def cancel(self) -> None:
        self.task.cancel()

    def leave(self) -> bool:
        """Disarms. True when it had struck, and so has asked the task to cancel."""
        return self.queue.entries.pop(self, None) is None


_queues: dict[tuple[AbstractEventLoop, float, bool], DeadlineQueue] = {}


def queue_for(loop: AbstractEventLoop, limit: float, clock: Callable[[], float]) -> DeadlineQueue:
    """The queue of ``loop`` for ``limit`` seconds. Queues of closed loops are dropped when a new one is made."""
    shared = clock is time.monotonic and getattr(loop.time, "__func__", None) is BaseEventLoop.time
    queue = _queues.get((loop, limit, shared))
    if queue is None:
        for key in [key for key in list(_queues) if key[0].is_closed()]:
            _queues.pop(key, None)
        queue = _queues.setdefault((loop, limit, shared), DeadlineQueue(loop, limit, shared))
    return queue
