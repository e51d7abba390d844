"""What a breaker says of itself at one moment: a frozen view for reports, and the dict of ``get_metrics()``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import CircuitBreakerConfig
from .counts import Counts, Totals
from .latency import LatencyHistogram
from .machine import Origin
from .states import CircuitBreakerState, Override
from .windows import Tally


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """One consistent cut through a breaker. Durations in seconds."""

    name: str
    state: CircuitBreakerState
    epoch: int
    state_age: float
    """Seconds since the state began."""
    retry_after: float | None
    """Seconds until OPEN lets a probe through; ``None`` in the other states and when forced."""
    override: Override | None
    override_origin: Origin | None
    override_reason: str
    override_expires_in: float | None
    config: CircuitBreakerConfig
    config_version: int | None
    consecutive_failures: int
    counts: Counts
    window: Tally | None
    latency: dict[int, int]
    last_failure_time: float | None
    """Seconds since 1970, as the wall clock stands now."""
    last_success_time: float | None
    opened_at: float | None
    """Seconds since 1970; ``None`` when CLOSED."""
    changes: int
    """Moves whenever a count, the state, the override or the config did."""

    @property
    def totals(self) -> Totals:
        return Totals(self.counts, self.latency)


def metrics(snapshot: BreakerSnapshot) -> dict[str, Any]:
    """The dict of ``get_metrics()``: plain values, ready for JSON."""
    counts = snapshot.counts
    return {
        "state": snapshot.state,
        "override": snapshot.override,
        "requests_total": counts.requests,
        "successes_total": counts.successes,
        "failures_total": counts.failures,
        "rejected_total": counts.rejected,
        "ignored_total": counts.ignored,
        "late_total": counts.late,
        "would_reject_total": counts.would_reject,
        "timeouts_total": counts.timeouts,
        "slow_total": counts.slow,
        "probes_total": counts.probes,
        "state_changes_total": counts.state_changes,
        "consecutive_failures": snapshot.consecutive_failures,
        "window": _window(snapshot),
        "last_failure_time": snapshot.last_failure_time,
        "last_success_time": snapshot.last_success_time,
        "opened_at": snapshot.opened_at,
        "retry_after": snapshot.retry_after,
        "latency": _latency(snapshot.latency),
        "config": snapshot.config.as_dict(),
        "config_version": snapshot.config_version,
    }


def _window(snapshot: BreakerSnapshot) -> dict[str, Any]:
    tally = snapshot.window or Tally(0, 0, 0)
    rated = tally.calls >= snapshot.config.minimum_calls
    return {
        "calls": tally.calls,
        "failures": tally.failures,
        "slow": tally.slow,
        "failure_rate": tally.failures / tally.calls if rated else None,
        "slow_call_rate": tally.slow / tally.calls if rated else None,
    }


def _latency(counts: dict[int, int]) -> dict[str, Any]:
    histogram = LatencyHistogram(counts)
    return {
        "counts": histogram.to_counts(),
        "p50": histogram.quantile(0.50),
        "p95": histogram.quantile(0.95),
        "p99": histogram.quantile(0.99),
    }
