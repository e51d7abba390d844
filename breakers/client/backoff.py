"""How long to wait before the next attempt to reach the control plane."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST = 0.5
CEILING = 5.0
CEILING_WHEN_LONG_AWAY = 30.0
LONG_AWAY = 300.0
HEALTHY = 60.0
SPREAD = 2.0
"""Seconds over which links come back that a server has sent away all at once."""


class Backoff:
    """Full jitter below a ceiling that doubles from 0.5 s to 5 s, to 30 s once away for five minutes.

    Starts over after a connection that held for 60 s. Seconds by ``clock``, which is monotonic.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self._attempts = 0
        self._away_since = clock()
        self._connected_at: float | None = None
        self._least = 0.0

    def connected(self) -> None:
        self._connected_at = self._clock()

    def lost(self) -> bool:
        """The connection, or the attempt, is over. True when it had held for long enough to start over."""
        began, self._connected_at = self._connected_at, None
        if began is None:
            return False
        self._away_since = self._clock()
        healthy = self._away_since - began >= HEALTHY
        if healthy:
            self._attempts = 0
        return healthy

    def spread(self) -> None:
        """Everybody was sent away at this moment: the next wait is drawn from seconds, so that not all come at once."""
        self._least = SPREAD

    def wait(self) -> float:
        """Seconds until the next attempt."""
        longest = CEILING_WHEN_LONG_AWAY if self._clock() - self._away_since >= LONG_AWAY else CEILING
        ceiling = max(self._least, min(longest, FIRST * 2.0 ** min(self._attempts, 10)))
        self._least = 0.0
        self._attempts += 1
        return self._uniform(0.0, ceiling)
