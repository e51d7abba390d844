"""The words of the machine: states, overrides, outcomes and the transition that people read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum


class CircuitBreakerState(StrEnum):
    """What the machine of one instance has decided; an :class:`Override` may outrank it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Override(StrEnum):
    """An order of a person that outranks the machine and never overwrites its state."""

    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class Outcome(Enum):
    """How one permitted call ended. ``NEUTRAL`` is no evidence: the slot goes back, nothing is judged."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Reason(StrEnum):
    """Why a state changed; the closed set of the field ``reason`` everywhere."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    FAILURE_RATE = "failure_rate"
    SLOW_CALL_RATE = "slow_call_rate"
    RECOVERY_TIMEOUT = "recovery_timeout"
    PROBE_FAILED = "probe_failed"
    PROBE_SLOW = "probe_slow"
    PROBES_SUCCEEDED = "probes_succeeded"
    RESET = "reset"
    OVERRIDE_LIFTED = "override_lifted"


class Permit:
    """Leave to make one call, given in one epoch. Its result counts once, and only while that epoch lasts."""

    __slots__ = ("epoch", "probe", "settled", "shadow", "started_at")

    def __init__(self, epoch: int, started_at: float, *, probe: bool = False, shadow: bool = False) -> None:
        self.epoch = epoch
        self.started_at = started_at
        """Seconds on the breaker's own clock."""
        self.probe = probe
        self.shadow = shadow
        """Let in only because of ``forced_closed``: counted, but no evidence."""
        self.settled = False


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state of one breaker in one process, with its reason in a word and its cause in a sentence."""

    name: str
    from_state: CircuitBreakerState
    to_state: CircuitBreakerState
    reason: Reason
    cause: str
    epoch: int
    """The epoch that begins with this transition."""
    at: datetime
    """Aware, UTC."""
    failures: int
    """Failures behind the decision: in the window where one is kept, else in the streak."""
    calls: int
    """Calls behind the decision, counted the same way."""
    failure_rate: float | None
    """``failures / calls``; ``None`` below ``minimum_calls`` or without a window."""
