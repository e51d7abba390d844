"""The thread that looks what fires, and sends what follows. One process of several does it at a time."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from breakers import services
from breakers.alerts import Alert, alerts
from breakers.fleet import fleet
from breakers.leases import HeldLease
from breakers.models import Delivery, FiringAlert
from breakers.rounds import Chore, Rounds

from .messages import Outgoing
from .sending import send

logger = logging.getLogger(__name__)

EVERY: Final = 2.0
"""Seconds between two looks."""
AFTER: Final = 10.0
"""Seconds from the start: until instances have come back, their absence says nothing."""
LEASE: Final = 30.0
KEPT: Final = timedelta(days=30)
_AT_ONCE: Final = 8


class Notifier:
    """Call :meth:`look` for one round by hand; :meth:`start` does it for as long as the server runs."""

    def __init__(self) -> None:
        self._lease = HeldLease("notifications", LEASE)
        self._rounds = Rounds("notifications", Chore(self.look, EVERY, AFTER), Chore(self._prune, 86_400.0, AFTER))

    def start(self) -> None:
        """Idempotent."""
        self._rounds.start()

    def stop(self) -> None:
        """Another process may go on at once. Idempotent."""
        self._rounds.stop()
        self._lease.give_back()

    def look(self) -> None:
        """One round: what fires is compared with what fired, and what is due is sent. A few queries without news."""
        now = timezone.now()
        if self._lease.is_mine(now):
            fleet.synchronise()
            services.notices_advance(alerts=[_firing(alert) for alert in alerts()], now=now)
            self._send_due(now)

    def _send_due(self, now: datetime) -> None:
        """A slow target holds up the others of one handful, for the ten seconds of its attempt."""
        due = services.deliveries_due(now=now, most=_AT_ONCE)
        if not due:
            return
        with ThreadPoolExecutor(len(due), thread_name_prefix="notify") as pool:
            problems = list(pool.map(send, map(Outgoing.of, due)))
        for delivery, problem in zip(due, problems, strict=True):
            settled = services.delivery_settle(delivery=delivery.pk, problem=problem, now=timezone.now())
            _tell(delivery, settled, problem)

    def _prune(self) -> None:
        services.deliveries_prune(before=timezone.now() - KEPT)


def _tell(delivery: Delivery, settled: Delivery | None, problem: str | None) -> None:
    if problem is None or settled is None:
        return
    given_up = settled.status == Delivery.Status.GIVEN_UP
    level = logging.ERROR if given_up else logging.WARNING if settled.attempts == 1 else logging.DEBUG
    end = "given up" if given_up else "tried again"
    logger.log(level, "%s of rule %r: %s; it is %s", delivery, delivery.rule.name, problem, end)


def _firing(alert: Alert) -> FiringAlert:
    row = fleet.row(alert["name"])
    return FiringAlert(
        level=alert["level"],
        name=alert["name"],
        group=row["group"] if row else "",
        kind=alert["kind"],
        message=alert["message"],
        cause=alert["cause"],
        since=datetime.fromisoformat(alert["since"]) if alert["since"] else None,
        link=alert["link"],
    )


notifier = Notifier()
"""Of this process."""
