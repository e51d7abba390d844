"""A recorded transition as the feed tells it."""

from __future__ import annotations

from breakers.fleet import Event
from breakers.fleet.events import iso
from breakers.models import StateChange


def transition_event(change: StateChange) -> Event:
    """Ready for JSON."""
    return {
        "type": "event",
        "kind": "transition",
        "name": change.breaker,
        "at": iso(change.at),
        "service": change.service,
        "instance": str(change.instance),
        "from_state": change.from_state,
        "to_state": change.to_state,
        "reason": change.reason,
        "cause": change.cause,
        "text": change.cause,
    }
