"""What a row comes to, and the sentence for all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from breakers.fleet import Row
from dashboard.cells import cells, grouped, note
from dashboard.filters import Filter
from dashboard.verdict import Kind, affected, kind_of, needs_attention, tally, verdict, worst_first

Make = Callable[..., Row]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORCED = {"override": "forced_open", "reason": "INC-7", "by": "user:alice", "expires_at": "2026-03-01T15:30:00Z"}


@pytest.mark.parametrize(
    ("given", "kind", "share", "attention"),
    [
        ({"closed": 3}, Kind.CLOSED, (3, 3), False),
        ({"closed": 2, "silent": 1}, Kind.CLOSED, (2, 3), False),
        ({"opened": 4, "closed": 16}, Kind.OPEN, (4, 20), True),
        ({"opened": 2, "half_open": 2}, Kind.OPEN, (2, 4), True),
        ({"half_open": 1, "closed": 1}, Kind.HALF_OPEN, (1, 2), True),
        ({"opened": 1, "ready_to_probe": True}, Kind.READY, (1, 1), True),
        ({"silent": 2, "state": "open"}, Kind.NO_DATA, (2, 2), True),
        ({}, Kind.NO_DATA, (0, 0), False),
        ({"opened": 1, "override": FORCED}, Kind.FORCED_OPEN, (1, 1), True),
        ({"closed": 2, "override": {**FORCED, "override": "forced_closed"}, "applied": {"on": 1, "of": 2}},
         Kind.FORCED_CLOSED, (1, 2), True),
    ],
)  # fmt: skip
def test_one_kind_a_row_with_its_share(
    make_row: Make, given: dict[str, Any], kind: Kind, share: tuple[int, int], attention: bool
) -> None:
    row = make_row(**given)
    assert (kind_of(row), affected(row), needs_attention(row)) == (kind, share, attention)


def test_worst_comes_first(make_row: Make) -> None:
    rows = [
        make_row("closed", closed=1),
        make_row("few", opened=1, closed=9),
        make_row("busy", opened=1, closed=1, rates={"calls": 0, "failures": 0, "rejected": 9.0}),
        make_row("idle", opened=1, closed=1),
        make_row("all", opened=2),
        make_row("probing", half_open=1),
        make_row("ready", opened=1, ready_to_probe=True),
        make_row("a-closed", closed=1),
        make_row("forced", closed=1, override=FORCED),
        make_row("nobody"),
    ]
    order = [row["name"] for row in worst_first(rows)]
    assert order == ["all", "busy", "idle", "few", "ready", "probing", "forced", "nobody", "a-closed", "closed"]


def test_trouble_is_said_with_its_worst_and_its_spread(make_row: Make) -> None:
    rows = [
        make_row("bank-api", opened=18, closed=2, since="2026-03-01T11:49:38Z"),
        make_row("other", opened=1, closed=3, since="2026-03-01T11:59:48Z"),
        make_row("fine", closed=4),
    ]
    said = verdict(rows, 0, NOW)
    assert (said.level, said.title, said.worst) == ("open", "2 of 3 breakers are open", "bank-api")
    assert said.detail == ", open on 18 of 20 instances for 10 min. Last change 12 s ago."


@pytest.mark.parametrize(
    ("kinds", "title", "level"),
    [
        ([], "No breakers yet", "no_data"),
        ([{"closed": 1}], "The one breaker is closed", "closed"),
        ([{"closed": 1}, {"closed": 1}], "All 2 breakers are closed", "closed"),
        ([{"opened": 1}], "1 of 1 breaker is open", "open"),
        ([{"opened": 1, "ready_to_probe": True}, {"closed": 1}], "1 of 2 breakers is open", "open"),
        ([{"half_open": 1}, {}, {"silent": 1}], "No breaker is open; 1 is half-open, 2 send no data", "half_open"),
        ([{"closed": 1, "override": FORCED}], "No breaker is open; 1 is forced open", "half_open"),
    ],
)
def test_the_title_never_says_more_than_is_known(
    make_row: Make, kinds: list[dict[str, Any]], title: str, level: str
) -> None:
    said = verdict([make_row(f"b{i}", **given) for i, given in enumerate(kinds)], 0, NOW)
    assert (said.title, said.level) == (title, level)


def test_silent_instances_are_counted_apart(make_row: Make) -> None:
    assert verdict([make_row(closed=1, silent=1)], 1, NOW).detail == "1 instance is silent."
    assert verdict([make_row(closed=1, silent=2)], 2, NOW).detail == "2 instances are silent."


def test_the_note_says_why_who_and_until_when(make_row: Make) -> None:
    assert note(make_row(opened=1, cause="5 consecutive failures")) == "5 consecutive failures"
    assert note(make_row(closed=1, cause="probes succeeded")) == ""
    assert note(make_row(closed=1, override=FORCED)) == "by user:alice until 15:30: INC-7"
    ready = make_row(opened=1, ready_to_probe=True, cause="slow", silent=2, applied={"on": 0, "of": 1})
    assert note(ready) == "Waiting for a call · slow · 2 silent · config on 0 of 1"


def test_the_button_releases_where_a_persons_order_stands(make_row: Make) -> None:
    assert cells(make_row(opened=1, version=17), NOW).action.value == "bank-api 17"
    assert cells(make_row(opened=1), NOW).action.label == "Reset"
    assert cells(make_row(opened=1, override=FORCED), NOW).action.url == "/dashboard/release"


def test_every_breaker_is_behind_one_chip(make_row: Make) -> None:
    rows = [
        make_row("a", opened=1),
        make_row("b", opened=1, ready_to_probe=True),
        make_row("c", closed=1),
        make_row("d"),
    ]
    chips = {chip.key: chip.count for chip in Filter().chips(rows)}
    assert chips == {
        "all": "4", "open": "2", "half_open": "0", "forced_open": "0", "forced_closed": "0", "no_data": "1",
        "closed": "1",
    }  # fmt: skip
    assert tally(rows).total() == 4


def test_a_filter_leaves_what_it_says(make_row: Make) -> None:
    rows = [make_row("bank-api", opened=1, group="settlement"), make_row("kyc-api", closed=1, services=["onboarding"])]
    found = {
        query: [row["name"] for row in rows if Filter(**dict([query.split("=")])).matches(row)]
        for query in (
            "search=BANK",
            "search=onboard",
            "search=settle",
            "group=onboarding",
            "group=settlement",
            "state=open",
        )
    }
    assert list(found.values()) == [["bank-api"], ["kyc-api"], ["bank-api"], ["kyc-api"], ["bank-api"], ["bank-api"]]


def test_groups_in_trouble_come_first_and_say_what_is_worst(make_row: Make) -> None:
    rows = [
        make_row("a", closed=1, group="alpha"),
        make_row("b", opened=1, group="zulu"),
        make_row("c", closed=1, group="zulu"),
        make_row("d", closed=1, services=["one", "two"]),
        make_row("e", services=[]),
    ]
    found = [(group.name, group.text) for group in grouped(rows)]
    assert found == [
        ("zulu", "1 open"), ("not linked", "1 no data"), ("alpha", "1 closed"), ("one", "1 closed"), ("two", "1 closed")
    ]  # fmt: skip
