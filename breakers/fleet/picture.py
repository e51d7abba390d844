"""Everything that is counted, at one moment: what Prometheus is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakers.core.latency import LatencyHistogram

from .rows import histogram_of
from .summary import totals_of
from .view import BreakerView, Row


@dataclass(frozen=True, slots=True)
class Counted:
    """One breaker: its row, and its totals over all instances that ever were."""

    row: Row
    totals: Mapping[str, int]
    latency: LatencyHistogram
    slow_limit: float | None
    """The share of slow calls that opens it; the one of failures is the row's ``limit``."""

    @classmethod
    def of(cls, view: BreakerView, row: Row) -> Counted:
        slow_limit = None if view.record is None else view.record.config.slow_call_rate_threshold
        return cls(row, totals_of(view), histogram_of(view), slow_limit)


@dataclass(frozen=True, slots=True)
class Picture:
    breakers: tuple[Counted, ...]
    transitions: Mapping[tuple[str, str, str, str], int]
    """(breaker, from, to, reason) to how often."""
    agents: int
    """Links that are up."""
