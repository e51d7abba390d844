"""What instances that are long gone had counted, kept as one sum a breaker: neither table nor memory grows for ever.

An instance is folded once it is gone for an hour, and taken out of the sums again, in the transaction that writes its
row, should it return: its counts are cumulative, and so stand in one place at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from breakers.models import Departed, Instance

T = TypeVar("T")

FOLD_AFTER: Final = timedelta(hours=1)
FORGET_AFTER: Final = timedelta(days=30)
"""Then its row is deleted. A process that comes back after that adds what it counts from its return on."""
_AT_ONCE: Final = 200
_SUMMED: Final = ("counts", "latency")


def instances_fold(*, before: datetime) -> int:
    """Folds the instances that are gone since before that moment, and returns how many.

    Some hundred in a transaction: whoever writes meanwhile waits for milliseconds. One that is linked by the database
    may have died without anybody to say so: long unwritten is gone.
    """
    folded = 0
    while some := _fold_some(before):
        folded += some
    return folded


@transaction.atomic
def _fold_some(before: datetime) -> int:
    long_gone = Q(gone_at__lt=before) | Q(gone_at=None, direct=True, last_seen_at__lt=before)
    rows = list(Instance.objects.select_for_update().filter(long_gone, folded=False).order_by("pk")[:_AT_ONCE])
    sums = _locked({name for row in rows for name in row.observed})
    for row in rows:
        _add(row, sums, 1)
        row.folded, row.gone_at, row.report = True, row.gone_at or row.last_seen_at, None
    Departed.objects.bulk_update(sums.values(), ["observed", "instance", "gone_at"])
    Instance.objects.bulk_update(rows, ["folded", "gone_at", "report"])
    return len(rows)


def take_back(ids: Iterable[UUID]) -> None:
    """Takes those of the instances that are folded out of the sums: their rows are about to count by themselves.

    In the caller's transaction, whose first locks these are: instances by id, then sums by name, is everybody's order.
    """
    found: list[Instance] = []
    for some in _cut(
        sorted(ids)
    ):  # all of them locked: one that is not folded yet must not be while its row is written
        found += Instance.objects.select_for_update().only("folded", "gone_at").filter(pk__in=some).order_by("pk")
    rows = list(Instance.objects.filter(pk__in=[row.pk for row in found if row.folded]))
    if not rows:
        return
    sums = _locked({name for row in rows for name in row.observed})
    for row in rows:
        _add(row, sums, -1)
        row.folded = False
    Departed.objects.bulk_update(sums.values(), ["observed"])
    Instance.objects.bulk_update(rows, ["folded"])


def instances_forget(*, before: datetime) -> int:
    """Deletes the rows of instances that are folded and gone since before that moment; their sums stay."""
    return Instance.objects.filter(folded=True, gone_at__lt=before).delete()[0]


def _locked(names: set[str]) -> dict[str, Departed]:
    """The sums of these breakers, made where there is none; locked in one order."""
    Departed.objects.bulk_create([Departed(breaker=name) for name in sorted(names)], ignore_conflicts=True)
    found: dict[str, Departed] = {}
    for some in _cut(sorted(names)):
        rows = Departed.objects.select_for_update().filter(breaker__in=some).order_by("breaker")
        found.update({row.breaker: row for row in rows})
    return found


def _cut(keys: Sequence[T]) -> Iterable[Sequence[T]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))


def _add(row: Instance, sums: Mapping[str, Departed], sign: int) -> None:
    for name, observed in row.observed.items():
        departed = sums[name]
        departed.observed = {**departed.observed, **_summed(departed.observed, observed, sign)}
        gone_at = row.gone_at or row.last_seen_at
        if sign > 0 and (departed.gone_at is None or departed.gone_at <= gone_at):
            left = {key: value for key, value in observed.items() if key not in _SUMMED and key != "base"}
            departed.observed |= left
            departed.instance, departed.gone_at = row.pk, gone_at


def _summed(total: Mapping[str, Any], observed: Mapping[str, Any], sign: int) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for key in _SUMMED:
        mine: Mapping[str, int] = total.get(key) or {}
        other: Mapping[str, int] = observed.get(key) or {}
        found[key] = {**mine, **{name: mine.get(name, 0) + sign * int(count) for name, count in other.items()}}
    return found
