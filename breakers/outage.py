"""A database that is away: known at once after it did not answer, and what it said before is remembered meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

REMEMBERED: Final = 1.0
AWAY: Final = (OperationalError, InterfaceError)
"""What the database raises when it cannot be asked; not what it raises about what it was asked."""
LIFETIME: Final = 900.0
"""Seconds that what the database said last is gone by."""
MOST: Final = 5_000


class DatabaseAway(OperationalError):
    """It did not answer a moment ago."""


class Outage:
    """For the few reads that stand before every answer: one finds out, the others need not wait. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._trying = threading.Lock()
        self.lasting = False
        """Whether the last that asked found nobody."""

    @property
    def possible(self) -> bool:
        """A server may be away; a file that is locked for a moment is not."""
        return connection.vendor != "sqlite"

    def ask(self, act: Callable[[], T]) -> T:
        """What ``act`` gives. While nobody answers one tries each second, the others get ``DatabaseAway`` at once."""
        if not self.lasting:
            return self._asked(act)
        if self._clock() < self._until or not self._trying.acquire(blocking=False):
            raise DatabaseAway("The database did not answer a moment ago")
        try:
            return self._asked(act)
        finally:
            self._trying.release()

    def _asked(self, act: Callable[[], T]) -> T:
        try:
            found = act()
        except AWAY:
            if self.possible:
                self._until = self._clock() + REMEMBERED
                self.lasting = True
            raise
        self.lasting = False
        return found


outage = Outage()
"""Of this process's database."""


class Remembered(Generic[K, T]):
    """What the database said of each key, for while it is away: not for longer than ``lifetime``. Thread-safe."""

    def __init__(
        self, lifetime: float = LIFETIME, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lifetime, self._most, self._clock = lifetime, most, clock
        self._lock = threading.Lock()
        self._known: dict[K, tuple[float, T]] = {}

    def keep(self, key: K, said: T) -> None:
        """The database said so just now."""
        with self._lock:
            if len(self._known) >= self._most and key not in self._known:
                self._known.clear()
            self._known[key] = self._clock(), said

    def keep_only(self, said: Mapping[K, T]) -> None:
        """The database said just now that this is all there is."""
        now = self._clock()
        with self._lock:
            self._known = {key: (now, each) for key, each in said.items()}

    def recall(self, key: K) -> T | None:
        found = self._known.get(key)
        return None if found is None or self._clock() - found[0] > self._lifetime else found[1]

    @property
    def keys(self) -> list[K]:
        with self._lock:
            return list(self._known)

    def forget(self, key: K) -> None:
        with self._lock:
            self._known.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
