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


class DeadlineQueue:
    """The calls of one event loop that have the same limit, oldest first. Used by that loop's thread only.

    ``entries`` maps a number a call to its task and the time at which it began; an entry that is gone before its call
    took it out has expired, and its task was cancelled.
    """

    __slots__ = ("armed", "entries", "limit", "loop", "number", "shared")

    def __init__(self, loop: AbstractEventLoop, limit: float, shared: bool) -> None:
        self.loop = loop
        self.limit = limit
        self.shared = shared
        """The breaker's clock is the loop's clock, so one reading serves both."""
        self.entries: dict[int, tuple[Task[Any], float]] = {}
        self.number = 0
        self.armed = False

    def arm(self) -> None:
        """Starts the timer for the oldest entry, if there is one."""
        self.armed = bool(self.entries)
        if self.armed:
            _, began = next(iter(self.entries.values()))
            self.loop.call_at(began + self.limit, self._strike)

    def _strike(self) -> None:
        now = self.loop.time()
        expired = []
        for number, (task, began) in self.entries.items():
            if began + self.limit > now:
                break
            expired.append((number, task))
        for number, task in expired:
            del self.entries[number]
            task.cancel()
        self.arm()


class Deadline:
    """One call's place in a queue."""

    __slots__ = ("cancelling", "number", "queue", "task")

    def __init__(self, queue: DeadlineQueue, number: int, task: Task[Any], cancelling: int) -> None:
        self.queue = queue
        self.number = number
        self.task = task
        self.cancelling = cancelling
        """How often the task had been asked to cancel before the call began."""

    @classmethod
    def enter(cls, queue: DeadlineQueue, task: Task[Any]) -> Deadline:
        """Arms the deadline of a call that begins now."""
        queue.number += 1
        queue.entries[queue.number] = (task, queue.loop.time())
        if not queue.armed:
            queue.arm()
        return cls(queue, queue.number, task, task.cancelling())

    def leave(self) -> bool:
        """Disarms. True when it had struck, and so has asked the task to cancel."""
        return self.queue.entries.pop(self.number, None) is None

    def take_back(self) -> bool:
        """Takes back the request of a struck deadline. False when somebody else wants the task cancelled too."""
        return self.task.uncancel() <= self.cancelling


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
