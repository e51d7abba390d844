"""What the shared stream is to hear of, in the transaction of what it tells of. Nothing at all without a stream.

Here it only waits; :mod:`breakers.events` passes it on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from breakers.core.events import CONFIG_CHANGED, OVERRIDE_CHANGED, RESET, STATE_CHANGED, Event
from breakers.models import ConfigChange, OutgoingEvent, StateChange

SOURCE: Final = "circuit_breaker_service"
MOST_WAITING: Final = 100_000
LONGEST_WAIT: Final = timedelta(hours=24)
_LONGEST_TEXT: Final = 2000
_NAMESPACE: Final = UUID("0b8f4f0e-7a58-4f06-9e0c-0b5a3c2a7d11")
_TYPES: Final[Mapping[str, str]] = {
    ConfigChange.Kind.OVERRIDE_SET: OVERRIDE_CHANGED,
    ConfigChange.Kind.OVERRIDE_RELEASED: OVERRIDE_CHANGED,
    ConfigChange.Kind.RESET: RESET,
}

woken: Final = threading.Event()
"""Set when something was committed that waits to be passed on."""


def tell_transitions(rows: Sequence[StateChange]) -> None:
    """One event for each; must be called inside the transaction that records them."""
    _put(rows, _transition_event)


def tell_changes(rows: Sequence[ConfigChange]) -> None:
    """One event for each; must be called inside the transaction that writes them."""
    _put(rows, _change_event)


def _put(rows: Sequence[Any], event_of: Callable[[Any], Event]) -> None:
    if not rows or not getattr(settings, "CIRCUIT_BREAKER_EVENTS", False):
        return
    events = [event_of(row) for row in rows]
    OutgoingEvent.objects.bulk_create(
        [OutgoingEvent(event_id=e.event_id, event_type=e.event_type, body=e.encode()) for e in events]
    )
    transaction.on_commit(woken.set)


def _transition_event(row: StateChange) -> Event:
    data = {
        "name": row.breaker,
        "service": row.service,
        "instance": str(row.instance),
        "sequence": row.sequence,
        "from_state": row.from_state,
        "to_state": row.to_state,
        "reason": row.reason,
        "cause": row.cause,
        "epoch": row.epoch,
        "failures": row.failures,
        "calls": row.calls,
        "failure_rate": row.failure_rate,
    }
    return _event(STATE_CHANGED, f"{row.instance}/{row.sequence}", data, row.at)


def _change_event(row: ConfigChange) -> Event:
    data = {
        "name": row.breaker,
        "kind": str(row.kind),
        "version": row.version,
        "revision": row.revision,
        "actor": row.actor,
        "reason": _short(row.reason),
        "changes": {name: [_short(one) for one in both] for name, both in row.differences().items()},
    }
    if row.kind == ConfigChange.Kind.RESET:
        data["instance"] = str(row.instance) if row.instance else None
    subject = f"{row.breaker}/{row.revision}/{row.at.isoformat()}"
    return _event(_TYPES.get(row.kind, CONFIG_CHANGED), subject, data, row.at, request_id=row.request_id)


def _event(kind: str, subject: str, data: Mapping[str, Any], at: datetime, **further: str) -> Event:
    """Its id follows from ``subject``: the same fact is the same event, whoever tells it and however often."""
    metadata = {"version": 1, "environment": getattr(settings, "CIRCUIT_BREAKER_ENVIRONMENT", ""), **further}
    return Event(kind, data, SOURCE, str(uuid5(_NAMESPACE, f"{kind}/{subject}")), at.isoformat(), metadata)


def _short(value: Any) -> Any:
    """People write descriptions and reasons as long as they like."""
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value


def events_due(*, most: int) -> list[OutgoingEvent]:
    """The next to be passed on, in their order."""
    return list(OutgoingEvent.objects.order_by("id")[:most])


def events_settle(*, ids: Iterable[int]) -> None:
    """They stand in the stream."""
    OutgoingEvent.objects.filter(pk__in=list(ids)).delete()


def events_prune() -> int:
    """Gives up what waits for longer than a day, and the oldest of more than 100,000; how many that were."""
    old = OutgoingEvent.objects.filter(created_at__lt=timezone.now() - LONGEST_WAIT)
    given_up = old.delete()[0]
    beyond = OutgoingEvent.objects.order_by("-id").values_list("pk", flat=True)[MOST_WAITING : MOST_WAITING + 1].first()
    if beyond is not None:
        given_up += OutgoingEvent.objects.filter(pk__lte=beyond).delete()[0]
    return given_up


def events_waiting() -> tuple[int, float]:
    """How many, and for how many seconds the first of them. Two queries."""
    oldest = OutgoingEvent.objects.order_by("id").values_list("created_at", flat=True).first()
    if oldest is None:
        return 0, 0.0
    return OutgoingEvent.objects.count(), max((timezone.now() - oldest).total_seconds(), 0.0)
