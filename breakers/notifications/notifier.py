"""The thread that looks what fires, and sends what follows. One process of several does it at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from breakers import services
from breakers.alerts import Alert, alerts
from breakers.fleet import fleet
from breakers.leases import HeldLease
from breakers.models import Delivery, FiringAlert
from breakers.rounds import Chore, Rounds

from .couriers import Couriers
from .messages import Outgoing

logger = logging.getLogger(__name__)

EVERY: Final = 2.0
"""Seconds between two looks."""
BLIND: Final = 35.0
"""Seconds from the start: who has not come back by then is silent. Links that were away for long take up to 30 s."""
PRUNE_AFTER: Final = 60.0
LEASE: Final = 30.0
KEPT: Final = timedelta(days=30)
_AT_ONCE: Final = 100


class Notifier:
    """Call :meth:`look` for one round by hand; :meth:`start` does it for as long as the server runs.

    ``clock`` is monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._couriers = Couriers()
        self._lease = HeldLease("notifications", LEASE)
        self._rounds = Rounds(
            "notifications", Chore(self.look, EVERY, EVERY), Chore(self._prune, 86_400.0, PRUNE_AFTER)
        )

    def start(self) -> None:
        """Idempotent."""
        self._began = self._clock()
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
            if self._sees():
                services.notices_advance(alerts=[_firing(alert) for alert in alerts()], now=now)
            self._send_due(now)

    def _sees(self) -> bool:
        """Not yet while instances that were linked to an earlier process may be on their way back: their absence says
        nothing of them, and what they left behind may be over."""
        return fleet.complete or self._clock() - self._began >= BLIND

    def _send_due(self, now: datetime) -> None:
        """Each is recorded as soon as it has ended: who is killed meanwhile sends little twice."""
        due = services.deliveries_due(now=now, most=_AT_ONCE)
        for message, problem in self._couriers.deliver([Outgoing.of(delivery) for delivery in due]):
            settled = services.delivery_settle(delivery=message.id, problem=problem, now=timezone.now())
            if settled is not None and problem is not None:
                _tell(settled, problem)

    def _prune(self) -> None:
        services.deliveries_prune(before=timezone.now() - KEPT)


def _tell(settled: Delivery, problem: str) -> None:
    given_up = settled.status == Delivery.Status.GIVEN_UP
    level = logging.ERROR if given_up else logging.WARNING if settled.attempts == 1 else logging.DEBUG
    end = "given up" if given_up else "tried again"
    logger.log(level, "%s of rule %r: %s; it is %s", settled, settled.rule.name, problem, end)


def _firing(alert: Alert) -> FiringAlert:
    row = None if alert["kind"] == "reports_dropped" else fleet.row(alert["name"])  # that one's name is a service's
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
