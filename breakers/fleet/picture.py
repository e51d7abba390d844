"""Everything that is counted, at one moment: what Prometheus is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakers.core.latency import LatencyHistogram

from .rows import merged
from .summary import named
from .view import BreakerView, Row


@dataclass(frozen=True, slots=True)
class Taken:
    """What is counted of one breaker, as it stood at one moment."""

    row: Row
    totals: tuple[int, ...]
    latency: Mapping[str, int]
    slow_limit: float | None

    @classmethod
    def of(cls, view: BreakerView, row: Row) -> Taken:
        slow_limit = None if view.record is None else view.record.config.slow_call_rate_threshold
        return cls(row, tuple(view.totals), dict(view.latency), slow_limit)


@dataclass(frozen=True, slots=True)
class Counted:
    """One breaker: its row, and its totals over all instances that ever were."""

    row: Row
    totals: Mapping[str, int]
    latency: LatencyHistogram
    slow_limit: float | None
    """The share of slow calls that opens it; the one of failures is the row's ``limit``."""

    @classmethod
    def of(cls, taken: Taken) -> Counted:
        return cls(taken.row, named(taken.totals), merged(taken.latency), taken.slow_limit)


@dataclass(frozen=True, slots=True)
class Picture:
    breakers: tuple[Counted, ...]
    transitions: Mapping[tuple[str, str, str, str], int]
    """(breaker, from, to, reason) to how often."""
    agents: int
    """Links that are up."""
