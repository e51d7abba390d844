"""A database that is away: known for a second after it did not answer, so that not everybody waits to find out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

REMEMBERED: Final = 1.0
AWAY: Final = (OperationalError, InterfaceError)
"""What the database raises when it cannot be asked; not what it raises about what it was asked."""


class DatabaseAway(OperationalError):
    """It did not answer a moment ago."""


class Outage:
    """For the few reads that stand before every answer. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")

    def ask(self, act: Callable[[], T]) -> T:
        """What ``act`` gives; raises ``DatabaseAway`` at once where the last one, a moment ago, found nobody."""
        if self._clock() < self._until:
            raise DatabaseAway("The database did not answer a moment ago")
        try:
            return act()
        except AWAY:
            if connection.vendor != "sqlite":  # a file that is locked for a moment is not away
                self._until = self._clock() + REMEMBERED
            raise


outage = Outage()
"""Of this process's database."""
