"""What has happened, transitions and people's actions in one list, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from django.db.models import Count
from django.db.models.functions import TruncMinute
from django.urls import reverse

from breakers import selectors
from breakers.fleet.events import change_event
from breakers.models import ConfigChange, StateChange

from .verdict import WORDS, Kind
from .words import clock

TOGETHER = timedelta(seconds=30)
"""The same change of one breaker on several instances within this time reads as one."""
SCAN = 200
"""Rows looked at for the newest entries."""
MINUTES = 60
_ICONS = {"override_set": "forced_open", "override_released": "closed", "reset": "reset"}
_ACTIONS = {"forced_open": "Override", "closed": "Release", "reset": "Reset", "config": "Config"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. ``kind`` gives its icon and colour; ``count`` is the instances on which it happened."""

    key: str
    at: datetime
    kind: str
    name: str
    text: str
    service: str = ""
    instance: str = ""
    actor: str = ""
    count: int = 1

    @property
    def time(self) -> str:
        return clock(self.at)

    @property
    def at_iso(self) -> str:
        return self.at.isoformat()

    @property
    def word(self) -> str:
        return WORDS[Kind(self.kind)] if self.instance else _ACTIONS[self.kind]

    @property
    def who(self) -> str:
        return self.actor or f"{self.service} {self.instance[:8]}"

    @property
    def url(self) -> str:
        return reverse("dashboard:breaker", args=[self.name]) if self.name else ""


def of_transition(row: StateChange) -> Entry:
    cause = row.cause or row.reason.replace("_", " ")
    key, instance = f"t{row.pk}", str(row.instance)
    return Entry(key, row.at, row.to_state, row.breaker, cause, service=row.service, instance=instance)


def of_change(row: ConfigChange) -> Entry:
    kind, text = _ICONS.get(row.kind, "config"), change_event(row)["text"].replace(" -> ", " → ")
    return Entry(f"c{row.pk}", row.at, kind, row.breaker, text, actor=row.actor)


def newest(
    count: int,
    *,
    name: str | None = None,
    what: str = "",
    before: datetime | None = None,
    spare_registrations: bool = False,
) -> list[Entry]:
    """The newest ``count`` up to ``before``; ``what`` keeps ``transitions`` or ``actions`` only. Two queries."""
    transitions = [] if what == "actions" else selectors.history(name, until=before)[:count]
    actions = selectors.changes(name, until=before).order_by("-at", "-id")
    if spare_registrations:
        actions = actions.exclude(kind=ConfigChange.Kind.REGISTERED)
    told = [] if what == "transitions" else actions[:count]
    found = [*map(of_transition, transitions), *map(of_change, told)]
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:count]


def latest(count: int) -> list[Entry]:
    """For the overview: what many instances did together is one entry that says on how many."""
    return list(islice(_together(newest(SCAN, spare_registrations=True)), count))


def _together(entries: Iterable[Entry]) -> list[Entry]:
    told: list[Entry] = []
    places: dict[tuple[str, str], int] = {}
    for entry in entries:
        place = places.get((entry.name, entry.kind))
        if entry.instance and place is not None and told[place].at - entry.at <= TOGETHER:
            told[place] = replace(told[place], count=told[place].count + 1)
        else:
            places[entry.name, entry.kind] = len(told)
            told.append(entry)
    return [replace(entry, text=sentence(entry)) for entry in told]


def sentence(entry: Entry) -> str:
    """``Open on 4 instances: 5 consecutive failures``; ``reset: INC-7 · user:alice``."""
    if not entry.instance:
        return f"{entry.text} · {entry.actor}"
    where = entry.service if entry.count == 1 else f"{entry.count:,} instances"
    return f"{WORDS[Kind(entry.kind)]} on {where}: {entry.text}"


def pulse(now: datetime) -> Mapping[str, list[int]]:
    """Transitions of each of the last 60 minutes, oldest first, by the state they led to. One query by index."""
    start = now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)
    rows = selectors.history(since=start).order_by().annotate(minute=TruncMinute("at"))
    counts: dict[str, list[int]] = {state: [0] * MINUTES for state in ("closed", "half_open", "open")}
    for minute, state, number in rows.values_list("minute", "to_state").annotate(number=Count("id")):
        place = int((minute - start).total_seconds() // 60)
        if place < MINUTES:
            counts[state][place] = number
    return counts


def pulse_text(counts: Mapping[str, list[int]]) -> str:
    totals = Counter({state: sum(numbers) for state, numbers in counts.items()})
    return f"{totals['open']} openings, {totals['half_open']} probings, {totals['closed']} closings in the last hour"
