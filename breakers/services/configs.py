"""Creating, editing and deleting what is wanted of a breaker."""

from __future__ import annotations

from dataclasses import replace

from django.db import transaction

from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import ConfigError
from breakers.models import BreakerConfig, ConfigChange, Revision
from breakers.problems import AlreadyExists

from .actors import Actor
from .rows import audited, conclude, locked
from .texts import storable


@transaction.atomic
def breaker_create(
    *,
    name: str,
    config: CircuitBreakerConfig,
    http: HttpConfig,
    group: str = "",
    description: str = "",
    reason: str = "",
    by: Actor,
) -> BreakerConfig:
    """A breaker that the fleet shall have, at version 1; ``name`` outranks the one in ``config``.

    Raises ``AlreadyExists``, and ``ConfigError`` for a wrong name or group.
    """
    row = BreakerConfig(name=name, managed=True)
    row.take(replace(config, name=name), http)
    _describe(row, group, description)
    revision = Revision.locked()
    if BreakerConfig.objects.filter(name=name).exists():
        raise AlreadyExists(name)
    row.save_as_next_revision(revision)
    kind = ConfigChange.Kind.CREATED
    conclude(audited(kind, row=row, revision=row.revision, reason=reason, by=by, after=row.settings()))
    return row


@transaction.atomic
def breaker_edit(
    *,
    name: str,
    config: CircuitBreakerConfig,
    http: HttpConfig,
    group: str | None = None,
    description: str | None = None,
    reason: str,
    by: Actor,
    expected_version: int | None = None,
) -> BreakerConfig:
    """The whole config anew, one version on; ``None`` keeps group or description; no change at all writes nothing.

    The first edit of a registered breaker makes it managed: from then on its instances take the database's config.
    Raises ``NotFound``, ``VersionConflict``, ``ConfigError``.
    """
    revision, row = locked(name, expected_version)
    before = row.settings()
    row.take(replace(config, name=name), http)
    _describe(row, group, description)
    if row.settings() == before:
        return row
    row.managed = True
    row.version += 1
    row.save_as_next_revision(revision)
    change = audited(
        ConfigChange.Kind.EDITED,
        row=row,
        revision=row.revision,
        reason=reason,
        by=by,
        before=before,
        after=row.settings(),
    )
    conclude(change)
    return row


@transaction.atomic
def breaker_delete(*, name: str, reason: str, by: Actor, expected_version: int | None = None) -> None:
    """Instances go back to the config of their code; a later report may register the name again.

    Raises ``NotFound``, ``VersionConflict``.
    """
    revision, row = locked(name, expected_version)
    kind, taken = ConfigChange.Kind.DELETED, revision.advance()
    change = audited(kind, row=row, revision=taken, reason=reason, by=by, before=row.settings())
    row.delete()
    conclude(change)


def _describe(row: BreakerConfig, group: str | None, description: str | None) -> None:
    if group is not None:
        if len(group) > 100:
            raise ConfigError({"group": f"must be at most 100 characters, not {len(group)}"})
        row.group = storable(group)
    if description is not None:
        row.description = storable(description)
