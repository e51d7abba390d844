"""What the breakers that the registry has forgotten had counted: an instance's counts never go back."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from .wire import BreakerStatus

REMEMBERED = 2_000
"""Names; of one that is made anew after so many others were forgotten the counts begin at zero."""


class Forgotten:
    """The last status of each. Due to be said until a report with it is acknowledged. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, BreakerStatus] = {}
        self._unacknowledged: dict[str, int | None] = {}
        """With the report of this connection that said it."""

    def add(self, status: BreakerStatus) -> None:
        with self._lock:
            self._last.pop(status.name, None)
            self._last[status.name] = status
            self._unacknowledged[status.name] = None
            if len(self._last) > REMEMBERED:
                oldest = next(iter(self._last))
                del self._last[oldest]
                self._unacknowledged.pop(oldest, None)

    def take(self, name: str) -> BreakerStatus | None:
        """What the one of this name begins from that is made now."""
        with self._lock:
            self._unacknowledged.pop(name, None)
            return self._last.pop(name, None)

    def get(self, name: str) -> BreakerStatus | None:
        with self._lock:
            return self._last.get(name)

    def all(self) -> list[BreakerStatus]:
        with self._lock:
            return list(self._last.values())

    def due(self) -> list[str]:
        with self._lock:
            return [name for name, report in self._unacknowledged.items() if report is None]

    def said(self, names: Iterable[str], report: int) -> None:
        with self._lock:
            self._unacknowledged |= dict.fromkeys(self._unacknowledged.keys() & names, report)

    def acknowledge(self, report: int) -> None:
        with self._lock:
            self._unacknowledged = {
                name: said for name, said in self._unacknowledged.items() if said is None or said > report
            }

    def forget_connection(self) -> None:
        with self._lock:
            self._unacknowledged = dict.fromkeys(self._unacknowledged)
