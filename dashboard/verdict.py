"""What a row comes to: one kind a breaker, worst first, and one sentence for all (also in ``verdict.js``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from breakers.fleet import Row

from . import words


class Kind(StrEnum):
    """What a person has to know first of a breaker. The order is the order of the list."""

    OPEN = "open"
    READY = "ready"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
    NO_DATA = "no_data"
    CLOSED = "closed"


WORDS = {
    Kind.OPEN: "Open",
    Kind.READY: "Ready to probe",
    Kind.HALF_OPEN: "Half-open",
    Kind.FORCED_OPEN: "Forced open",
    Kind.FORCED_CLOSED: "Forced closed",
    Kind.NO_DATA: "No data",
    Kind.CLOSED: "Closed",
}
CHIPS = (Kind.OPEN, Kind.HALF_OPEN, Kind.FORCED_OPEN, Kind.FORCED_CLOSED, Kind.NO_DATA, Kind.CLOSED)
"""The filters: each breaker is in exactly one. ``READY`` is in ``OPEN``: it rejects until a call comes."""
_ORDER = {kind: place for place, kind in enumerate(Kind)}


def kind_of(row: Row) -> Kind:
    """An override first, as it outranks the machine; then silence; then the machine."""
    if row["override"] is not None:
        return Kind(row["override"]["override"])
    if row["instances"]["total"] == row["instances"]["silent"]:
        return Kind.NO_DATA
    return Kind.READY if row["ready_to_probe"] else Kind(row["state"])


def chip_of(kind: Kind) -> Kind:
    return Kind.OPEN if kind is Kind.READY else kind


def needs_attention(row: Row) -> bool:
    """Everything but closed; one that no instance has is none either. One silent instance of many is a note."""
    kind = kind_of(row)
    return row["instances"]["total"] > 0 if kind is Kind.NO_DATA else kind is not Kind.CLOSED


def affected(row: Row) -> tuple[int, int]:
    """The share that stands beside the state: so many instances of so many."""
    kind, instances = kind_of(row), row["instances"]
    if row["override"] is not None:
        return row["applied"]["on"], row["applied"]["of"]
    if kind is Kind.NO_DATA:
        return instances["silent"], instances["total"]
    if kind is Kind.HALF_OPEN:
        return instances["half_open"], instances["total"]
    return instances["closed" if kind is Kind.CLOSED else "open"], instances["total"]


def rank(row: Row) -> tuple[int, float, float, str]:
    """The order of the list: kind, share, rejected a second, name."""
    some, all_ = affected(row)
    trouble = needs_attention(row)
    return (
        _ORDER[kind_of(row)],
        -(some / all_) if trouble and all_ else 0,
        -row["rates"]["rejected"] if trouble else 0,
        row["name"],
    )


def worst_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=rank)


def tally(rows: Iterable[Row]) -> Counter[Kind]:
    """Rows by chip; absent kinds count 0."""
    return Counter(chip_of(kind_of(row)) for row in rows)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``title`` is the sentence; ``worst`` the breaker that ``detail`` goes on about; ``level`` gives the colour."""

    level: str
    title: str
    worst: str
    detail: str


_ASIDE: dict[Kind, Callable[[int], str]] = {
    Kind.HALF_OPEN: lambda n: f"{n:,} {'is' if n == 1 else 'are'} half-open",
    Kind.FORCED_OPEN: lambda n: f"{n:,} {'is' if n == 1 else 'are'} forced open",
    Kind.FORCED_CLOSED: lambda n: f"{n:,} {'is' if n == 1 else 'are'} forced closed",
    Kind.NO_DATA: lambda n: f"{n:,} {'sends' if n == 1 else 'send'} no data",
}


def verdict(rows: Sequence[Row], silent: int, now: datetime) -> Verdict:
    """One sentence for all, all clear as plainly as trouble. ``silent``: instances that are not heard of."""
    counts = tally(rows)
    worst = next((row for row in worst_first(rows) if needs_attention(row)), None)
    detail = "" if worst is None else f", {_plight(worst, now)}."
    name = "" if worst is None else worst["name"]
    return Verdict(
        level(counts), _title(counts, len(rows)), name, f"{detail}{_unheard(silent)}{_last_change(rows, now)}".strip()
    )


def level(counts: Counter[Kind]) -> str:
    """The worst colour of all; an empty fleet is not a healthy one."""
    if counts[Kind.OPEN]:
        return "open"
    if any(counts[kind] for kind in _ASIDE):
        return "half_open"
    return "closed" if counts[Kind.CLOSED] else "no_data"


def _title(counts: Counter[Kind], total: int) -> str:
    if total == 0:
        return "No breakers yet"
    if opened := counts[Kind.OPEN]:
        return f"{opened:,} of {words.plural(total, 'breaker')} {'is' if opened == 1 else 'are'} open"
    asides = [phrase(counts[kind]) for kind, phrase in _ASIDE.items() if counts[kind]]
    if asides:
        return f"No breaker is open; {', '.join(asides)}"
    return "The one breaker is closed" if total == 1 else f"All {total:,} breakers are closed"


def _plight(row: Row, now: datetime) -> str:
    some, all_ = affected(row)
    age = words.elapsed(row["since"], now)
    lasting = "" if age is None else f" for {words.roughly(age)}"
    if row["override"] is not None:
        return f"{WORDS[kind_of(row)].lower()} by {row['override']['by']}"
    return f"{WORDS[kind_of(row)].lower()} on {some:,} of {words.plural(all_, 'instance')}{lasting}"


def _unheard(silent: int) -> str:
    return f" {words.plural(silent, 'instance')} {'is' if silent == 1 else 'are'} silent." if silent else ""


def _last_change(rows: Iterable[Row], now: datetime) -> str:
    ages = [age for row in rows if (age := words.elapsed(row["since"], now)) is not None]
    return f" Last change {words.roughly(min(ages))} ago." if ages else ""
