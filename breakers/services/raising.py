"""Rows that several servers write of one instance, in any order: totals never go down, and the newest state wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from breakers.models import Instance, InstanceRecord

_AT_ONCE: Final = 400
_RISING: Final = ("counts", "latency")


def raised(records: Sequence[InstanceRecord]) -> list[InstanceRecord]:
    """The records with what stands in the database already, which stays locked until the transaction ends."""
    standing = _locked(sorted({record.id for record in records}))
    return [_raised(record, standing.get(record.id)) for record in records]


def _locked(ids: Sequence[Any]) -> dict[Any, InstanceRecord]:
    found = {}
    for start in range(0, len(ids), _AT_ONCE):
        rows = Instance.objects.select_for_update().filter(pk__in=ids[start : start + _AT_ONCE]).order_by("pk")
        found.update({row.pk: row.record() for row in rows})
    return found


def _raised(record: InstanceRecord, standing: InstanceRecord | None) -> InstanceRecord:
    if standing is None:
        return record
    observed = {**standing.observed, **record.observed}
    for name in standing.observed.keys() & record.observed.keys():
        observed[name] = _risen(record.observed[name], standing.observed[name])
    more = record if record.dropped >= standing.dropped else standing
    newer = record if record.last_seen_at >= standing.last_seen_at else standing
    return replace(
        record,
        first_seen_at=min(record.first_seen_at, standing.first_seen_at),
        last_seen_at=newer.last_seen_at,
        gone_at=newer.gone_at,
        observed=observed,
        dropped=more.dropped,
        dropped_at=more.dropped_at,
    )


def _risen(told: Mapping[str, Any], standing: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the higher epoch, and the higher of each count."""
    newer = told if told.get("epoch", 0) >= standing.get("epoch", 0) else standing
    return {**newer, **{key: _higher(told.get(key) or {}, standing.get(key) or {}) for key in _RISING}}


def _higher(told: Mapping[str, int], standing: Mapping[str, int]) -> dict[str, int]:
    return {**standing, **{key: max(count, standing.get(key, 0)) for key, count in told.items()}}
