"""Events on the shared stream: what one is, and what makes a message none. ``docs/events.md`` shows each kind.

A message of the stream has one field, ``event``: a JSON object with the six keys of :class:`Event`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from .codec import WireError, reader, refuse_constant

STREAM: Final = "tradpal_events"
DEAD: Final = "tradpal_events.dead"
"""Where messages go that nobody could do anything with."""
FIELD: Final = "event"
STREAM_LENGTH: Final = 100_000
"""Messages that the stream keeps, about; the oldest go."""
DEAD_LENGTH: Final = 10_000
MAX_BYTES: Final = 1 << 18

RECOVERY: Final = "service.recovery"
STATE_CHANGED: Final = "circuit_breaker.state_changed"
CONFIG_CHANGED: Final = "circuit_breaker.config_changed"
OVERRIDE_CHANGED: Final = "circuit_breaker.override_changed"
RESET: Final = "circuit_breaker.reset"

_LONGEST_WORD: Final = 200
_LONGEST_NAME: Final = 100


class EventError(ValueError):
    """A message that is no event; the text says why."""


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Event:
    """``event_id`` stays the same however often the event travels; ``timestamp`` is ISO 8601."""

    event_type: str
    data: Mapping[str, Any]
    source: str
    event_id: str = field(default_factory=lambda: str(uuid4()))
    timestamp: str = field(default_factory=_now)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> str:
        """Raises :class:`EventError` for what JSON cannot say, and for more than :data:`MAX_BYTES`."""
        try:
            text = json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise EventError(f"is no JSON: {error}") from None
        if len(text) > MAX_BYTES:
            raise EventError(f"is longer than {MAX_BYTES} bytes")
        return text


def read_event(message: Mapping[bytes, bytes], wanted: Container[str]) -> Event | None:
    """The event in a message of the stream; ``None`` where it is of another type than ``wanted``: its owner judges it.

    Raises :class:`EventError`, whatever the bytes are.
    """
    content = message.get(FIELD.encode())
    if content is None:
        raise EventError(f"has no field {FIELD!r}")
    if len(content) > MAX_BYTES:
        raise EventError(f"is longer than {MAX_BYTES} bytes")
    try:
        value = json.loads(content, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise EventError(f"is no JSON: {str(error)[:_LONGEST_WORD]}") from None
    if not isinstance(value, dict):
        raise EventError("is no JSON object")
    kind = value.get("event_type")
    if isinstance(kind, str) and kind not in wanted:
        return None
    return _event_of(value)


def _event_of(value: dict[str, Any]) -> Event:
    absent = [f.name for f in fields(Event) if f.name not in value]
    if absent:
        raise EventError(f"lacks {', '.join(absent)}")
    try:
        event: Event = reader(Event)({**value, "timestamp": _moment(value["timestamp"])}, FIELD)
    except WireError as error:
        raise EventError(str(error)) from None
    for name in ("event_id", "source"):
        _check_word(name, getattr(event, name), _LONGEST_WORD)
    return event


def _moment(value: object) -> str:
    """ISO 8601, whether it came so or as seconds since 1970."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).isoformat()
        return datetime.fromisoformat(str(value)).isoformat()
    except (ValueError, OverflowError, OSError):
        raise EventError("timestamp is neither ISO 8601 nor seconds since 1970") from None


def _check_word(name: str, word: object, longest: int) -> None:
    """Control characters and lone surrogates are refused with the rest: no database takes them all."""
    if not isinstance(word, str) or not 1 <= len(word) <= longest or not word.isprintable():
        raise EventError(f"{name} is not 1 to {longest} printable characters")


def recovered_service(event: Event) -> str:
    """Who is well again, by an event of type :data:`RECOVERY`. Raises :class:`EventError`."""
    name = event.data.get("service_name")
    _check_word("data.service_name", name, _LONGEST_NAME)
    return str(name)
