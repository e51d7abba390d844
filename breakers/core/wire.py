"""The messages that a link and the control plane exchange, versioned; ``docs/protocol.md`` shows each with an example.

JSON objects with a ``type``. Unknown keys are passed over and absent ones take their default, so that an older library
meets a newer server and the reverse; a value of the wrong type is a :class:`WireError` that names its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from .codec import WireError as WireError  # a reader of this module meets it here
from .codec import plain, reader, refuse_constant
from .counts import Counts as Counts  # part of a status
from .states import CircuitBreakerState, Override

PROTOCOL = 1
"""The newest that is spoken here. Of two that differ, the lower one is spoken."""
MAX_BYTES = 1 << 20
"""No message is larger; a report with more to say is cut into several."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Registration:
    """A breaker that a service has in code, with the config it has there."""

    name: str
    config: Json
    http: Json | None = None


@dataclass(frozen=True, slots=True)
class WindowCounts:
    calls: int = 0
    failures: int = 0
    slow: int = 0


@dataclass(frozen=True, slots=True)
class OverrideStatus:
    """The override in force on an instance: the fleet's or, where that is absent, the one set in code."""

    override: Override
    origin: str = "code"
    reason: str = ""
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """One breaker of one instance, whole. ``state_age`` and ``retry_in`` in seconds at the time of sending."""

    name: str
    state: CircuitBreakerState
    epoch: int = 0
    state_age: float = 0.0
    retry_in: float | None = None
    override: OverrideStatus | None = None
    config_version: int | None = None
    consecutive_failures: int = 0
    counts: Counts = field(default_factory=Counts)
    """Cumulative since the instance began, so that a lost or repeated report changes nothing; so is ``latency``."""
    window: WindowCounts | None = None
    latency: Mapping[str, int] = field(default_factory=dict)
    """Bucket index of ``breakers.core.latency`` to cumulative count."""
    last_failure_time: float | None = None
    last_success_time: float | None = None
    forgotten: bool = False
    """The process has no breaker of this name any more: this is what it had counted."""


@dataclass(frozen=True, slots=True)
class TransitionReport:
    """A transition, numbered by its process from 1 without a gap; kept by the link until acknowledged."""

    sequence: int
    name: str
    from_state: CircuitBreakerState
    to_state: CircuitBreakerState
    reason: str
    cause: str
    at: float
    """Epoch seconds, by the instance's clock."""
    epoch: int = 0
    failures: int = 0
    calls: int = 0
    failure_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A desired config that an instance could not take; it keeps its last good one."""

    name: str
    revision: int
    error: str


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a link, after each connection."""

    type: ClassVar[str] = "hello"
    instance: str
    service: str
    host: str
    pid: int
    library: str
    now: float
    started_at: float
    protocol: int = 1  # as of who does not say
    revision: int = 0
    registrations: tuple[Registration, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What changed since the last one; empty as a heartbeat. ``id`` counts up within a connection."""

    type: ClassVar[str] = "report"
    id: int
    now: float
    revision: int = 0
    breakers: tuple[BreakerStatus, ...] = ()
    transitions: tuple[TransitionReport, ...] = ()
    registrations: tuple[Registration, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    resets: tuple[str, ...] = ()
    """Ids of the reset commands applied since the last acknowledged report."""
    dropped: int = 0
    """Transitions lost to a full queue, cumulative."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Last message of a process that ends, after its final report. Answered by ``farewell`` once persisted."""

    type: ClassVar[str] = "goodbye"


@dataclass(frozen=True, slots=True)
class DesiredOverride:
    """``expires_in`` in seconds at the time of sending; the instance's own clock ends it."""

    override: Override
    reason: str = ""
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class DesiredBreaker:
    """What is wanted of one breaker, whole. ``config`` ``None``: the instance keeps the one it has in code."""

    name: str
    revision: int
    version: int = 1
    config: Json | None = None
    http: Json | None = None
    override: DesiredOverride | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ResetCommand:
    """Applied once by each instance that was running when it was given; lives 60 s. ``instance`` empty: all of them."""

    id: str
    name: str
    age: float = 0.0
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to ``hello``. Seconds: ``heartbeat`` at the latest between two reports, ``interval`` at the least."""

    type: ClassVar[str] = "welcome"
    server: str
    now: float
    protocol: int = 1  # as of who does not say
    heartbeat: float = 5.0
    interval: float = 1.0
    max_transitions: int = 500
    """Transitions in one report."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Desired state up to ``revision``.

    ``since`` ``None``: the whole of it for the breakers that this instance has; a breaker not named goes back to code.
    Else the rows that changed after ``since``: an instance whose revision is below ``since`` asks again by its report.
    """

    type: ClassVar[str] = "desired"
    revision: int
    since: int | None = None
    breakers: tuple[DesiredBreaker, ...] = ()
    resets: tuple[ResetCommand, ...] = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """Report ``id`` was taken; every transition up to ``sequence`` stands in the database."""

    type: ClassVar[str] = "ack"
    id: int
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Farewell:
    """Answer to ``goodbye``: the instance's totals are in the database."""

    type: ClassVar[str] = "farewell"


FromAgent = Hello | Report | Goodbye
FromServer = Welcome | Desired | Ack | Farewell


def encode(message: FromAgent | FromServer) -> str:
    """Compact JSON; fields that hold their default are left out."""
    text: str = _compact.encode({"type": message.type, **plain(message)})
    return text


def encode_part(part: DesiredBreaker | ResetCommand) -> str:
    """As it stands in a message."""
    text: str = _compact.encode(plain(part))
    return text


_compact: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class UnknownMessage(WireError):
    """Of a type that only a newer peer knows, or nobody."""


def decode_from_agent(text: str | bytes) -> FromAgent:
    """Raises :class:`WireError`, whatever the bytes are; :class:`UnknownMessage` for a type that we don't know."""
    message: FromAgent = _decode(text, {"hello": Hello, "report": Report, "goodbye": Goodbye})
    return message


def decode_from_server(text: str | bytes) -> FromServer | None:
    """``None`` for a type that a newer server knows and we don't. Raises :class:`WireError`."""
    known = {"welcome": Welcome, "desired": Desired, "ack": Ack, "farewell": Farewell}
    message: FromServer | None = _decode(text, known, lenient=True)
    return message


def _decode(text: str | bytes, known: Mapping[str, type[Any]], *, lenient: bool = False) -> Any:  # one of `known`
    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise WireError("a message is a JSON object")
    cls = known.get(value.get("type", "")) if isinstance(value.get("type"), str) else None
    if cls is not None:
        return reader(cls)(value, cls.type)
    if lenient:
        return None
    raise UnknownMessage(f"type: must be one of {', '.join(known)}")
