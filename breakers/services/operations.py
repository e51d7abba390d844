"""What an operator does to running breakers: resets and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from breakers.core.errors import ConfigError
from breakers.core.states import Override
from breakers.models import BreakerConfig, ConfigChange, ResetRecord, Revision

from .actors import Actor
from .blast import check_blast
from .rows import audited, conclude, conclude_all, locked, locked_all
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
    revision.advance(len(changes))
    conclude_all(changes)
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
    _check_end(expires_at)
    revision, row = locked(name, expected_version)
    if override is Override.FORCED_OPEN and not confirm:
        check_blast([row])
    before = row.override_settings()
    _force(row, override, reason, expires_at, by)
    return _overridden(ConfigChange.Kind.OVERRIDE_SET, row, revision, before, reason, by)


@transaction.atomic
def overrides_set(
    *,
    names: Sequence[str],
    override: Override,
    reason: str,
    expires_at: datetime | None,
    by: Actor,
    confirm: bool = False,
) -> list[str]:
    """Forces those of ``names`` that exist, each with an audit row of its own; which they are.

    Raises ``ConfigError`` for an end in the past, and, unless ``confirm``, ``NeedsConfirmation`` where most of a group
    would then reject every call. A few milliseconds a hundred.
    """
    _check_end(expires_at)
    revision, rows = locked_all(names)
    if override is Override.FORCED_OPEN and not confirm:
        check_blast(rows)
    before = [row.override_settings() for row in rows]
    for row in rows:
        _force(row, override, reason, expires_at, by)
    return _overridden_all(ConfigChange.Kind.OVERRIDE_SET, rows, revision, before, reason, by)


def _check_end(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise ConfigError({"expires_at": "must be in the future"})


def _force(row: BreakerConfig, override: Override, reason: str, expires_at: datetime | None, by: Actor) -> None:
    row.override, row.override_reason, row.override_by = override.value, storable(reason), str(by)
    row.override_expires_at = expires_at


@transaction.atomic
def override_release(*, name: str, reason: str, by: Actor, expected_version: int | None = None) -> BreakerConfig:
    """Back to what the machine says; with no override it writes nothing. Raises ``NotFound``, ``VersionConflict``."""
    revision, row = locked(name, expected_version)
    before = row.override_settings()
    if before is None:
        return row
    row.lift_override()
    return _overridden(ConfigChange.Kind.OVERRIDE_RELEASED, row, revision, before, reason, by)


@transaction.atomic
def overrides_release(*, names: Sequence[str], reason: str, by: Actor) -> list[str]:
    """Releases those of ``names`` that are forced, each with an audit row of its own; which they are."""
    revision, rows = locked_all(names)
    return _release_all([row for row in rows if row.override], revision, reason, by)


def overrides_expire() -> list[str]:
    """Clears the overrides whose end has come, each with an audit row by the system; their names. Cheap without any.

    Instances lift them by their own clocks and readers pass over them: this keeps the record, and nothing waits for it.
    """
    due = Q(override_expires_at__lte=timezone.now()) & ~Q(override="")
    names = list(BreakerConfig.objects.filter(due).values_list("name", flat=True))
    return _expire(names) if names else []


@transaction.atomic
def _expire(names: Sequence[str]) -> list[str]:
    """But for those that somebody released, prolonged or deleted meanwhile."""
    revision, rows = locked_all(names)
    now = timezone.now()
    over = [row for row in rows if row.override and row.override_at(now) is None]
    return _release_all(over, revision, "Its time was over", Actor("system"))


def _release_all(rows: Sequence[BreakerConfig], revision: Revision, reason: str, by: Actor) -> list[str]:
    before = [row.override_settings() for row in rows]
    for row in rows:
        row.lift_override()
    return _overridden_all(ConfigChange.Kind.OVERRIDE_RELEASED, rows, revision, before, reason, by)


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


def _overridden_all(
    kind: ConfigChange.Kind,
    rows: Sequence[BreakerConfig],
    revision: Revision,
    before: Sequence[dict[str, object] | None],
    reason: str,
    by: Actor,
) -> list[str]:
    BreakerConfig.save_overrides(rows, revision)
    changes = [
        audited(kind, row=row, revision=row.revision, reason=reason, by=by, before=was, after=row.override_settings())
        for row, was in zip(rows, before, strict=True)
    ]
    conclude_all(changes)
    return [row.name for row in rows]
