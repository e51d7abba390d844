"""Transitions that instances report: at least once on the wire, exactly once in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from breakers.core.config import BREAKER_FIELDS
from breakers.core.wire import TransitionReport
from breakers.models import Instance, InstanceIdentity, StateChange, TransitionTotal

from .instances import instance_row
from .outbox import tell_transitions
from .texts import storable

Batch = Sequence[tuple[InstanceIdentity, TransitionReport]]
_PRUNED_AT_ONCE = 5000
_TOTALS = TransitionTotal._meta.db_table
_COUNT = f"""
    INSERT INTO "{_TOTALS}" (breaker, from_state, to_state, reason, total) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (breaker, from_state, to_state, reason) DO UPDATE SET total = "{_TOTALS}".total + excluded.total
"""  # noqa: S608  # our own table; the ORM's upsert cannot add
_CHUNK = 400  # parameters in one IN: SQLite's limit is 999


@transaction.atomic
def transitions_record(*, batch: Batch) -> list[StateChange]:
    """Returns those that are really new, in order; repeated and unreadable ones are passed over. Few queries a 400."""
    now = timezone.now()
    rows: dict[tuple[UUID, int], StateChange] = {}
    for identity, report in batch:
        if _is_readable(report):
            rows.setdefault((identity.id, report.sequence), _row(identity, report, now))
    _lock_instances({identity.id: identity for identity, _ in batch}, now)
    recorded = _recorded(rows)
    new = StateChange.objects.bulk_create([row for key, row in rows.items() if key not in recorded])
    tell_transitions(new)
    _count(new)  # last: others wait for these rows until this commits
    return new


def _count(new: Iterable[StateChange]) -> None:
    """In the order of the key: two servers that count the same wait for each other, and never in a circle."""
    counts = Counter((row.breaker, row.from_state, row.to_state, row.reason) for row in new)
    if counts:
        with connection.cursor() as cursor:
            cursor.executemany(_COUNT, [(*key, total) for key, total in sorted(counts.items())])


def _lock_instances(identities: dict[UUID, InstanceIdentity], now: datetime) -> None:
    """Two processes may report one instance (it reconnected): the second waits here, then sees what the first wrote."""
    ids = sorted(identities)
    Instance.objects.bulk_create([instance_row(identities[one], now) for one in ids], ignore_conflicts=True)
    for start in range(0, len(ids), _CHUNK):
        list(Instance.objects.select_for_update().filter(pk__in=ids[start : start + _CHUNK]).order_by("pk"))


def _recorded(keys: Iterable[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    wanted, found = list(keys), set[tuple[UUID, int]]()
    for start in range(0, len(wanted), _CHUNK):
        instances, sequences = zip(*wanted[start : start + _CHUNK], strict=True)
        rows = StateChange.objects.filter(instance__in=set(instances), sequence__in=set(sequences))
        found.update(rows.values_list("instance", "sequence"))
    return found


def _is_readable(report: TransitionReport) -> bool:
    return report.sequence > 0 and BREAKER_FIELDS["name"].problem(report.name) is None


def _row(identity: InstanceIdentity, report: TransitionReport, now: datetime) -> StateChange:
    return StateChange(
        breaker=report.name,
        service=storable(identity.service, 100),
        instance=identity.id,
        sequence=report.sequence,
        from_state=report.from_state.value,
        to_state=report.to_state.value,
        reason=storable(report.reason, 50),
        cause=storable(report.cause, 2000),
        epoch=report.epoch,
        failures=report.failures,
        calls=report.calls,
        failure_rate=report.failure_rate,
        at=_moment(report.at, now),
        received_at=now,
    )


def _moment(seconds: float, otherwise: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # no calendar reaches that far
        return otherwise


def history_prune(*, before: datetime) -> int:
    """Deletes transitions older than ``before`` and returns how many.

    The last of each breaker stays, and the last of each instance that is not gone: they say since when. A few thousand
    at a time, each in a transaction of its own: whoever writes meanwhile waits for milliseconds.
    """
    superfluous = _superfluous(before).order_by("at")
    deleted = 0
    while keys := list(superfluous.values_list("pk", flat=True)[:_PRUNED_AT_ONCE]):
        deleted += StateChange.objects.filter(pk__in=keys)._raw_delete(using=superfluous.db)  # nothing refers to them
    return deleted


def history_prunable(*, before: datetime) -> int:
    """How many :func:`history_prune` would delete now. Looks at all that are older, and locks nothing."""
    return _superfluous(before).count()


def _superfluous(before: datetime) -> QuerySet[StateChange]:
    """Those older that have a newer one of their breaker and, where their instance is not gone, of that instance too.

    Each is judged by two indexes, so that only what is old costs anything.
    """
    same = StateChange.objects.filter(breaker=OuterRef("breaker"))
    newer = Exists(same.filter(at__gt=OuterRef("at"))) | Exists(same.filter(at=OuterRef("at"), pk__gt=OuterRef("pk")))
    live = Instance.objects.filter(gone_at=None, id=OuterRef("instance"))
    later = same.filter(instance=OuterRef("instance"), sequence__gt=OuterRef("sequence"))
    return StateChange.objects.filter(newer, at__lt=before).filter(~Exists(live) | Exists(later))
