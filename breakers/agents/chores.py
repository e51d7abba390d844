"""What a server cleans up by itself: overrides whose time is over, and history that nobody keeps."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from breakers import selectors, services
from breakers.fleet import fleet
from breakers.leases import HeldLease
from breakers.rounds import Chore, Rounds

logger = logging.getLogger(__name__)

EXPIRE_EVERY: Final = 10.0
FOLD_EVERY: Final = 600.0
PRUNE_EVERY: Final = 86_400.0
PRUNE_AFTER: Final = 120.0
"""Seconds from the start: a server that begins has better things to do."""
LEASE: Final = 60.0

lease = HeldLease("chores", LEASE)


def _is_ours() -> bool:
    """Whether this server does what one of them does for all. Without Redis it is alone."""
    return not settings.REDIS_URL or lease.is_mine(timezone.now())


def expire() -> None:
    """Clears overrides whose time is over."""
    if _is_ours():
        services.overrides_expire()


def fold() -> None:
    """Sums up the instances that are long gone, and lets go of them here."""
    before = timezone.now() - services.FOLD_AFTER
    if _is_ours():
        services.instances_fold(before=before)
    fleet.forget(selectors.folded(fleet.long_gone(before)), before)


def prune() -> None:
    """Deletes transitions older than ``CIRCUIT_BREAKER_HISTORY_DAYS``, and the rows of who has left for good."""
    if not _is_ours():
        return
    now = timezone.now()
    before = now - timedelta(days=getattr(settings, "CIRCUIT_BREAKER_HISTORY_DAYS", 30))
    deleted = services.history_prune(before=before)
    if deleted:
        logger.info("History: %d transitions from before %s deleted", deleted, before.date())
    services.instances_forget(before=now - services.FORGET_AFTER)


chores = Rounds(
    "control-plane-chores",
    Chore(expire, EXPIRE_EVERY),
    Chore(fold, FOLD_EVERY, PRUNE_AFTER),
    Chore(prune, PRUNE_EVERY, PRUNE_AFTER),
)
"""One a process; where there are several, one of them does what needs doing once."""
