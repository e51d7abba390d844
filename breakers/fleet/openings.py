"""How often a breaker opened lately, and since when that is too often."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Final

FLAPPING_SPAN: Final = timedelta(minutes=10)
FLAPPING_COUNT: Final = 3
MOST_OPENINGS: Final = 200
"""That are remembered of one breaker."""


class Openings:
    """When the fleet state went from CLOSED to OPEN, as far as it is known; the latest, oldest first."""

    __slots__ = ("_moments", "_since")

    def __init__(self) -> None:
        self._moments: deque[datetime] = deque(maxlen=MOST_OPENINGS)
        self._since: datetime | None = None

    def add(self, at: datetime) -> None:
        """They come in order, but for what one server hears late of another."""
        if not self._flapped_until(at):
            self._since = None
        self._moments.append(at)
        recent = self.recent(at)
        if self._since is None and len(recent) >= FLAPPING_COUNT:
            self._since = recent[0]

    def _flapped_until(self, at: datetime) -> bool:
        return len(self.recent(at)) >= FLAPPING_COUNT

    def recent(self, now: datetime) -> tuple[datetime, ...]:
        """Those of the last ten minutes."""
        return tuple(at for at in self._moments if now - at <= FLAPPING_SPAN)

    def flapping_since(self, now: datetime) -> datetime | None:
        """The first of the openings since which there were always three within ten minutes; ``None``: there are not."""
        return self._since if self._flapped_until(now) else None
