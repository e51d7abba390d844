"""How long a link waits between two attempts."""

from __future__ import annotations

import pytest

from breakers.client.backoff import Backoff
from breakers.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ceilings(backoff: Backoff, number: int) -> list[float]:
    return [backoff.wait() for _ in range(number)]


@pytest.fixture
def backoff(clock: FakeClock) -> Backoff:
    """One that always draws the longest wait."""
    return Backoff(clock, uniform=lambda low, high: high)


def test_waits_double_from_half_a_second_to_five(backoff: Backoff) -> None:
    assert ceilings(backoff, 6) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_is_full(clock: FakeClock) -> None:
    drawn: list[tuple[float, float]] = []
    Backoff(clock, uniform=lambda low, high: drawn.append((low, high)) or low).wait()
    assert drawn == [(0.0, 0.5)]


def test_who_was_sent_away_with_all_the_others_comes_back_within_two_seconds_once(backoff: Backoff) -> None:
    backoff.spread()
    assert ceilings(backoff, 3) == [2.0, 1.0, 2.0]


def test_away_for_five_minutes_waits_grow_to_thirty_seconds(backoff: Backoff, clock: FakeClock) -> None:
    ceilings(backoff, 5)
    clock.advance(299)
    assert ceilings(backoff, 1) == [5.0]
    clock.advance(1)
    assert ceilings(backoff, 2) == [30.0, 30.0]


def test_a_minute_of_health_starts_over(backoff: Backoff, clock: FakeClock) -> None:
    ceilings(backoff, 5)
    backoff.connected()
    clock.advance(60)
    assert backoff.lost()
    assert ceilings(backoff, 2) == [0.5, 1.0]


def test_a_connection_that_breaks_at_once_does_not(backoff: Backoff, clock: FakeClock) -> None:
    ceilings(backoff, 3)
    backoff.connected()
    clock.advance(59)
    assert not backoff.lost()
    assert ceilings(backoff, 1) == [4.0]


def test_a_connection_ends_the_absence(backoff: Backoff, clock: FakeClock) -> None:
    ceilings(backoff, 9)
    clock.advance(1000)
    backoff.connected()
    backoff.lost()
    assert ceilings(backoff, 1) == [5.0]


def test_an_attempt_that_failed_is_no_connection(backoff: Backoff, clock: FakeClock) -> None:
    clock.advance(1000)
    assert not backoff.lost()
    ceilings(backoff, 9)
    assert ceilings(backoff, 1) == [30.0]


def test_days_of_absence_do_not_overflow(backoff: Backoff, clock: FakeClock) -> None:
    clock.advance(1e6)
    assert ceilings(backoff, 5000)[-1] == 30.0
