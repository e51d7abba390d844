"""What an operator does to running breakers: resets and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from breakers import publish
from breakers.core.errors import ConfigError
from breakers.core.states import Override
from breakers.models import BreakerConfig, ConfigChange, ResetRecord, Revision

from .actors import Actor
from .blast import check_blast
from .outbox import tell_changes
from .rows import audited, conclude, locked
from .texts import storable


@transaction.atomic
def breaker_reset(
    *, name: str, reason: str, by: Actor, instance: UUID | None = None, expected_version: int | None = None
) -> ResetRecord:
    """A command that lives 60 s, for one instance or for all that run now. Raises ``NotFound``, ``VersionConflict``."""
    revision, row = locked(name, expected_version)
    change = _reset(row, revision.advance(), reason, by, instance)
    conclude(change)
    return change.reset_record()


@transaction.atomic
def breakers_reset_all(*, names: Sequence[str] | None, reason: str, by: Actor) -> list[ResetRecord]:
    """One command for each breaker, or for each of ``names`` that exists."""
    revision = Revision.locked()
    rows = BreakerConfig.objects.all() if names is None else BreakerConfig.objects.filter(name__in=names)
    changes = [_reset(row, revision.current + step, reason, by) for step, row in enumerate(rows, start=1)]
    if changes:
        last = revision.advance(len(changes))
        ConfigChange.objects.bulk_create(changes)
        tell_changes(changes)
        publish.on_commit(last)
    return [change.reset_record() for change in changes]


def _reset(row: BreakerConfig, revision: int, reason: str, by: Actor, instance: UUID | None = None) -> ConfigChange:
    kind, command = ConfigChange.Kind.RESET, uuid4()
    return audited(kind, row=row, revision=revision, reason=reason, by=by, command_id=command, instance=instance)


@transaction.atomic
def override_set(
    *,
    name: str,
    override: Override,
    reason: str,
    expires_at: datetime | None,
    by: Actor,
    expected_version: int | None = None,
    confirm: bool = False,
) -> BreakerConfig:
    """Forces the breaker fleet-wide, until released or ``expires_at`` (aware). One that stands is replaced.

    Raises ``NotFound``, ``VersionConflict``, ``ConfigError`` for an end in the past, and, unless ``confirm``,
    ``NeedsConfirmation`` where most of the breakers of its group would then reject every call.
    """
    if expires_at is not None and expires_at <= timezone.now():
        raise ConfigError({"expires_at": "must be in the future"})
    revision, row = locked(name, expected_version)
    if override is Override.FORCED_OPEN and not confirm:
        check_blast([row])
    before = row.override_settings()
    row.override, row.override_reason, row.override_by = override.value, storable(reason), str(by)
    row.override_expires_at = expires_at
    return _overridden(ConfigChange.Kind.OVERRIDE_SET, row, revision, before, reason, by)


@transaction.atomic
def override_release(*, name: str, reason: str, by: Actor, expected_version: int | None = None) -> BreakerConfig:
    """Back to what the machine says; with no override it writes nothing. Raises ``NotFound``, ``VersionConflict``."""
    revision, row = locked(name, expected_version)
    before = row.override_settings()
    if before is None:
        return row
    row.lift_override()
    return _overridden(ConfigChange.Kind.OVERRIDE_RELEASED, row, revision, before, reason, by)


def overrides_expire() -> list[str]:
    """Clears the overrides whose end has come, each with an audit row by the system; their names. Cheap without any.

    Instances lift them by their own clocks and readers pass over them: this keeps the record, and nothing waits for it.
    """
    due = Q(override_expires_at__lte=timezone.now()) & ~Q(override="")
    names = list(BreakerConfig.objects.filter(due).values_list("name", flat=True))
    return [name for name in names if _expire(name)]


@transaction.atomic
def _expire(name: str) -> bool:
    """False where somebody released, prolonged or deleted it meanwhile."""
    revision = Revision.locked()
    row = BreakerConfig.objects.select_for_update().filter(name=name).first()
    if row is None or not row.override or row.override_at(timezone.now()) is not None:
        return False
    before = row.override_settings()
    row.lift_override()
    _overridden(ConfigChange.Kind.OVERRIDE_RELEASED, row, revision, before, "Its time was over", Actor("system"))
    return True


def _overridden(
    kind: ConfigChange.Kind,
    row: BreakerConfig,
    revision: Revision,
    before: dict[str, object] | None,
    reason: str,
    by: Actor,
) -> BreakerConfig:
    row.save_as_next_revision(revision)
    after = row.override_settings()
    conclude(audited(kind, row=row, revision=row.revision, reason=reason, by=by, before=before, after=after))
    return row
