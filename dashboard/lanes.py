"""The swimlane: what state each instance was in, when; with marks where people changed something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from breakers import selectors
from breakers.models import ConfigChange, StateChange

from .words import hour, tenths

WIDTH = 1000
LANES = 40
TRANSITIONS = 5000
"""Older ones of a wilder window are not drawn; the lane begins where they end."""
TICKS = 6


@dataclass(frozen=True, slots=True)
class Lane:
    """One instance: state to the ``d`` of a path, in a picture ``WIDTH`` wide and 10 high."""

    label: str
    title: str
    paths: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Swimlane:
    lanes: tuple[Lane, ...]
    marks: str
    """The ``d`` of vertical lines where a person changed something."""
    ticks: tuple[str, ...]
    title: str


def swimlane(name: str, instances: Sequence[Mapping[str, Any]], now: datetime, span: timedelta) -> Swimlane:
    """The last ``span`` of the instances that are here now, in their order. Two queries."""
    start = now - span
    rows = list(selectors.history(name, since=start)[:TRANSITIONS])
    lanes = tuple(_lane(instance, _of(instance, rows), start, span) for instance in instances[:LANES])
    actions = selectors.changes(name, since=start).exclude(kind=ConfigChange.Kind.REGISTERED)
    marks = "".join(f"M{_across(change.at, start, span)} 0v10" for change in actions)
    ticks = tuple(hour((start + span * step / TICKS).isoformat()) for step in range(TICKS + 1))
    return Swimlane(lanes, marks, ticks, f"{ticks[0]} to {ticks[-1]} UTC")


def _of(instance: Mapping[str, Any], rows: Iterable[StateChange]) -> list[StateChange]:
    """The instance's transitions, oldest first."""
    return [row for row in rows if str(row.instance) == instance["instance"]][::-1]


def _lane(instance: Mapping[str, Any], rows: Sequence[StateChange], start: datetime, span: timedelta) -> Lane:
    state = rows[0].from_state if rows else instance["state"]
    moments = [start, *(row.at for row in rows), start + span]
    states = [state, *(row.to_state for row in rows)]
    paths: dict[str, str] = {}
    for (begun, ended), held in zip(pairwise(moments), states, strict=True):
        left, right = _across(begun, start, span), _across(ended, start, span)
        paths[held] = paths.get(held, "") + f"M{left} 1H{right}V9H{left}z"
    label = f"{instance['host']}:{instance['pid']}"
    return Lane(label, f"{instance['service']} {label}: {len(rows)} changes of state", paths)


def _across(at: datetime, start: datetime, span: timedelta) -> str:
    return tenths(min(max((at - start) / span, 0.0), 1.0) * WIDTH)
