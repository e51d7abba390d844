"""Who is linked, and what they had counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from breakers.models import Instance, InstanceIdentity, InstanceRecord

from .folding import take_back
from .raising import raised
from .texts import storable


@transaction.atomic
def instance_seen(*, identity: InstanceIdentity, direct: bool = False, forgotten: bool = False) -> None:
    """It is here: recorded when new, else seen now and no longer gone. ``direct``: linked by the database itself.

    ``forgotten``: if this makes its row, what it had counted before stands in the sums of those who departed.
    """
    row = instance_row(identity, timezone.now())
    row.direct, row.forgotten = direct, forgotten
    _upsert([row], ["service", "host", "pid", "library", "started_at", "last_seen_at", "gone_at", "direct"])


@transaction.atomic
def instances_persist(*, rows: Sequence[InstanceRecord]) -> None:
    """Writes what each had observed, when it was last heard of and whether it is gone; new ones are recorded.

    Where several servers write, an instance may have moved from one to another: what any of them wrote of it stays.
    """
    if getattr(settings, "REDIS_URL", ""):
        rows = raised(rows)
    found = [instance_row(row.identity, row.first_seen_at) for row in rows]
    for row, record in zip(found, rows, strict=True):
        row.last_seen_at, row.gone_at, row.observed = record.last_seen_at, record.gone_at, dict(record.observed)
        row.forgotten = record.forgotten
        row.dropped, row.dropped_at = record.dropped, record.dropped_at
        row.direct, row.report = record.direct, None if record.report is None else dict(record.report)
    _upsert(found, ["last_seen_at", "gone_at", "observed", "direct", "report", "forgotten", "dropped", "dropped_at"])


def instance_row(identity: InstanceIdentity, now: datetime) -> Instance:
    """A row first seen ``now``, not yet saved; texts of the wire cut to what a column holds."""
    return Instance(
        id=identity.id,
        service=storable(identity.service, 100),
        host=storable(identity.host, 255),
        pid=identity.pid,
        library=storable(identity.library, 100),
        started_at=identity.started_at,
        first_seen_at=now,
        last_seen_at=now,
    )


def _upsert(rows: Sequence[Instance], update: Sequence[str]) -> None:
    # by id, so that two processes that write the same instances cannot lock each other out
    ordered = sorted(rows, key=lambda row: row.id)
    take_back([row.id for row in ordered])
    Instance.objects.bulk_create(ordered, update_conflicts=True, unique_fields=["id"], update_fields=update)
