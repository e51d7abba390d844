"""Breakers that services have in code and the control plane does not know yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, CircuitBreakerConfig, HttpConfig
from breakers.core.errors import ConfigError
from breakers.core.wire import Registration
from breakers.models import BreakerConfig, ConfigChange, Revision

from .actors import Actor
from .rows import audited, conclude_all


def breakers_register(*, registrations: Sequence[Registration], service: str) -> list[str]:
    """Records the unknown ones with the config they have in code; known ones are left as they are.

    Returns a sentence for each that was refused. Costs one query when all are known. Several services may register
    one name at the same time: the first is recorded. Does nothing unless ``CIRCUIT_BREAKER_AUTO_REGISTER``.
    """
    if not getattr(settings, "CIRCUIT_BREAKER_AUTO_REGISTER", True):
        return []
    rows, refused = _read(_unknown(registrations))
    if rows:
        _record(rows, Actor("service", service))
    return refused


def _unknown(registrations: Iterable[Registration]) -> dict[str, Registration]:
    """By name, the first of each."""
    named = {registration.name: registration for registration in reversed(list(registrations))}
    return {name: named[name] for name in sorted(named.keys() - _known(named))}


def _known(names: Iterable[str]) -> set[str]:
    return set(BreakerConfig.objects.filter(name__in=_readable(names)).values_list("name", flat=True))


def _readable(names: Iterable[str]) -> list[str]:
    return [name for name in names if BREAKER_FIELDS["name"].problem(name) is None]


def _read(unknown: Mapping[str, Registration]) -> tuple[list[BreakerConfig], list[str]]:
    rows, refused = [], []
    for registration in unknown.values():
        try:
            rows.append(_row(registration))
        except ConfigError as error:
            refused.append(f"{registration.name!r} was not registered: {error}")
    return rows, refused


def _row(registration: Registration) -> BreakerConfig:
    """Fields of a newer library are passed over, absent ones take the table's default. Raises ``ConfigError``."""
    row = BreakerConfig(name=registration.name, managed=False)
    values = {**TABLE_DEFAULTS, **_only(BREAKER_FIELDS, registration.config), "name": registration.name}
    row.take(CircuitBreakerConfig(**values), HttpConfig(**_only(HTTP_FIELDS, registration.http or {})))
    return row


def _only(fields: Mapping[str, object], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in fields}


@transaction.atomic
def _record(rows: Sequence[BreakerConfig], by: Actor) -> None:
    revision = Revision.locked()
    known = _known(row.name for row in rows)  # once more, under the lock: somebody may have been faster
    new = [row for row in rows if row.name not in known]
    if not new:
        return
    now, last = timezone.now(), revision.advance(len(new))
    for row, taken in zip(new, range(last - len(new) + 1, last + 1), strict=True):
        row.revision, row.created_at, row.updated_at = taken, now, now
    BreakerConfig.objects.bulk_create(new)
    kind = ConfigChange.Kind.REGISTERED
    audits = [audited(kind, row=row, revision=row.revision, reason="", by=by, after=row.settings()) for row in new]
    conclude_all(audits)
