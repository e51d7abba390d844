"""What every write of desired state begins and ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from breakers import publish
from breakers.models import BreakerConfig, ConfigChange, Revision
from breakers.problems import NotFound, VersionConflict
from breakers.tracing import request_id

from .actors import Actor
from .outbox import tell_changes
from .texts import storable


def locked(name: str, expected_version: int | None = None) -> tuple[Revision, BreakerConfig]:
    """The revision and the breaker, both locked until the transaction ends, always in this order: no deadlock.

    Raises ``NotFound``, and ``VersionConflict`` where the caller saw another version than stands now.
    """
    revision = Revision.locked()
    row = BreakerConfig.objects.select_for_update().filter(name=name).first()
    if row is None:
        raise NotFound(name)
    if expected_version is not None and row.version != expected_version:
        raise VersionConflict(name, row.version)
    return revision, row


def locked_all(names: Sequence[str]) -> tuple[Revision, list[BreakerConfig]]:
    """As :func:`locked`, but those of ``names`` that exist."""
    revision = Revision.locked()
    return revision, list(BreakerConfig.objects.select_for_update().filter(name__in=names))


def audited(
    kind: ConfigChange.Kind,
    *,
    row: BreakerConfig,
    revision: int,
    reason: str,
    by: Actor,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    command_id: UUID | None = None,
    instance: UUID | None = None,
) -> ConfigChange:
    """The audit row of one write, not yet saved."""
    return ConfigChange(
        breaker=row.name,
        kind=kind,
        before=before,
        after=after,
        reason=storable(reason),
        actor=str(by),
        version=row.version,
        revision=revision,
        command_id=command_id,
        instance=instance,
        request_id=request_id.get(),
    )


def conclude(change: ConfigChange) -> None:
    """Saves the audit row in the same transaction as the write, and has the hint go out when it commits."""
    change.save(force_insert=True)
    tell_changes([change])
    publish.on_commit(change.revision)


def conclude_all(changes: Sequence[ConfigChange]) -> None:
    """The same for many writes of one transaction, in the order of their revisions; one hint for all of them."""
    if changes:
        ConfigChange.objects.bulk_create(changes)
        tell_changes(changes)
        publish.on_commit(changes[-1].revision)
