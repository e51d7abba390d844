"""The messages that a link and the control plane exchange, versioned; ``docs/protocol.md`` shows each with an example.

JSON objects with a ``type``. Unknown keys are passed over and absent ones take their default, so that an older library
meets a newer server and the reverse; a value of the wrong type is a :class:`WireError` that names its path.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from .states import CircuitBreakerState, Override

PROTOCOL = 1
MAX_BYTES = 1 << 20
"""No message is larger; a report with more to say is cut into several."""

Json = Mapping[str, Any]


class WireError(ValueError):
    """A message that cannot be read; the text names the path of the wrong value."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A breaker that a service has in code, with the config it has there."""

    name: str
    config: Json
    http: Json | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Cumulative since the instance began, so that a lost or repeated report changes nothing."""

    successes: int = 0
    failures: int = 0
    rejected: int = 0
    ignored: int = 0
    late: int = 0
    would_reject: int = 0
    timeouts: int = 0
    slow: int = 0
    state_changes: int = 0
    probes: int = 0


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
    window: WindowCounts | None = None
    latency: Mapping[str, int] = field(default_factory=dict)
    """Bucket index of ``breakers.core.latency`` to cumulative count."""
    last_failure_time: float | None = None
    last_success_time: float | None = None


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
    protocol: int = PROTOCOL
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
    protocol: int = PROTOCOL
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

Decoder = Callable[[Any, str], Any]
M = TypeVar("M")


def encode(message: FromAgent | FromServer) -> str:
    """Compact JSON; fields that hold their default are left out."""
    return json.dumps({"type": message.type, **_plain(message)}, separators=(",", ":"), allow_nan=False)


def decode_from_agent(text: str | bytes) -> FromAgent:
    """Raises :class:`WireError`, whatever the bytes are."""
    message: FromAgent = _decode(text, {"hello": Hello, "report": Report, "goodbye": Goodbye})
    return message


def decode_from_server(text: str | bytes) -> FromServer | None:
    """``None`` for a type that a newer server knows and we don't. Raises :class:`WireError`."""
    known = {"welcome": Welcome, "desired": Desired, "ack": Ack, "farewell": Farewell}
    message: FromServer | None = _decode(text, known, lenient=True)
    return message


def _decode(text: str | bytes, known: Mapping[str, type[Any]], *, lenient: bool = False) -> Any:  # one of `known`
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise WireError("a message is a JSON object")
    cls = known.get(value.get("type", "")) if isinstance(value.get("type"), str) else None
    if cls is not None:
        return _decoder(cls)(value, cls.type)
    if lenient:
        return None
    raise WireError(f"type: must be one of {', '.join(known)}")


def _no_constant(text: str) -> float:
    raise WireError(f"{text} is not a number")


def _plain(value: Any) -> Any:  # what json.dumps takes
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(item) for f in fields(value) if not _is_default(f, item := getattr(value, f.name))}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _is_default(f: Any, value: object) -> bool:  # dataclasses.Field is generic in what we do not know
    if f.default is not MISSING:
        return type(value) is type(f.default) and value == f.default
    return f.default_factory is not MISSING and value == f.default_factory()


_decoders: dict[Any, Decoder] = {}


def _decoder(kind: Any) -> Decoder:  # a type form: class, union or generic alias
    """The closure that reads ``kind``; built once a type."""
    if kind not in _decoders:
        _decoders[kind] = _build(kind)
    return _decoders[kind]


def _build(kind: Any) -> Decoder:  # a type form
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _optional(_decoder(next(a for a in arguments if a is not type(None))))
    if origin is tuple:
        return _sequence(_decoder(arguments[0]))
    if origin is not None:
        return _mapping(_decoder(arguments[1]))
    if kind in _SCALARS:
        return _scalar(kind)
    return _word(kind) if issubclass(kind, StrEnum) else _record(kind)


def _optional(inner: Decoder) -> Decoder:
    return lambda value, path: None if value is None else inner(value, path)


def _sequence(inner: Decoder) -> Decoder:
    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WireError(f"{path}: must be a list")
        return tuple([inner(item, path) for item in value])

    return read


def _mapping(inner: Decoder) -> Decoder:
    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WireError(f"{path}: must be an object")
        return {key: inner(item, f"{path}.{key[:100]}") for key, item in value.items()}

    return read


_SCALARS: dict[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), bool: (bool,), Any: (object,),
}  # fmt: skip
_LONGEST = 1 << 53
"""No integer is larger: counters, and what JavaScript can hold."""


def _scalar(kind: Any) -> Decoder:  # a key of _SCALARS
    accepted = _SCALARS[kind]
    numeric = kind in (int, float)

    def read(value: Any, path: str) -> Any:
        right: Any = value
        if not isinstance(value, accepted) or (numeric and isinstance(value, bool)):
            raise WireError(f"{path}: must be of type {kind.__name__}")
        if numeric and not abs(right) <= _LONGEST:
            raise WireError(f"{path}: out of range")
        return float(right) if kind is float else right

    return read


def _word(words: type[StrEnum]) -> Decoder:
    known = {word.value: word for word in words}

    def read(value: Any, path: str) -> StrEnum:
        if not isinstance(value, str) or value not in known:
            raise WireError(f"{path}: must be one of {', '.join(known)}")
        return known[value]

    return read


def _record(cls: type[M]) -> Decoder:
    hints = get_type_hints(cls)
    parts = [
        (f.name, _decoder(hints[f.name]), f.default is MISSING and f.default_factory is MISSING)
        for f in fields(cls)  # type: ignore[arg-type]  # every message is a dataclass
    ]

    def read(value: Any, path: str) -> M:
        if not isinstance(value, dict):
            raise WireError(f"{path}: must be an object")
        found = {}
        for name, decode, required in parts:
            if name in value:
                found[name] = decode(value[name], f"{path}.{name}")
            elif required:
                raise WireError(f"{path}.{name}: is missing")
        return cls(**found)

    return read
