"""The filter of a list, as the query string carries it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse

from breakers.fleet import Row

from .verdict import CHIPS, WORDS, Kind, chip_of, kind_of, tally


@dataclass(frozen=True, slots=True)
class Chip:
    """A link to one filter, with how many it leaves."""

    key: str
    label: str
    count: str
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """``state`` is a chip's key or empty. What cannot be is no filter: a bookmark never fails."""

    state: str = ""
    group: str = ""
    search: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> Filter:
        state = query.get("state", "")
        group, search = query.get("group", "")[:200], query.get("search", "")[:200].strip()
        return cls(state if state in {str(kind) for kind in CHIPS} else "", group, search)

    @property
    def query(self) -> str:
        parts = {"state": self.state, "group": self.group, "search": self.search}
        return urlencode({name: value for name, value in parts.items() if value})

    @property
    def active(self) -> bool:
        return bool(self.query)

    def matches(self, row: Row) -> bool:
        return self._in_place(row) and (not self.state or chip_of(kind_of(row)) == self.state)

    def _in_place(self, row: Row) -> bool:
        """Group and search only: what the chips count."""
        if self.group and self.group not in (groups_of(row)):
            return False
        return self.search.lower() in " ".join((row["name"], row["group"], *row["services"])).lower()

    def chips(self, rows: Iterable[Row]) -> list[Chip]:
        """One a kind; their counts add up to the first."""
        counts = tally(row for row in rows if self._in_place(row))
        every = Chip("all", "All", f"{counts.total():,}", self._url(""), not self.state)
        return [every, *(self._chip(kind, counts[kind]) for kind in CHIPS)]

    def _chip(self, kind: Kind, count: int) -> Chip:
        return Chip(kind.value, WORDS[kind], f"{count:,}", self._url(kind.value), self.state == kind)

    def _url(self, state: str) -> str:
        query = Filter(state, self.group, self.search).query
        return reverse("dashboard:overview") + (f"?{query}" if query else "")


def groups_of(row: Row) -> list[str]:
    """Where a row is shown: its group, else each of its services."""
    return [row["group"]] if row["group"] else row["services"] or ["not linked"]
