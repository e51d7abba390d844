from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers.core.latency import BOUNDS, LatencyHistogram, upper_bound

latencies = st.floats(1e-5, 1e4)


def histogram(values) -> LatencyHistogram:
    made = LatencyHistogram()
    for value in values:
        made.record(value)
    return made


@given(st.lists(latencies, min_size=1), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_off_by_at_most_12_percent(values, q) -> None:
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    assert histogram(values).quantile(q) == pytest.approx(exact, rel=0.12)


@given(st.lists(latencies), st.lists(latencies))
def test_merging_is_recording_both(ours, theirs) -> None:
    merged = histogram(ours)
    merged.merge(histogram(theirs))
    assert merged.to_counts() == histogram(ours + theirs).to_counts()


@given(st.lists(latencies))
def test_counts_travel(values) -> None:
    made = histogram(values)
    again = LatencyHistogram.from_counts(made.to_counts())
    assert again.to_counts() == made.to_counts()
    assert again.total == len(values)
    assert again.sum_seconds == pytest.approx(sum(values), rel=0.12)


@pytest.mark.parametrize("counts", [{-1: 1}, {len(BOUNDS) + 1: 1}, {0: -1}])
def test_counts_that_cannot_be_are_refused(counts) -> None:
    with pytest.raises(ValueError, match="bucket"):
        LatencyHistogram.from_counts(counts)


def test_an_empty_one_knows_no_percentile() -> None:
    assert LatencyHistogram().quantile(0.5) is None
    assert LatencyHistogram({3: 0}).quantile(0.5) is None
    assert LatencyHistogram({3: 0}).to_counts() == {}


def test_what_is_below_and_above_all_buckets_is_kept() -> None:
    made = histogram([0.0, -1.0, 1e-6, 1e9])
    assert made.to_counts() == {0: 3, len(BOUNDS): 1}
    assert made.quantile(0.5) == 0.0
    assert made.quantile(1.0) == BOUNDS[-1] >= 1e5


def test_bounds_are_inclusive_and_the_last_bucket_has_none() -> None:
    assert histogram([BOUNDS[7]]).to_counts() == {7: 1}
    assert upper_bound(7) == BOUNDS[7]
    assert upper_bound(len(BOUNDS) - 1) == BOUNDS[-1]
    assert upper_bound(len(BOUNDS)) == math.inf


def test_cumulative_counts_in_the_order_of_the_buckets() -> None:
    assert list(LatencyHistogram({9: 2, 4: 1, 12: 5}).cumulative()) == [(4, 1), (9, 3), (12, 8)]
