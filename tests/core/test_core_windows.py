from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from breakers.core.windows import CountWindow, Tally, TimeWindow

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(outcomes, st.integers(1, 20), st.integers(1, 20), outcomes)
def test_a_count_window_slides_shrinks_and_grows_exactly(first, size, new_size, second) -> None:
    window = CountWindow(size)
    for failed, slow in first:
        window.push(0.0, failed, slow)
    window.resize(new_size)
    for failed, slow in second:
        window.push(0.0, failed, slow)
    kept = (first[-size:][-new_size:] + second)[-new_size:]
    assert window.tally(0.0) == Tally(len(kept), sum(f for f, _ in kept), sum(s for _, s in kept))


def test_a_healthy_count_window_of_any_size_costs_nothing() -> None:
    window = CountWindow(2147483647)
    for _ in range(1000):
        window.push(0.0, False, False)
    assert (len(window.failed), len(window.slowed), window.calls) == (0, 0, 1000)


gaps = st.lists(st.floats(0, 40), max_size=40)


@given(gaps, st.integers(1, 300))
def test_a_time_window_forgets_within_its_last_tenth_and_never_later(gaps, size) -> None:
    window, now, times = TimeWindow(size), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        window.push(now, True, False)
    tally = window.tally(now)
    # a thousandth of a bucket for the rounding of the division
    certain = sum(now - time < size * 0.899 for time in times)
    possible = sum(now - time < size * 1.0001 for time in times)
    assert certain <= tally.calls <= possible
    assert tally.failures == tally.calls
    assert len(window.buckets) <= max(10, min(size, 100))


@given(gaps, st.integers(1, 300), st.integers(1, 300))
def test_a_resized_time_window_loses_nothing_that_is_young_enough(gaps, size, new_size) -> None:
    window, now, times = TimeWindow(size), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        window.push(now, False, True)
    window.tally(now)
    window.resize(new_size)
    tally = window.tally(now)
    certain = sum(now - time < min(size * 0.899, new_size * 0.899 - size * 0.1) for time in times)
    assert tally.calls >= certain
    assert tally.calls <= sum(now - time < min(size, new_size) * 1.0001 for time in times)
    assert tally.slow == tally.calls == sum(bucket.calls for bucket in window.buckets)
    indexes = [bucket.index for bucket in window.buckets]
    assert indexes == sorted(set(indexes))


def test_whole_seconds_leave_at_exactly_the_size() -> None:
    window = TimeWindow(60)
    window.push(5.0, True, True)
    assert window.tally(64.999) == Tally(1, 1, 1)
    assert window.tally(65.0) == Tally(0, 0, 0)


def test_a_reading_older_than_another_threads_joins_the_newest_bucket() -> None:
    window = TimeWindow(10)
    window.push(6.0, False, False)
    window.push(5.9, True, False)
    assert window.tally(15.9) == Tally(2, 1, 0)
    assert window.tally(16.0) == Tally(0, 0, 0)


def test_calls_of_one_slice_share_a_bucket_and_empty_slices_have_none() -> None:
    window = TimeWindow(60)
    for now in (5.0, 5.5, 5.999, 40.0):
        window.push(now, False, False)
    assert [(bucket.index, bucket.calls) for bucket in window.buckets] == [(5, 3), (40, 1)]
    window.resize(20)
    assert window.tally(40.0) == Tally(1, 0, 0)
    assert len(window.buckets) == 1
