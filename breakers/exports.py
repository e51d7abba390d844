"""History and audit as CSV or JSON, however long: read piece by piece, newest first, in constant memory."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from django.db.models import Q, QuerySet

from breakers.models import ConfigChange, StateChange

Form = Literal["csv", "json"]
PIECE: Final = 250
"""Rows, some hundredths of a second's work: who reads something else comes in between two pieces."""
_FORMULA: Final = re.compile(r"^(?=[\t\r\n]|\s*[=+\-@＝＋－＠])|(?<=[;\t|\r\n])(?=\s*[=+\-@＝＋－＠])")
"""Where a cell would begin as a formula: also amid a text, for who splits at something else than commas."""
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of an export to columns of the database, and the order, descending, in which rows are unique."""

    columns: Mapping[str, str]
    order: Sequence[str]


TRANSITIONS: Final = Table(
    {
        "at": "at",
        "name": "breaker",
        "service": "service",
        "instance": "instance",
        "from_state": "from_state",
        "to_state": "to_state",
        "reason": "reason",
        "cause": "cause",
        "failures": "failures",
        "calls": "calls",
        "failure_rate": "failure_rate",
        "epoch": "epoch",
        "sequence": "sequence",
        "received_at": "received_at",
        "id": "id",
    },
    ("at", "sequence", "id"),
)
CHANGES: Final = Table(
    {
        "at": "at",
        "name": "breaker",
        "kind": "kind",
        "actor": "actor",
        "reason": "reason",
        "version": "version",
        "before": "before",
        "after": "after",
        "instance": "instance",
        "command": "command_id",
        "revision": "revision",
    },
    ("revision",),
)


def stream(rows: QuerySet[StateChange] | QuerySet[ConfigChange], table: Table, form: Form) -> Iterator[bytes]:
    """The text of all ``rows``, a piece at a time. What is recorded after the first piece is not in it.

    Each piece is a query of its own, that begins where the last one ended: nothing is held open between two, and
    each may be made on another thread.
    """
    if form == "csv":
        yield csv_of([tuple(table.columns)])
    last: Row | None = None
    while piece := _piece(rows, table, last):
        opening = (b"[\n" if last is None else b",\n") if form == "json" else b""
        last = piece[-1]
        yield opening + (csv_of(piece) if form == "csv" else _json(piece, table))
    if form == "json":
        yield b"[]\n" if last is None else b"\n]\n"


def _piece(rows: QuerySet[Any], table: Table, last: Row | None) -> list[Row]:
    if last is not None:
        rows = rows.filter(_beyond(dict(zip(table.columns, last, strict=True)), table.order))
    ordered = rows.order_by(*(f"-{column}" for column in table.order))
    return list(ordered.values_list(*table.columns.values())[:PIECE])


def _beyond(last: Mapping[str, Any], order: Sequence[str]) -> Q:
    """What comes after ``last``; the first condition alone lets an index find the place."""
    first = order[0]
    if len(order) == 1:
        return Q(**{f"{first}__lt": last[first]})
    return Q(**{f"{first}__lte": last[first]}) & (
        Q(**{f"{first}__lt": last[first]}) | (Q(**{first: last[first]}) & _beyond(last, order[1:]))
    )


def _json(rows: Iterable[Row], table: Table) -> bytes:
    lines = (json.dumps(dict(zip(table.columns, map(_plain, row), strict=True)), ensure_ascii=False) for row in rows)
    return ",\n".join(lines).encode()


def csv_of(rows: Iterable[Row]) -> bytes:
    """Lines of a file in CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _cell(value: object) -> object:
    """Text that a spreadsheet would run as a formula is marked as text: clients choose causes and reasons."""
    value = _plain(value)
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return _FORMULA.sub("'", value) if isinstance(value, str) else value
