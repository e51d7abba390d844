"""How often somebody may: token buckets in memory, one a caller; servers tell each other what was taken from theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

MOST_CALLERS: Final = 10_000


class Buckets:
    """Thread-safe and bounded: beyond ``most`` callers the oldest half is forgotten. About a microsecond a call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_CALLERS) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._used: dict[str, tuple[float, float, float]] = {}
        """Caller to the tokens that are missing, when, and how many flow in a second."""
        self._spent: dict[str, int] | None = None

    def take(self, caller: str, *, rate: float, burst: float) -> float:
        """0 when ``caller`` may, else the seconds to wait. ``rate`` tokens a second flow in, up to ``burst``."""
        now = self._clock()
        with self._lock:
            used = self._missing(caller, now, rate)
            if used > burst - 1:
                return (used - burst + 1) / rate
            self._put(caller, used + 1, now, rate)
            if self._spent is not None:
                self._spent[caller] = self._spent.get(caller, 0) + 1
            return 0.0

    def may(self, caller: str, *, rate: float, burst: float) -> bool:
        """Whether a token is there; takes none."""
        now = self._clock()
        with self._lock:
            return self._missing(caller, now, rate) <= burst - 1

    def _missing(self, caller: str, now: float, rate: float) -> float:
        used, at, _ = self._used.get(caller, (0.0, now, rate))
        return max(used - (now - at) * rate, 0.0)

    def _put(self, caller: str, used: float, now: float, rate: float) -> None:
        if caller not in self._used and len(self._used) >= self._most:
            for forgotten in list(islice(self._used, self._most // 2)):
                del self._used[forgotten]
        self._used[caller] = (used, now, rate)

    # --- between servers ------------------------------------------------------------------------------------------

    def share(self) -> None:
        """From now on remembers what is taken, for :meth:`drain`."""
        with self._lock:
            self._spent = {} if self._spent is None else self._spent

    def drain(self) -> dict[str, int]:
        """Tokens that each caller took since the last question."""
        with self._lock:
            spent, self._spent = self._spent or {}, None if self._spent is None else {}
            return spent

    def debit(self, spent: Mapping[str, int]) -> None:
        """Tokens that callers took from another server: they count here too, if only a moment later."""
        now = self._clock()
        with self._lock:
            for caller, count in spent.items():
                rate = self._used[caller][2] if caller in self._used else 0.0
                self._put(caller, self._missing(caller, now, rate) + count, now, rate)

    def clear(self) -> None:
        """For tests."""
        with self._lock:
            self._used.clear()
            self._spent = None


buckets = Buckets()
"""Of this process."""
