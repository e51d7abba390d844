"""Filtering, searching and ordering rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from breakers.fleet import Row

_SEVERITY = {"closed": 0, "half_open": 1, "open": 2}
_KEYS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row["name"],
    "group": lambda row: row["group"],
    "state": lambda row: _SEVERITY[row["state"]],
    "since": lambda row: row["since"],
    "failure_rate": lambda row: row["failure_rate"],
    "calls": lambda row: row["rates"]["calls"],
    "rejected": lambda row: row["rates"]["rejected"],
    "p50": lambda row: row["p50"],
    "p95": lambda row: row["p95"],
    "p99": lambda row: row["p99"],
    "version": lambda row: row["version"],
}
ORDERINGS = tuple(_KEYS)


def select_rows(
    rows: Iterable[Row],
    *,
    state: Sequence[str] | None = None,
    service: str | None = None,
    group: str | None = None,
    search: str | None = None,
    ordering: Sequence[str] = (),
) -> list[Row]:
    """The rows that fit all that is given. ``ordering``: keys, ``-`` for descending; rows without a value come last."""
    words = (search or "").casefold().split()
    found = [
        row
        for row in rows
        if (state is None or row["state"] in state)
        and (service is None or service in row["services"])
        and (group is None or row["group"] == group)
        and all(word in _text(row) for word in words)
    ]
    for key in reversed(ordering):
        found = _ordered(found, key.removeprefix("-"), descending=key.startswith("-"))
    return found


def _text(row: Row) -> str:
    return " ".join((row["name"], row["group"], *row["services"])).casefold()


def _ordered(rows: list[Row], key: str, *, descending: bool) -> list[Row]:
    value = _KEYS[key]
    known = [row for row in rows if value(row) is not None]
    unknown = [row for row in rows if value(row) is None]
    return sorted(known, key=value, reverse=descending) + unknown
