"""What is counted: of one breaker, and of one name over all the breakers that a process made under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import add, attrgetter, sub


@dataclass(frozen=True, slots=True)
class Counts:
    """Cumulative; nothing sets them back."""

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
    """Settled probes: what was requested in HALF_OPEN. Rejections were requested in OPEN, the rest in CLOSED."""

    @property
    def requests(self) -> int:
        return self.successes + self.failures + self.rejected + self.ignored + self.late


COUNT_NAMES = tuple(f.name for f in fields(Counts))
_values = attrgetter(*COUNT_NAMES)


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts and the latencies behind them, which go together."""

    counts: Counts = field(default_factory=Counts)
    latency: Mapping[int, int] = field(default_factory=dict)
    """Counted calls a bucket of :mod:`breakers.core.latency`; buckets without any are absent."""

    def __add__(self, other: Totals) -> Totals:
        counts = Counts(*map(add, _values(self.counts), _values(other.counts)))
        return Totals(counts, _combined(self.latency, other.latency, 1))

    def beyond(self, before: Totals) -> Totals:
        """What is more than ``before``; nothing where that is more."""
        left = map(sub, _values(self.counts), _values(before.counts))
        return Totals(Counts(*(max(count, 0) for count in left)), _combined(self.latency, before.latency, -1))


def _combined(latency: Mapping[int, int], other: Mapping[int, int], sign: int) -> dict[int, int]:
    buckets: Iterable[int] = sorted({*latency, *other})
    sums = ((bucket, latency.get(bucket, 0) + sign * other.get(bucket, 0)) for bucket in buckets)
    return {bucket: count for bucket, count in sums if count > 0}


NOTHING = Totals()
