"""How often somebody may: token buckets in memory, one a caller. Each process has its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

MOST_CALLERS: Final = 10_000


class Buckets:
    """Thread-safe and bounded: beyond ``most`` callers the oldest half is forgotten. About a microsecond a call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_CALLERS) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, *, rate: float, burst: float) -> float:
        """0 when ``caller`` may, else the seconds to wait. ``rate`` tokens a second flow in, up to ``burst``."""
        now = self._clock()
        with self._lock:
            level, at = self._levels.get(caller, (burst, now))
            level = min(burst, level + (now - at) * rate)
            if level < 1:
                return (1 - level) / rate
            if caller not in self._levels and len(self._levels) >= self._most:
                self._forget()
            self._levels[caller] = (level - 1, now)
            return 0.0

    def may(self, caller: str, *, rate: float, burst: float) -> bool:
        """Whether a token is there; takes none."""
        now = self._clock()
        with self._lock:
            level, at = self._levels.get(caller, (burst, now))
            return level + (now - at) * rate >= 1

    def _forget(self) -> None:
        for caller in list(islice(self._levels, self._most // 2)):
            del self._levels[caller]

    def clear(self) -> None:
        """For tests."""
        with self._lock:
            self._levels.clear()


buckets = Buckets()
"""Of this process."""
