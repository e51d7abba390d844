"""Work that one process of several does at a time: whoever holds the lease, until it ends or is no more heard of."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError

from breakers import services

logger = logging.getLogger(__name__)


class HeldLease:
    """``seconds``: after which another process takes over where this one is killed. Renewed at half of it."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._me: Final = str(uuid.uuid4())
        self._mine_until: datetime | None = None

    def is_mine(self, now: datetime) -> bool:
        """Takes it where it is free. Costs a query at half time, and while another process has it."""
        if self._mine_until is not None and now < self._mine_until - timedelta(seconds=self._seconds / 2):
            return True
        taken = services.lease_take(name=self._name, holder=self._me, seconds=self._seconds, now=now)
        self._mine_until = now + timedelta(seconds=self._seconds) if taken else None
        return taken

    def give_back(self) -> None:
        """Another process may go on at once. Idempotent."""
        if self._mine_until is None:
            return
        self._mine_until = None
        try:
            services.lease_return(name=self._name, holder=self._me)
        except DatabaseError:
            logger.debug("The lease runs out by itself", exc_info=True)
