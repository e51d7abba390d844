"""What a breaker is told: ``CircuitBreakerConfig`` and ``HttpConfig``, and the bounds of every field, stated once.

Model, admin form, serializer and OpenAPI read the same :data:`BREAKER_FIELDS` and :data:`HTTP_FIELDS`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, Self

from .errors import ConfigError

MAX_INTEGER = 2147483647
_FINITE = sys.float_info.max
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
RESERVED_NAMES = frozenset({".", "..", "reset-all"})

Kind = Literal["name", "integer", "duration", "number", "choice", "statuses", "flag"]


@dataclass(frozen=True, slots=True)
class Field:
    """Kind and bounds of one configuration field, with the sentence a person reads beside it."""

    kind: Kind
    help: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """Exclusive lower bound."""
    nullable: bool = False
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """Says what is wrong with ``value``, naming the bound; ``None`` when it is right. Nothing is coerced."""
        if value is None and self.nullable:
            return None
        return _CHECKS[self.kind](self, value)


def _outside(bounds: Field, value: float) -> bool:
    return (
        not abs(value) <= _FINITE  # also false for nan; math.isfinite overflows on huge integers
        or (bounds.minimum is not None and value < bounds.minimum)
        or (bounds.above is not None and value <= bounds.above)
        or (bounds.maximum is not None and value > bounds.maximum)
    )


def _range(bounds: Field, what: str) -> str:
    parts = []
    if bounds.minimum is not None:
        parts.append(f">= {bounds.minimum:g}")
    if bounds.above is not None:
        parts.append(f"> {bounds.above:g}")
    if bounds.maximum is not None:
        parts.append(f"<= {bounds.maximum:.10g}")
    return f"must be {what} {' and '.join(parts)}" + (" or null" if bounds.nullable else "")


def _check_integer(bounds: Field, value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and not _outside(bounds, value):
        return None
    return f"{_range(bounds, 'an integer')}, not {_shown(value)}"


def _check_number(bounds: Field, value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and not _outside(bounds, value):
        return None
    what = "a finite number of seconds" if bounds.kind == "duration" else "a number"
    return f"{_range(bounds, what)}, not {_shown(value)}"


def _check_name(bounds: Field, value: object) -> str | None:
    if isinstance(value, str) and NAME_PATTERN.fullmatch(value) and value not in RESERVED_NAMES:
        return None
    return f"must be 1 to 100 characters of A-Z a-z 0-9 _ . : - and none of '.', '..', 'reset-all', not {_shown(value)}"


def _check_choice(bounds: Field, value: object) -> str | None:
    if isinstance(value, str) and value in bounds.choices:
        return None
    return f"must be one of {', '.join(repr(choice) for choice in bounds.choices)}, not {_shown(value)}"


def _check_flag(bounds: Field, value: object) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {_shown(value)}"


def _check_statuses(bounds: Field, value: object) -> str | None:
    if isinstance(value, str) and len(value) <= 200:
        try:
            parse_statuses(value)
        except ValueError:
            pass
        else:
            return None
    return f"must list HTTP statuses and ranges from 100 to 599, as '429,500-599', not {_shown(value)}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # an integer of over 4300 digits, or a class of somebody's
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


_CHECKS: dict[Kind, Callable[[Field, object], str | None]] = {
    "name": _check_name,
    "integer": _check_integer,
    "duration": _check_number,
    "number": _check_number,
    "choice": _check_choice,
    "statuses": _check_statuses,
    "flag": _check_flag,
}


@lru_cache(maxsize=256)
def parse_statuses(text: str) -> frozenset[int]:
    """HTTP statuses of ``"429,500-599"``; the empty string is the empty set. Raises ``ValueError``."""
    found: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        if not re.fullmatch(r"[0-9]{3}(-[0-9]{3})?", part):
            raise ValueError(f"not a status or a range: {part!r}")
        low, high = int(part[:3]), int(part[-3:])
        if not 100 <= low <= high <= 599:
            raise ValueError(f"outside 100 to 599: {part!r}")
        found.update(range(low, high + 1))
    return frozenset(found)


def _count(help_text: str, minimum: int) -> Field:
    return Field("integer", help_text, minimum=minimum, maximum=MAX_INTEGER)


def _duration(help_text: str, *, nullable: bool = False) -> Field:
    return Field("duration", help_text, above=0, nullable=nullable)


def _rate(help_text: str) -> Field:
    return Field("number", help_text, above=0, maximum=1, nullable=True)


BREAKER_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "name": Field("name", "Known fleet-wide by this name."),
        "failure_threshold": _count("Consecutive failures that open; 0 turns this rule off.", 0),
        "recovery_timeout": _duration("Seconds that OPEN lasts before one call is let through as a probe."),
        "success_threshold": _count("Successful probes in a row that close.", 1),
        "timeout": _duration("Limit of one async call, in seconds; empty: no limit.", nullable=True),
        "window_type": Field("choice", "The last window_size calls, or seconds.", choices=("count", "time")),
        "window_size": _count("Calls, or seconds, that the window looks back.", 1),
        "minimum_calls": _count("Rates are undefined below this many calls.", 1),
        "failure_rate_threshold": _rate("Opens at failures / calls of at least this; empty: off."),
        "slow_call_duration": _duration("A call of at least this many seconds is slow; empty: none is.", nullable=True),
        "slow_call_rate_threshold": _rate("Opens at slow / calls of at least this; empty: off."),
        "half_open_max_calls": _count("Probes in flight at once; the rest are rejected.", 1),
        "recovery_backoff": Field("number", "Each re-opening multiplies the wait by this.", minimum=1),
        "max_recovery_timeout": _duration("Ceiling of the wait, in seconds."),
        "recovery_jitter": Field(
            "number", "Share of the wait drawn once an opening, uniform in ±this.", minimum=0, maximum=1
        ),
    }
)

HTTP_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "failure_statuses": Field("statuses", "Responses with these statuses are failures."),
        "max_retries": _count("Attempts after the first; 0 turns retries off.", 0),
        "retry_statuses": Field("statuses", "Responses with these statuses are tried again."),
        "retry_backoff": _duration("First wait between attempts in seconds; doubles, with full jitter."),
        "max_retry_wait": _duration("Longest wait between two attempts, in seconds."),
        "retry_non_idempotent": Field("flag", "Also try POST and PATCH again."),
    }
)

_ENVIRONMENT = {
    "failure_threshold": ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", int, 5),
    "recovery_timeout": ("CIRCUIT_BREAKER_RECOVERY_TIMEOUT", float, 60.0),
    "success_threshold": ("CIRCUIT_BREAKER_SUCCESS_THRESHOLD", int, 3),
    "timeout": ("CIRCUIT_BREAKER_TIMEOUT", float, 30.0),
}


def _default(name: str) -> Any:  # what a dataclass default factory gives
    """The environment's value for field ``name``, else the table's; what is no number is left as text, to be found."""
    variable, parse, table = _ENVIRONMENT[name]
    text = os.environ.get(variable, "").strip()
    if not text:
        return table
    if name == "timeout" and text.lower() == "none":
        return None
    if "_" in text or not text.isascii():  # what Python reads as a number and nobody else does
        return text
    try:
        return parse(text)
    except ValueError:
        return text


def _blame(name: str, value: object, problem: str) -> str:
    """``problem``, naming the variable of the environment where the value came from there."""
    if name not in _ENVIRONMENT:
        return problem
    variable = _ENVIRONMENT[name][0]
    text = os.environ.get(variable, "").strip()
    return f"{problem} (from {variable})" if text and str(value) == text else problem


def breaker_problems(values: Mapping[str, object]) -> dict[str, str]:
    """Every wrong field of a whole set of values of :data:`BREAKER_FIELDS`, with the rules that span two fields."""
    found = _problems(BREAKER_FIELDS, values)
    if not found.keys() & {"window_size", "minimum_calls"}:
        size, minimum = values["window_size"], values["minimum_calls"]
        if values["window_type"] == "count" and minimum > size:  # type: ignore[operator]  # both checked to be integers
            found["minimum_calls"] = f"must be at most window_size ({size}) in a count window, not {minimum}"
    if values["slow_call_rate_threshold"] is not None and values["slow_call_duration"] is None:
        found.setdefault("slow_call_rate_threshold", "needs slow_call_duration")
    return found


def http_problems(values: Mapping[str, object]) -> dict[str, str]:
    """Every wrong field of a whole set of values of :data:`HTTP_FIELDS`."""
    return _problems(HTTP_FIELDS, values)


def _problems(bounds: Mapping[str, Field], values: Mapping[str, object]) -> dict[str, str]:
    return {name: problem for name, bound in bounds.items() if (problem := bound.problem(values[name])) is not None}


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """How one breaker judges its calls. Durations in seconds. Raises :class:`ConfigError` when made wrong.

    Four defaults come from the environment (``CIRCUIT_BREAKER_FAILURE_THRESHOLD``, ``_RECOVERY_TIMEOUT``,
    ``_SUCCESS_THRESHOLD``, ``_TIMEOUT``), read each time a config is made.
    """

    name: str = "default"
    failure_threshold: int = field(default_factory=lambda: _default("failure_threshold"))
    recovery_timeout: float = field(default_factory=lambda: _default("recovery_timeout"))
    success_threshold: int = field(default_factory=lambda: _default("success_threshold"))
    timeout: float | None = field(default_factory=lambda: _default("timeout"))
    window_type: str = "count"
    window_size: int = 100
    minimum_calls: int = 20
    failure_rate_threshold: float | None = None
    slow_call_duration: float | None = None
    slow_call_rate_threshold: float | None = None
    half_open_max_calls: int = 1
    recovery_backoff: float = 1.0
    max_recovery_timeout: float = 3600.0
    recovery_jitter: float = 0.0

    def __post_init__(self) -> None:
        problems = breaker_problems(self.as_dict())
        if problems:
            raise ConfigError({name: _blame(name, getattr(self, name), problem) for name, problem in problems.items()})

    def as_dict(self) -> dict[str, Any]:
        """Field names to values, ready for JSON."""
        return {name: getattr(self, name) for name in BREAKER_FIELDS}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A config from JSON; absent fields take their default, unknown ones are a ``ConfigError``."""
        return cls(**_known(BREAKER_FIELDS, values))


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What an HTTP breaker takes for a failure, and how it tries again. Raises :class:`ConfigError` when made wrong."""

    failure_statuses: str = "429,500-599"
    max_retries: int = 2
    retry_statuses: str = "429,502,503,504"
    retry_backoff: float = 0.1
    max_retry_wait: float = 5.0
    retry_non_idempotent: bool = False

    def __post_init__(self) -> None:
        problems = http_problems(self.as_dict())
        if problems:
            raise ConfigError(problems)

    def as_dict(self) -> dict[str, Any]:
        """Field names to values, ready for JSON."""
        return {name: getattr(self, name) for name in HTTP_FIELDS}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A config from JSON; absent fields take their default, unknown ones are a ``ConfigError``."""
        return cls(**_known(HTTP_FIELDS, values))


def _known(bounds: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in values if name not in bounds]
    if unknown:
        raise ConfigError({str(name)[:100]: "no such field" for name in unknown})
    return dict(values)


TABLE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {f.name: _ENVIRONMENT[f.name][2] if f.name in _ENVIRONMENT else f.default for f in fields(CircuitBreakerConfig)}
)
"""The defaults of the table, whatever the environment of this process says: what the control plane shows and stores."""
