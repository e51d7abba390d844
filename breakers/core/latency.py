"""Latencies in a mergeable histogram: the same log-spaced buckets in every process, so the fleet's p99 is a p99."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from math import inf, sqrt

_SMALLEST = 1e-6
_GROWTH = 1.25
_LARGEST = 1e5

BOUNDS: tuple[float, ...] = tuple(
    _SMALLEST * _GROWTH**step for step in range(200) if _SMALLEST * _GROWTH**step < _LARGEST * _GROWTH
)
"""Upper bounds in seconds, inclusive, of the buckets 0 to ``len(BOUNDS) - 1``; one more bucket holds what is longer.

A percentile is told as the geometric middle of its bucket, so it is off by at most sqrt(1.25) - 1 = 11.8 %.
Bucket 0 (up to a microsecond) is told as 0.
"""

LOWS: tuple[float, ...] = (-inf, *BOUNDS)
HIGHS: tuple[float, ...] = (*BOUNDS, inf)
"""Bucket ``i`` holds what took more than ``LOWS[i]`` and at most ``HIGHS[i]`` seconds."""

_MIDDLES: tuple[float, ...] = (0.0, *(bound / sqrt(_GROWTH) for bound in BOUNDS[1:]), BOUNDS[-1])


def upper_bound(index: int) -> float:
    """Seconds, inclusive; infinite for the last bucket."""
    return HIGHS[index]


def bucket_of(seconds: float) -> int:
    return bisect_left(BOUNDS, seconds)


class LatencyHistogram:
    """Counts a bucket. Only buckets that were hit take memory. Not locked: its owner does that."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = {} if counts is None else dict(counts)

    @classmethod
    def from_counts(cls, counts: Mapping[int, int]) -> LatencyHistogram:
        """The histogram that :meth:`to_counts` described. Raises ``ValueError`` on a bucket or count that cannot be."""
        if any(not 0 <= index <= len(BOUNDS) or count < 0 for index, count in counts.items()):
            raise ValueError("no such bucket, or a negative count")
        return cls(counts)

    def to_counts(self) -> dict[int, int]:
        """Bucket index to count, in the order of the buckets; empty buckets are absent."""
        return {index: self.counts[index] for index in sorted(self.counts) if self.counts[index]}

    def record(self, seconds: float) -> None:
        index = bucket_of(seconds)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: LatencyHistogram) -> None:
        """Adds what ``other`` counted."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def sum_seconds(self) -> float:
        """Estimated from the middles of the buckets: off by at most 11.8 %."""
        return sum(_MIDDLES[index] * count for index, count in self.counts.items())

    def quantile(self, q: float) -> float | None:
        """The latency in seconds that a share ``q`` (0 to 1) of the calls did not exceed; ``None`` when empty."""
        rank = q * self.total
        for index, so_far in self.cumulative():
            if so_far >= rank:
                return _MIDDLES[index]
        return None

    def cumulative(self) -> Iterator[tuple[int, int]]:
        """Pairs (bucket index, calls in it and in all below), of the buckets that were hit."""
        so_far = 0
        for index, count in self.to_counts().items():
            so_far += count
            yield index, so_far
