"""What has happened, transitions and people's actions in one list, newest first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Q
from django.db.models.functions import TruncMinute
from django.urls import reverse

from breakers import selectors
from breakers.fleet.events import change_event
from breakers.models import ConfigChange, StateChange

from .verdict import WORDS, Kind
from .words import clock, moment

TOGETHER = timedelta(seconds=30)
"""The same change of one breaker on several instances within this time reads as one."""
KEY = re.compile(r"[ct][0-9]{1,17}")
"""Of an entry: ``c`` for people's changes or ``t`` for transitions, and its number."""
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
    host: str = ""
    """``host:pid`` of the instance; only :func:`placed` knows it."""
    actor: str = ""
    count: int = 1
    told: bool = True
    """Registrations are recorded, but are no news."""

    @property
    def place(self) -> tuple[datetime, str, int]:
        """In the list of both tables, the newest the highest."""
        return self.at, self.key[0], int(self.key[1:])

    @property
    def cursor(self) -> str:
        return f"{self.at_iso} {self.key}"

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
        return self.actor or f"{self.service} {self.host or self.instance[:8]}"

    @property
    def url(self) -> str:
        return reverse("dashboard:breaker", args=[self.name]) if self.name else ""


def of_transition(row: StateChange) -> Entry:
    cause = row.cause or row.reason.replace("_", " ")
    key, instance = f"t{row.pk}", str(row.instance)
    return Entry(key, row.at, row.to_state, row.breaker, cause, service=row.service, instance=instance)


def of_change(row: ConfigChange) -> Entry:
    kind, text = _ICONS.get(row.kind, "config"), change_event(row)["text"].replace(" -> ", " → ")
    return Entry(f"c{row.pk}", row.at, kind, row.breaker, text, actor=row.actor, told=row.kind != "registered")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after an entry in the list of both tables: by time, then by key. Written ``ISO KEY``."""

    at: datetime
    key: str

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """``None`` for what is none: a bookmark never fails."""
        at, _, key = text.rpartition(" ")
        try:
            found = moment(at)
        except ValueError:
            return None
        valid = found is not None and found.tzinfo is not None and KEY.fullmatch(key)
        return cls(found, key) if found is not None and valid else None

    def after(self, table: str) -> Q:
        """The rows of one table, ``c`` or ``t``, that come later in the list."""
        mine, number = self.key[0], int(self.key[1:])
        here = Q(pk__lt=number) if table == mine else Q() if table < mine else Q(pk__in=())
        return Q(at__lt=self.at) | (Q(at=self.at) & here)


def newest(count: int, *, name: str | None = None, what: str = "", after: Cursor | None = None) -> list[Entry]:
    """The first ``count`` after a cursor; ``what`` keeps ``transitions`` or ``actions`` only. Two queries."""
    transitions, actions = selectors.history(name), selectors.changes(name).order_by("-at", "-id")
    if after is not None:
        transitions, actions = transitions.filter(after.after("t")), actions.filter(after.after("c"))
    found = [] if what == "actions" else [of_transition(row) for row in transitions[:count]]
    found += [] if what == "transitions" else [of_change(row) for row in actions[:count]]
    return sorted(found, key=lambda entry: entry.place, reverse=True)[:count]


def named(key: str) -> Entry | None:
    """The entry of a permalink; ``None`` where there is none, or none any more."""
    if not KEY.fullmatch(key):
        return None
    number = int(key[1:])
    if key[0] == "t":
        return next(map(of_transition, selectors.history().filter(pk=number)), None)
    return next(map(of_change, selectors.changes().filter(pk=number)), None)


def placed(entries: Sequence[Entry]) -> list[Entry]:
    """With the host and process that each instance has, or had. One query."""
    found = selectors.hosts({UUID(entry.instance) for entry in entries if entry.instance})
    names = {str(one): f"{host}:{pid}" for one, (host, pid) in found.items() if host}
    return [replace(entry, host=names.get(entry.instance, "")) for entry in entries]


def latest(count: int) -> list[Entry]:
    """For the overview: what many instances did together is one entry that says on how many."""
    told = [entry for entry in newest(SCAN) if entry.told]
    return _together(told)[:count]


def _together(entries: Iterable[Entry]) -> list[Entry]:
    told: list[tuple[Entry, set[str]]] = []
    places: dict[tuple[str, str], int] = {}
    for entry in entries:
        place = places.get((entry.name, entry.kind))
        if place is not None and _joins(entry, *told[place]):
            told[place][1].add(entry.instance)
        else:
            places[entry.name, entry.kind] = len(told)
            told.append((entry, {entry.instance}))
    counted = (replace(entry, count=len(instances)) for entry, instances in told)
    return [replace(entry, text=sentence(entry)) for entry in counted]


def _joins(entry: Entry, newest: Entry, instances: set[str]) -> bool:
    return bool(entry.instance) and newest.at - entry.at <= TOGETHER and entry.instance not in instances


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
