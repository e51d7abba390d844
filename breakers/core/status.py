"""How one name stands in this process, and that as it travels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .counts import NOTHING, Totals
from .forgotten import Past
from .registry import CircuitBreakerRegistry
from .snapshot import BreakerSnapshot
from .states import CircuitBreakerState
from .wire import BreakerStatus, OverrideStatus, WindowCounts

Mark = tuple[int, int, int]
"""Changes with whatever a status says; one that is made anew under a forgotten name has a later epoch."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One consistent cut: the breaker of a name, if it has one, and what forgotten ones had counted. Microseconds."""

    name: str
    present: BreakerSnapshot | None
    past: Past | None
    totals: Totals
    """Of all of them, since the process began."""

    @classmethod
    def of(cls, registry: CircuitBreakerRegistry, name: str) -> Standing | None:
        """``None`` if nothing is known of the name."""
        breaker, past = registry.look(name)
        present = None if breaker is None else breaker.snapshot()
        before = NOTHING if past is None else past.totals
        if present is not None:
            return cls(name, present, past, present.totals if past is None else before + present.totals)
        return None if past is None else cls(name, None, past, before)

    @property
    def mark(self) -> Mark:
        counts = self.totals.counts
        counted = counts.requests + counts.would_reject
        if self.present is not None:
            return self.present.epoch, self.present.changes, counted
        return self.epoch, -1, counted

    @property
    def epoch(self) -> int:
        if self.present is not None:
            return self.present.epoch
        return 0 if self.past is None else self.past.epoch

    @property
    def is_over(self) -> bool:
        """Whether no breaker of this name can count any more."""
        return self.present is None and not (self.past is not None and self.past.lingering)

    def status(self, baseline: Totals | None) -> BreakerStatus:
        """Without what ``baseline`` holds. One that has no breaker is closed, whatever the last one was."""
        totals = self.totals if baseline is None else self.totals.beyond(baseline)
        counted = BreakerStatus(
            self.name,
            CircuitBreakerState.CLOSED,
            self.epoch,
            counts=totals.counts,
            latency={str(bucket): count for bucket, count in totals.latency.items()},
        )
        return replace(counted, forgotten=True) if self.present is None else _with_state(counted, self.present)


def _with_state(counted: BreakerStatus, present: BreakerSnapshot) -> BreakerStatus:
    window = present.window
    return replace(
        counted,
        state=present.state,
        state_age=present.state_age,
        retry_in=present.retry_after,
        override=_override(present),
        config_version=present.config_version,
        consecutive_failures=present.consecutive_failures,
        window=None if window is None else WindowCounts(window.calls, window.failures, window.slow),
        last_failure_time=present.last_failure_time,
        last_success_time=present.last_success_time,
    )


def _override(snapshot: BreakerSnapshot) -> OverrideStatus | None:
    if snapshot.override is None:
        return None
    return OverrideStatus(
        snapshot.override, snapshot.override_origin or "code", snapshot.override_reason, snapshot.override_expires_in
    )
