"""How figures read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dashboard import words

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0 s"), (59.9, "59 s"), (60, "1 m 0 s"), (221, "3 m 41 s"), (3599, "59 m 59 s"),
     (3600, "1 h 0 m"), (3840, "1 h 4 m"), (86399, "23 h 59 m"), (86400, "1 d 0 h"), (190800, "2 d 5 h")],
)  # fmt: skip
def test_a_duration_has_two_units_at_the_most(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_how_long_ago_says_so() -> None:
    assert (words.ago(None), words.ago(61)) == ("–", "1 m 1 s ago")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86399, "23 h"), (172800, "2 d")],
)
def test_a_sentence_has_one_unit(seconds: float, text: str) -> None:
    assert words.roughly(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0%"), (0.6424, "64.2%"), (0.0025, "0.3%"), (1, "100.0%"), (1 / 3, "33.3%")]
)
def test_a_share_has_one_decimal_halves_up(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(("share", "text"), [(0.5, "50%"), (0.125, "12.5%"), (1, "100%"), (0.1, "10%")])
def test_a_limit_reads_as_it_was_typed(share: float, text: str) -> None:
    assert words.limit(share) == text


@pytest.mark.parametrize(
    ("speed", "text"),
    [(0, "0"), (-1, "0"), (0.04, "0.0"), (0.3, "0.3"), (9.94, "9.9"), (10, "10"), (411.5, "412"), (1204.2, "1,204")],
)
def test_a_speed_is_as_fine_as_it_is_slow(speed: float, text: str) -> None:
    assert words.speed(speed) == text


def test_a_moment_ahead_of_our_clock_is_now() -> None:
    assert words.elapsed("2026-03-01T12:00:05Z", NOON) == 0.0
    assert words.elapsed("2026-03-01T11:59:00Z", NOON) == 60.0
    assert words.elapsed(None, NOON) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0.0 s"), (-0.004, "0.0 s"), (0.004, "0.0 s"), (2.34, "+2.3 s"), (-61.0, "-61.0 s")],
)
def test_a_clock_is_ahead_or_behind_where_that_can_be_seen(seconds: float | None, text: str) -> None:
    assert words.ahead(seconds) == text


def test_one_is_one_and_more_are_many() -> None:
    assert [words.plural(n, "row") for n in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
