"""Nothing of events grows without end, also while Redis is away."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.utils import timezone

from breakers import services

from . import counts

logger = logging.getLogger(__name__)

EVERY: Final = 30.0
REMEMBERED: Final = timedelta(days=30)
"""For how long an event that comes again is known to have been applied."""


class Upkeep:
    def __init__(self) -> None:
        self._due = 0.0

    def do_if_due(self, now: float) -> None:
        """``now``: seconds, monotonic."""
        if now < self._due:
            return
        self._due = now + EVERY
        given_up = services.events_prune()
        if given_up:
            counts.GIVEN_UP.inc(given_up)
            logger.error("%d events never reached the stream: it was away for too long", given_up)
        services.applied_prune(before=timezone.now() - REMEMBERED)
        waiting, seconds = services.events_waiting()
        counts.WAITING.set(waiting)
        counts.WAITING_SECONDS.set(seconds)
