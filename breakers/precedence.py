"""Who goes first in a process where everything shares one interpreter: reports, edits and pushes, before reads.

Whoever does something that must not wait says so, on any thread::

    with precedence.taken():
        ...

Who may wait looks at ``precedence.claimed`` before it begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LAPSES: Final = 0.05
"""Seconds after which a claim is void: what takes longer waits for something itself, and others may go on meanwhile."""

GIVES_WAY: Final = 0.02
"""Seconds that a thread which computes gives way at most: as long as an edit takes."""
_MOMENT: Final = 0.0005
_BREATH: Final = 0.00005


class Precedence:
    def __init__(self, lapses: float = LAPSES) -> None:
        self._lapses = lapses
        self._claims: dict[object, float] = {}

    @contextmanager
    def taken(self) -> Iterator[None]:
        claim = object()
        self._claims[claim] = time.monotonic() + self._lapses
        try:
            yield
        finally:
            del self._claims[claim]

    @property
    def claimed(self) -> bool:
        if not self._claims:
            return False
        now = time.monotonic()
        return any(until > now for until in list(self._claims.values()))


precedence: Final = Precedence()


class Yielding:
    """Lets a thread that computes for long let go first what takes precedence, ``longest`` seconds in all at most."""

    def __init__(self, longest: float = GIVES_WAY) -> None:
        self._left = longest

    def give_way(self) -> None:
        """Between two parts of the work, with no lock held. Who waits for that lock gets it in any case."""
        time.sleep(_BREATH)  # one that is taken again at once is never had by another
        while precedence.claimed and self._left > 0:
            time.sleep(_MOMENT)
            self._left -= _MOMENT


async def written() -> None:
    """Lets the event loop go round, so that what was just sent leaves before a claim on it ends."""
    for _ in range(2):
        await asyncio.sleep(0)
