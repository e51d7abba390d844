"""The outbox of notifications: what is to be sent, in which order, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from breakers.models import Delivery, NotificationRule

from .texts import storable

MOST_ATTEMPTS: Final = 8
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=5)
LONGEST_PROBLEM: Final = 300
MOST_WAITING: Final = 1000
DIGEST: Final = "digest"
_MANY: Final = ("", DIGEST)
Message = tuple[NotificationRule, str, Mapping[str, Any]]
"""For which rule, of which event, and what it says."""


def deliveries_queue(messages: Sequence[Message], now: datetime) -> list[Delivery]:
    """Puts them into the outbox, due at once. One query."""
    return Delivery.objects.bulk_create(
        Delivery(
            rule=rule,
            event=event,
            breaker=facts.get("name", ""),
            kind=facts.get("kind", ""),
            message={**facts, "event": event, "rule": rule.name, "at": now.isoformat()},
            created_at=now,
            due_at=now,
        )
        for rule, event, facts in messages
    )


def deliveries_due(*, now: datetime, most: int) -> list[Delivery]:
    """The next messages to send, each with its rule, oldest first. One query by an index.

    Of one alert nobody hears the end before the beginning: a message waits for an older one of its alert, and a
    message about many for each of its rule, until that has arrived or is given up.
    """
    waiting = Delivery.objects.filter(status=Delivery.Status.PENDING).select_related("rule").order_by("created_at")
    found: list[Delivery] = []
    before: dict[int, set[tuple[str, str]]] = {}
    for delivery in waiting[:MOST_WAITING]:
        older, what = before.setdefault(delivery.rule_id, set()), (delivery.breaker, delivery.kind)
        waits = what in older or _MANY in older or (what == _MANY and bool(older))
        older.add(what)
        if delivery.due_at <= now and not waits:
            found.append(delivery)
    return found[:most]


@transaction.atomic
def delivery_settle(*, delivery: UUID, problem: str | None, now: datetime) -> Delivery | None:
    """Records how an attempt ended; a failed one is due again, later each time, until it is given up.

    ``None`` where the message is gone, with its rule.
    """
    row = Delivery.objects.select_for_update().filter(pk=delivery).first()
    if row is None:
        return None
    row.attempts += 1
    row.problem = storable(problem or "", LONGEST_PROBLEM)
    if problem is None:
        row.status, row.delivered_at = Delivery.Status.DELIVERED, now
    elif row.attempts >= MOST_ATTEMPTS:
        row.status = Delivery.Status.GIVEN_UP
    else:
        row.due_at = now + min(FIRST_WAIT * 2 ** (row.attempts - 1), LONGEST_WAIT)
    row.save()
    return row


def deliveries_prune(*, before: datetime) -> int:
    """Deletes what was delivered or given up before ``before``."""
    settled = Delivery.objects.exclude(status=Delivery.Status.PENDING)
    return settled.filter(created_at__lt=before).delete()[0]
