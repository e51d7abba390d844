"""Transitions on their way to the control plane: bounded, numbered without a gap, kept until acknowledged."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

from .states import Transition
from .wire import TransitionReport

LONGEST_CAUSE = 500
"""Characters of a cause that travel."""


class Outbox:
    """Thread-safe. A transition gets its number when it is first sent, so that one dropped before leaves no gap.

    Holds at most ``capacity``; beyond it the oldest that was never sent is dropped and counted: the newest ones say
    how things stand. At most ``window`` are on the way at once, which is how a slow server slows us down.
    """

    def __init__(self, capacity: int = 10_000, window: int = 2_000) -> None:
        self._lock = threading.Lock()
        self._capacity, self._window = capacity, min(window, max(1, capacity // 2))
        self._queue: deque[Transition] = deque()
        self._acknowledged = 0  # the number of the transition before the first in the queue
        self._numbered = 0  # how many of the queue were ever sent: their numbers stand
        self._sent = 0  # how many of the queue were sent on this connection
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """How many were lost to a full queue, cumulative."""
        return self._dropped

    @property
    def ready(self) -> bool:
        """Whether :meth:`take` would give something now."""
        return self._sent < min(len(self._queue), self._window)

    def put(self, transition: Transition) -> None:
        """Microseconds, from any thread."""
        with self._lock:
            if len(self._queue) >= self._capacity:
                del self._queue[self._numbered]
                self._dropped += 1
            self._queue.append(transition)

    def take(self, limit: int) -> tuple[TransitionReport, ...]:
        """At most ``limit`` of the next, in order. They are numbered for good and never dropped from now on."""
        with self._lock:
            start, end = self._sent, min(self._sent + limit, self._window)
            first = self._acknowledged + start + 1
            taken = tuple(_numbered(first + i, t) for i, t in enumerate(islice(self._queue, start, end)))
            self._sent += len(taken)
            self._numbered = max(self._numbered, self._sent)
            return taken

    def give_back(self, count: int) -> None:
        """The last ``count`` that were taken did not go out."""
        with self._lock:
            self._sent -= count

    def rewind(self) -> None:
        """A new connection: what is not acknowledged goes out again, under the same numbers."""
        with self._lock:
            self._sent = 0

    def acknowledge(self, sequence: int) -> None:
        """Forget everything up to ``sequence``; a number that was never given acknowledges nothing more."""
        with self._lock:
            done = min(sequence - self._acknowledged, self._numbered)
            for _ in range(done):
                self._queue.popleft()
            if done > 0:
                self._acknowledged += done
                self._numbered -= done
                self._sent = max(0, self._sent - done)


def _numbered(sequence: int, transition: Transition) -> TransitionReport:
    return TransitionReport(
        sequence=sequence,
        name=transition.name,
        from_state=transition.from_state,
        to_state=transition.to_state,
        reason=transition.reason.value,
        cause=transition.cause[:LONGEST_CAUSE],
        at=transition.at.timestamp(),
        epoch=transition.epoch,
        failures=transition.failures,
        calls=transition.calls,
        failure_rate=transition.failure_rate,
    )
