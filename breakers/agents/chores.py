"""What a server cleans up by itself: overrides whose time is over, and history that nobody keeps."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from breakers import services
from breakers.rounds import Chore, Rounds

logger = logging.getLogger(__name__)

EXPIRE_EVERY: Final = 10.0
PRUNE_EVERY: Final = 86_400.0
PRUNE_AFTER: Final = 120.0
"""Seconds from the start: a server that begins has better things to do."""


def prune() -> None:
    """Deletes transitions older than ``CIRCUIT_BREAKER_HISTORY_DAYS``."""
    before = timezone.now() - timedelta(days=getattr(settings, "CIRCUIT_BREAKER_HISTORY_DAYS", 30))
    deleted = services.history_prune(before=before)
    if deleted:
        logger.info("History: %d transitions from before %s deleted", deleted, before.date())


chores = Rounds(
    "control-plane-chores",
    Chore(services.overrides_expire, EXPIRE_EVERY),
    Chore(prune, PRUNE_EVERY, PRUNE_AFTER),
)
"""One a process; where there are several, each does the same and the second finds nothing to do."""
