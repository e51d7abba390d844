"""What the feed tells of: transitions, operator actions and edits, as dicts that are ready for JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypedDict

from breakers.models import ConfigChange, StateChange

Event = dict[str, Any]
"""``{"type": "event", "kind", "name", "at", ...}``; the kinds: transition, reset, config, override, reset_progress."""


class Progress(TypedDict):
    """Of one reset: who had the breaker when it was given, who confirmed, and who of the rest is silent."""

    targeted: int
    confirmed: int
    silent: int


_KINDS = {"reset": "reset", "override_set": "override", "override_released": "override"}
_TEXTS = {
    "created": "created",
    "registered": "registered",
    "edited": "edited",
    "deleted": "deleted",
    "reset": "reset",
    "override_set": "override set",
    "override_released": "override released",
}


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def transition_event(change: StateChange) -> Event:
    """Of a recorded transition."""
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


def change_event(change: ConfigChange) -> Event:
    """The event of one line of the audit."""
    event = {
        "type": "event",
        "kind": _KINDS.get(change.kind, "config"),
        "change": change.kind,
        "name": change.breaker,
        "at": iso(change.at),
        "actor": change.actor,
        "reason": change.reason,
        "text": _text(change),
        "version": change.version,
    }
    return event | _addressed(change)


def _addressed(change: ConfigChange) -> Event:
    command, instance = change.command_id, change.instance
    return {"command": command and str(command), "instance": instance and str(instance)}


def _text(change: ConfigChange) -> str:
    what = _TEXTS.get(change.kind, change.kind)
    if change.kind == "override_set":
        what = str((change.after or {}).get("override") or what).replace("_", " ")
    if change.kind == "edited":
        what = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in change.differences().items()) or what
    return f"{what}: {change.reason}" if change.reason else what


def progress_event(command: str, name: str, at: datetime, counts: Progress) -> Event:
    """How far a reset has come."""
    text = f"{counts['confirmed']} of {counts['targeted']} confirmed"
    event = {"type": "event", "kind": "reset_progress", "command": command, "name": name, "at": iso(at), "text": text}
    return event | counts
