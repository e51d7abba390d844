"""A row as a page shows it: every cell a finished word or an SVG attribute, so that templates hold no logic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from breakers.fleet import Row

from . import shapes, words
from .filters import groups_of
from .verdict import WORDS, Kind, affected, kind_of, needs_attention, worst_first

CHUNK = 20
"""Rows of a part of a list; ``static/js/rows.js`` has the same."""


@dataclass(frozen=True, slots=True)
class Action:
    """The button of a row. ``value`` carries the version that the person saw: the server refuses if it moved on."""

    label: str
    url: str
    value: str


@dataclass(frozen=True, slots=True)
class Cells:
    """One breaker of a list."""

    name: str
    url: str
    kind: Kind
    word: str
    machine: str
    under: str
    note: str
    marks: Mapping[str, str]
    marks_width: int
    marks_height: int
    some: str
    all: str
    rate: str
    bar: str
    limit: str
    limit_text: str
    over: bool
    calls: str
    rejected: str
    line: str
    area: str
    since: str
    age: str
    action: Action


@dataclass(frozen=True, slots=True)
class Group:
    """A group, or a service where nobody made groups: one mark a breaker, and what is worst in it."""

    name: str
    kind: Kind
    text: str
    dots: Mapping[str, str]
    height: int


def cells(row: Row, now: datetime) -> Cells:
    kind, (some, all_) = kind_of(row), affected(row)
    width, height = shapes.marks_size(row)
    bar, limit, over = shapes.bar(row)
    line, area = shapes.spark(row["trend"])
    return Cells(
        name=row["name"],
        url=reverse("dashboard:breaker", args=[row["name"]]),
        kind=kind,
        word=WORDS[kind],
        machine=f"machine: {WORDS[Kind(row['state'])].lower()}" if row["override"] else "",
        under=row["group"] or ", ".join(row["services"]) or "not linked",
        note=note(row),
        marks=shapes.marks(row),
        marks_width=width,
        marks_height=height,
        some=f"{some:,}",
        all=f"{all_:,}",
        rate=_rate(row),
        bar=bar,
        limit=limit,
        limit_text="" if row["limit"] is None else f"limit {words.limit(row['limit'])}",
        over=over,
        calls=words.speed(row["rates"]["calls"]),
        rejected=words.speed(row["rates"]["rejected"]),
        line=line,
        area=area,
        since=row["since"] or "",
        age=words.duration(words.elapsed(row["since"], now)),
        action=action(row),
    )


def chunks(rows: Sequence[Cells]) -> list[Sequence[Cells]]:
    """A list in parts: the browser lays out those that are near, and of what needs attention shows the first."""
    return [rows[place : place + CHUNK] for place in range(0, len(rows), CHUNK)]


def _rate(row: Row) -> str:
    if row["failure_rate"] is not None:
        return words.percent(row["failure_rate"])
    return "few calls" if row["rates"]["calls"] > 0 else "no calls"


def note(row: Row) -> str:
    """Why, who, and what else is not as it should be."""
    return " · ".join(filter(None, (_order(row), _wait(row), _why(row), _silent(row), _behind(row))))


def _order(row: Row) -> str:
    override = row["override"]
    if override is None:
        return ""
    until = f" until {words.hour(override['expires_at'])}" if override["expires_at"] else ""
    return f"by {override['by']}{until}" + (f": {override['reason']}" if override["reason"] else "")


def _wait(row: Row) -> str:
    return "Waiting for a call" if kind_of(row) is Kind.READY else ""


def _why(row: Row) -> str:
    return "" if row["override"] or row["state"] == "closed" else row["cause"] or ""


def _silent(row: Row) -> str:
    silent = row["instances"]["silent"]
    return f"{silent:,} silent" if silent else ""


def _behind(row: Row) -> str:
    applied = row["applied"]
    return "" if applied["on"] == applied["of"] else f"config on {applied['on']:,} of {applied['of']:,}"


def action(row: Row) -> Action:
    """Release where a person's order stands, else reset."""
    if row["override"]:
        return Action("Release", reverse("dashboard:release"), f"{row['name']} {row['version']}")
    return Action("Reset", reverse("dashboard:reset"), f"{row['name']} {row['version']}")


def grouped(rows: Iterable[Row]) -> list[Group]:
    """Rows by group, those without one by each service; groups in trouble first."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        for name in groups_of(row):
            members.setdefault(name, []).append(row)
    return sorted((_group(name, found) for name, found in members.items()), key=_place)


def _place(group: Group) -> tuple[int, str]:
    return list(Kind).index(group.kind), group.name


def _group(name: str, rows: list[Row]) -> Group:
    kinds = [kind_of(row) for row in worst_first(rows)]
    worst = next((kind_of(row) for row in worst_first(rows) if needs_attention(row)), kinds[0])
    text = f"{kinds.count(worst):,} {WORDS[worst].lower()}"
    return Group(name, worst, text, shapes.dots(kinds), shapes.dots_height(len(kinds)))


_NO_ACTION = Action("Reset", "", "")
BLANK = Cells(
    name="", url="", kind=Kind.CLOSED, word="", machine="", under="", note="",
    marks={}, marks_width=10, marks_height=10, some="", all="",
    rate="", bar="0.0", limit="", limit_text="", over=False, calls="", rejected="", line="", area="",
    since="", age="", action=_NO_ACTION,
)  # fmt: skip
"""What the browser copies for a row that came later."""
