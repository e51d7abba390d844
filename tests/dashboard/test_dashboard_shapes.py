"""The small pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakers.fleet import Row, Volume
from dashboard import shapes
from dashboard.verdict import Kind

Make = Callable[..., Row]


def test_one_square_an_instance_worst_first(make_row: Make) -> None:
    paths = shapes.marks(make_row(opened=1, half_open=1, silent=1, closed=1))
    assert paths["open"] == "M2 2h5v5h-5z"
    assert paths["half_open"].startswith("M11 2")
    assert paths["half_fill"] == "M11 2h2v5h-2z"
    assert paths["silent"].startswith("M20 2")
    assert paths["closed"].startswith("M29 2")


def test_the_eleventh_square_begins_a_row(make_row: Make) -> None:
    row = make_row(closed=11)
    assert shapes.marks(row)["closed"].endswith("M2 11h5v5h-5z")
    assert shapes.marks_size(row) == (90, 18)


def test_a_breaker_without_instances_has_no_square(make_row: Make) -> None:
    assert set(shapes.marks(make_row()).values()) == {""}


@given(st.lists(st.integers(0, 3000), min_size=4, max_size=4))
def test_many_instances_are_drawn_in_proportion_and_none_vanishes(counts: list[int]) -> None:
    fitted = shapes._fitted(counts)
    assert sum(fitted) == min(sum(counts), shapes.MARKS)
    assert all((drawn > 0) == (count > 0) for drawn, count in zip(fitted, counts, strict=True))


def test_the_bar_ends_at_the_rate_and_the_mark_at_the_limit(make_row: Make) -> None:
    assert shapes.bar(make_row(closed=1, failure_rate=0.25, limit=0.5)) == ("20.0", "M40.0 0v12", False)
    assert shapes.bar(make_row(closed=1, failure_rate=0.5, limit=0.5)) == ("40.0", "M40.0 0v12", True)
    assert shapes.bar(make_row(closed=1)) == ("0.0", "", False)
    assert shapes.bar(make_row(opened=1, failure_rate=0.1)) == ("8.0", "", True)


def test_the_line_ends_at_the_right_and_breaks_where_nobody_called() -> None:
    line, area = shapes.spark([0.0, 100.0, None, 50.0])
    assert line == "M71.7 21.0h0L74.5 1.0M80.0 11.0h0"
    assert area == "M71.7 22V21.0L74.5 1.0V22zM80.0 22V11.0V22z"
    assert shapes.spark([]) == ("", "")
    assert shapes.spark([250.0])[0] == "M80.0 1.0h0"


def test_a_groups_marks_are_squares_but_for_the_closed() -> None:
    assert shapes.dots([Kind.OPEN, Kind.CLOSED]) == {Kind.OPEN: "M2 2h6v6h-6z", Kind.CLOSED: "M17 5h0"}
    assert [shapes.dots_height(n) for n in (0, 15, 16)] == [12, 12, 24]


def test_calls_are_columns_that_stack_and_end_at_the_right() -> None:
    quiet, busy = Volume(passed=0.0, failed=0.0, rejected=0.0), Volume(passed=2.0, failed=1.0, rejected=7.0)
    columns = shapes.columns([quiet, busy])
    assert columns.highest == "10"
    assert columns.passed == "M291.0 80.0h8v20.0h-8z"
    assert columns.failed == "M291.0 70.0h8v10.0h-8z"
    assert columns.rejected == "M291.0 0.0h8v70.0h-8z"
    assert columns.text.endswith("at last 2.0 passed, 1.0 failed, 7.0 rejected")


@pytest.mark.parametrize(
    ("most", "scale"), [(0.0, "1.0"), (1.0, "1.0"), (1.1, "2.0"), (4.0, "5.0"), (412.0, "500"), (501.0, "1,000")]
)
def test_the_scale_is_a_round_number_that_nothing_exceeds(most: float, scale: str) -> None:
    assert shapes.columns([Volume(passed=most, failed=0.0, rejected=0.0)]).highest == scale


def test_without_calls_there_is_nothing_to_draw() -> None:
    assert (shapes.columns([]).passed, shapes.columns([]).rejected) == ("", "")


def test_the_limit_is_a_line_across_at_its_height() -> None:
    assert [shapes.bound(limit) for limit in (0.0, 0.5, 1.0)] == ["M0 21.0h80", "M0 11.0h80", "M0 1.0h80"]


def test_the_pulse_stacks_the_states_of_a_minute() -> None:
    counts = {state: [0] * 60 for state in ("closed", "half_open", "open")}
    counts["closed"][59] = counts["open"][59] = 5
    paths = shapes.pulse(counts)
    assert paths == {"closed": "M236 16.0h3v13.0h-3z", "half_open": "", "open": "M236 3.0h3v13.0h-3z"}
