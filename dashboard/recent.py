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


def context() -> dict[str, Any]:
    """The latest changes, the pulse of the last hour, groups with one mark a breaker. Three queries."""
    counts = changes.pulse(timezone.now())
    return {
        "pulse": {**shapes.pulse(counts), "text": changes.pulse_text(counts)},
        "changes": changes.latest(LATEST),
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
