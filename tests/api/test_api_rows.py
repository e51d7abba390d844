"""Ordering rows of which some have no value."""

from __future__ import annotations

import pytest

from breakers.api.rows import select_rows


@pytest.fixture
def rows():
    def row(name, rate, group=""):
        return {"name": name, "group": group, "state": "closed", "services": [], "failure_rate": rate}

    return [row("a", None), row("b", 0.1, "x"), row("c", 0.9, "x"), row("d", None, "x"), row("e", 0.1)]


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ([], "abcde"),
        (["failure_rate"], "becad"),
        (["-failure_rate"], "cbead"),
        (["-failure_rate", "-name"], "cebda"),
        (["group", "-name"], "eadcb"),
        (["-group", "failure_rate"], "bcdea"),
    ],
)
def test_rows_without_a_value_come_last_either_way_and_ties_go_to_the_next_key(rows, ordering, expected):
    assert "".join(row["name"] for row in select_rows(rows, ordering=ordering)) == expected
