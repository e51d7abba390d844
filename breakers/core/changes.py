"""One change of state: the facts as the machine saw them, and the :class:`Transition` that people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from .config import CircuitBreakerConfig
from .states import CircuitBreakerState, Reason, Transition
from .windows import Tally

_LONGEST_ERROR = 200


@dataclass(frozen=True, slots=True)
class Change:
    """What a transition is made of, gathered while the lock is held; the sentence is written when it is not."""

    from_state: CircuitBreakerState
    to_state: CircuitBreakerState
    reason: Reason
    epoch: int
    config: CircuitBreakerConfig
    streak: int
    """Consecutive failures."""
    tally: Tally | None
    """The window's, where one is kept."""
    wait: float
    """Seconds that the opening lasted which ends here."""
    probes: int
    """Successful probes in a row."""
    duration: float
    """Seconds that the judged call took."""
    error: BaseException | None
    """What the judged call raised."""
    note: str
    """Given by who ordered the change."""


def transition(name: str, change: Change) -> Transition:
    """``change`` with the breaker's name, the time and its cause in a sentence."""
    tally = change.tally
    calls = change.streak if tally is None else tally.calls
    failures = change.streak if tally is None else tally.failures
    return Transition(
        name=name,
        from_state=change.from_state,
        to_state=change.to_state,
        reason=change.reason,
        cause=change.note or _SENTENCES[change.reason](change),
        epoch=change.epoch,
        at=datetime.now(UTC),
        failures=failures,
        calls=calls,
        failure_rate=failures / calls if tally is not None and calls >= change.config.minimum_calls else None,
    )


def describe(error: BaseException | None) -> str:
    """Type and message on one line of bounded length, also of an exception whose ``str`` raises."""
    if error is None:
        return "a result judged to be a failure"
    kind = type(error).__name__
    try:
        message = " ".join(str(error).split())
    except Exception:
        return kind
    if len(message) > _LONGEST_ERROR:
        message = f"{message[: _LONGEST_ERROR - 3]}..."
    return f"{kind}: {message}" if message else kind


def _streak(change: Change) -> str:
    failures = "1 failure" if change.streak == 1 else f"{change.streak} consecutive failures"
    return f"{failures}, last: {describe(change.error)}"


def _failure_rate(change: Change) -> str:
    tally, limit = cast(Tally, change.tally), change.config.failure_rate_threshold
    return f"{tally.failures} of {tally.calls} calls failed ({tally.failures / tally.calls:.1%}, limit {limit:.1%})" + (
        f", last: {describe(change.error)}" if change.error is not None else ""
    )


def _slow_call_rate(change: Change) -> str:
    tally, limit = cast(Tally, change.tally), change.config.slow_call_rate_threshold
    return (
        f"{tally.slow} of {tally.calls} calls took {change.config.slow_call_duration:g} s or longer "
        f"({tally.slow / tally.calls:.1%}, limit {limit:.1%})"
    )


def _probes_succeeded(change: Change) -> str:
    return "the probe succeeded" if change.probes == 1 else f"{change.probes} probes in a row succeeded"


_SENTENCES: dict[Reason, Callable[[Change], str]] = {
    Reason.CONSECUTIVE_FAILURES: _streak,
    Reason.FAILURE_RATE: _failure_rate,
    Reason.SLOW_CALL_RATE: _slow_call_rate,
    Reason.RECOVERY_TIMEOUT: lambda change: f"{change.wait:.3g} s have passed, probing",
    Reason.PROBE_FAILED: lambda change: f"the probe failed: {describe(change.error)}",
    Reason.PROBE_SLOW: lambda change: (
        f"the probe took {change.duration:.3g} s, slow from {change.config.slow_call_duration:g} s"
    ),
    Reason.PROBES_SUCCEEDED: _probes_succeeded,
    Reason.RESET: lambda change: "reset",
    Reason.OVERRIDE_LIFTED: lambda change: "forced_open was lifted",
}
