"""Configs from elsewhere: of another breaker, or of an earlier version."""

from __future__ import annotations

from django.db import transaction

from breakers import selectors
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, CircuitBreakerConfig, HttpConfig
from breakers.models import BreakerConfig, ConfigChange, Revision
from breakers.problems import UnknownVersion, VersionConflict

from .actors import Actor
from .configs import breaker_create, breaker_edit


@transaction.atomic
def breaker_copy(
    *,
    source: str,
    target: str,
    reason: str = "",
    by: Actor,
    expected_version: int | None = None,
    source_version: int | None = None,
) -> BreakerConfig:
    """``target`` gets the config of ``source``: as its next version, or as a new breaker in the same group.

    An existing one keeps its group and description. ``expected_version`` is the target's. Raises ``NotFound`` (the
    source), ``VersionConflict`` (of either; also where a version of the target is expected and there is none),
    ``ConfigError``.
    """
    Revision.locked()  # first, as everywhere: so that the source stands still while it is copied
    given = selectors.breaker(source)
    if source_version is not None and given.version != source_version:
        raise VersionConflict(source, given.version)
    why = reason or f"Copied from {source}, version {given.version}"
    config, http = given.config(), given.http_config()
    if BreakerConfig.objects.filter(name=target).exists():
        return breaker_edit(name=target, config=config, http=http, reason=why, by=by, expected_version=expected_version)
    if expected_version is not None:
        raise VersionConflict(target, 0)
    return breaker_create(name=target, config=config, http=http, group=given.group, reason=why, by=by)


@transaction.atomic
def breaker_restore(
    *, name: str, version: int, reason: str = "", by: Actor, expected_version: int | None = None
) -> BreakerConfig:
    """Config, group and description of ``version`` again, as a new version; fields it did not have take the default.

    Raises ``NotFound``, ``UnknownVersion``, ``VersionConflict``; ``ConfigError`` where today's bounds refuse it.
    """
    Revision.locked()
    change = selectors.versions(name).filter(version=version).first()
    if change is None:
        selectors.breaker(name)  # rather no such breaker than no such version
        raise UnknownVersion(name, version)
    config, http = configs_of(change)
    settings = change.after or {}
    return breaker_edit(
        name=name,
        config=config,
        http=http,
        group=settings.get("group"),
        description=settings.get("description"),
        reason=reason or f"Restored version {version}",
        by=by,
        expected_version=expected_version,
    )


def configs_of(change: ConfigChange) -> tuple[CircuitBreakerConfig, HttpConfig]:
    """What a change of :func:`breakers.selectors.versions` made of the breaker. Raises ``ConfigError``."""
    settings = change.after or {}
    config = {n: settings.get(n, TABLE_DEFAULTS[n]) for n in BREAKER_FIELDS if n != "name"}
    http = {n: settings[n] for n in HTTP_FIELDS if n in settings}
    return CircuitBreakerConfig(**config, name=change.breaker), HttpConfig(**http)
