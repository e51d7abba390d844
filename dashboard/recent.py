"""What the overview shows beside its rows: made at most twice a second, however many look at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils import timezone

from breakers.alerts import alerts
from breakers.fleet import fleet

from . import changes, shapes
from .cells import grouped

LATEST: Final = 8
KEPT: Final = 0.5
"""Seconds for which one answer is everybody's: in a storm each change brings every page here."""


Ask = Callable[[Callable[[], Any]], Any]
"""What a query says, or ``None`` where there is nobody to ask."""


def _ask(query: Callable[[], Any]) -> Any:
    return query()


def context(ask: Ask = _ask) -> dict[str, Any]:
    """The latest changes, the pulse of the last hour, groups with one mark a breaker. Three queries.

    What ``ask`` could not be told is ``None``.
    """
    counts = ask(lambda: changes.pulse(timezone.now()))
    return {
        "pulse": None if counts is None else {**shapes.pulse(counts), "text": changes.pulse_text(counts)},
        "changes": ask(lambda: changes.latest(LATEST)),
        "groups": grouped(fleet.rows()),
    }


class Recent:
    """The fragment with all of it, the same for every reader."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made = float("-inf")
        self._text = ""

    def text(self) -> str:
        with self._lock:  # who comes meanwhile waits for this one instead of making another
            now = self._clock()
            if now - self._made >= KEPT:
                self._text = render_to_string("dashboard/latest.html", {**context(), "firing": len(alerts())})
                self._made = now
            return self._text

    def clear(self) -> None:
        with self._lock:
            self._made = float("-inf")


recent = Recent()
