"""Desired state: one row a breaker, and the revision that orders every write of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection, models
from django.utils import timezone

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, RESERVED_NAMES, CircuitBreakerConfig, HttpConfig
from breakers.core.states import Override
from breakers.core.wire import DesiredBreaker, DesiredOverride

from . import columns
from .records import BreakerRecord

_OF_AN_OVERRIDE: Final = (
    "override", "override_reason", "override_by", "override_expires_at", "revision", "updated_at",
)  # fmt: skip


class Revision(models.Model):
    """The one row whose lock every writer of desired state takes first, so that commit order is revision order."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    current = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="revision_is_one_row"),)

    def __str__(self) -> str:
        return str(self.current)

    @classmethod
    def locked(cls) -> Revision:
        """The row, locked until the transaction ends; must be called inside one."""
        return cls.objects.select_for_update().get_or_create(pk=1)[0]

    def advance(self, steps: int = 1) -> int:
        """The last of the next ``steps`` revisions; they are taken when the transaction commits."""
        self.current += steps
        self.save(update_fields=["current"])
        return self.current


class BreakerConfig(models.Model):
    """What is wanted of one breaker, fleet-wide. Written by ``breakers.services`` only."""

    name = models.CharField(max_length=100, unique=True, help_text=BREAKER_FIELDS["name"].help)
    group = models.CharField(max_length=100, blank=True, default="", help_text="Breakers are shown by group.")
    description = models.TextField(blank=True, default="")

    failure_threshold = columns.integer("failure_threshold")
    recovery_timeout = columns.number("recovery_timeout")
    success_threshold = columns.integer("success_threshold")
    timeout = columns.optional_number("timeout")
    window_type = columns.choice("window_type")
    window_size = columns.integer("window_size")
    minimum_calls = columns.integer("minimum_calls")
    failure_rate_threshold = columns.optional_number("failure_rate_threshold")
    slow_call_duration = columns.optional_number("slow_call_duration")
    slow_call_rate_threshold = columns.optional_number("slow_call_rate_threshold")
    half_open_max_calls = columns.integer("half_open_max_calls")
    recovery_backoff = columns.number("recovery_backoff")
    max_recovery_timeout = columns.number("max_recovery_timeout")
    recovery_jitter = columns.number("recovery_jitter")

    failure_statuses = columns.statuses("failure_statuses")
    max_retries = columns.integer("max_retries")
    retry_statuses = columns.statuses("retry_statuses")
    retry_backoff = columns.number("retry_backoff")
    max_retry_wait = columns.number("max_retry_wait")
    retry_non_idempotent = columns.flag("retry_non_idempotent")

    managed = models.BooleanField(
        default=True, help_text="Off: recorded by a service; instances keep the config of their code until an edit."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    revision = models.PositiveBigIntegerField(editable=False, db_index=True)

    override = models.CharField(
        max_length=20, blank=True, default="", choices=[(word.value, word.value) for word in Override]
    )
    override_reason = models.TextField(blank=True, default="")
    override_by = models.CharField(max_length=200, blank=True, default="")
    override_expires_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "circuit breaker"
        ordering = ("name",)
        permissions = (
            ("reset_breaker", "Can reset a breaker"),
            ("override_breaker", "Can force a breaker open or closed, and release it"),
        )
        constraints = (
            *columns.constraints(),
            models.CheckConstraint(
                condition=~models.Q(name__in=["", *sorted(RESERVED_NAMES)]), name="breakerconfig_name"
            ),
            models.CheckConstraint(condition=models.Q(version__gte=1), name="breakerconfig_version"),
            models.CheckConstraint(
                condition=models.Q(override__in=["", *[word.value for word in Override]]), name="breakerconfig_override"
            ),
        )

    def __str__(self) -> str:
        return self.name

    def config(self) -> CircuitBreakerConfig:
        """Raises ``ConfigError`` where the columns hold what the library refuses."""
        return CircuitBreakerConfig(**{name: getattr(self, name) for name in BREAKER_FIELDS})

    def http_config(self) -> HttpConfig:
        """Raises ``ConfigError`` where the columns hold what the library refuses."""
        return HttpConfig(**{name: getattr(self, name) for name in HTTP_FIELDS})

    def take(self, config: CircuitBreakerConfig, http: HttpConfig) -> None:
        """Sets the columns; numbers become floats, as the database will give them back."""
        for name, value in {**config.as_dict(), **http.as_dict()}.items():
            setattr(self, name, columns.stored(name, value))

    def settings(self) -> dict[str, Any]:
        """What an edit can change, flat and ready for JSON: before and after of the audit."""
        texts = {"group": self.group, "description": self.description}
        return {**texts, **{name: getattr(self, name) for name in columns.FIELDS}}

    def record(self, now: datetime, override_since: datetime | None = None) -> BreakerRecord:
        """As a value; an override that has expired at ``now`` is left out."""
        override = self.override_at(now)
        return BreakerRecord(
            name=self.name,
            group=self.group,
            description=self.description,
            managed=self.managed,
            version=self.version,
            revision=self.revision,
            config=self.config(),
            http=self.http_config(),
            override=override,
            override_reason=self.override_reason if override else "",
            override_by=self.override_by if override else "",
            override_expires_at=self.override_expires_at if override else None,
            created_at=self.created_at,
            override_since=override_since if override else None,
            updated_at=self.updated_at,
        )

    def override_at(self, now: datetime) -> Override | None:
        expired = self.override_expires_at is not None and self.override_expires_at <= now
        return Override(self.override) if self.override and not expired else None

    def lift_override(self) -> None:
        self.override = self.override_reason = self.override_by = ""
        self.override_expires_at = None

    def override_settings(self) -> dict[str, Any] | None:
        """The override as the audit holds it; ``None`` where there is none."""
        if not self.override:
            return None
        until = self.override_expires_at
        return {
            "override": self.override,
            "reason": self.override_reason,
            "by": self.override_by,
            "expires_at": until.isoformat() if until else None,
        }

    def desired(self, now: datetime) -> DesiredBreaker:
        """As a link is told it."""
        return self.record(now).desired(now)

    def as_it_stands(self, now: datetime) -> DesiredBreaker:
        """The same, also where the columns hold what the library refuses: the instance says so."""
        override, until = self.override_at(now), self.override_expires_at
        seconds = (until - now).total_seconds() if until else None
        return DesiredBreaker(
            name=self.name,
            revision=self.revision,
            version=self.version,
            config={name: getattr(self, name) for name in BREAKER_FIELDS},
            http={name: getattr(self, name) for name in HTTP_FIELDS},
            override=None if override is None else DesiredOverride(override, self.override_reason, seconds),
        )

    def save_as_next_revision(self, revision: Revision) -> None:
        """Writes the row under the next revision. What the library refuses, nan too, is a ``ConfigError`` first."""
        self.config()
        self.http_config()
        self.revision = revision.advance()
        self.updated_at = timezone.now()
        self.save()

    @classmethod
    def save_overrides(cls, rows: Sequence[BreakerConfig], revision: Revision) -> None:
        """Writes the overrides of ``rows``, and nothing else of them, each under a revision of its own, in order."""
        now, last = timezone.now(), revision.advance(len(rows))
        for row, taken in zip(rows, range(last - len(rows) + 1, last + 1), strict=True):
            row.revision, row.updated_at = taken, now
        fields = [field for field in cls._meta.concrete_fields if field.name in _OF_AN_OVERRIDE]
        columns = ", ".join(f'"{field.column}" = %s' for field in fields)
        with connection.cursor() as cursor:  # a hundred times as fast as the ORM's bulk_update
            cursor.executemany(
                f'UPDATE "{cls._meta.db_table}" SET {columns} WHERE "id" = %s',  # noqa: S608  # our own names
                [
                    [*(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields), row.pk]
                    for row in rows
                ],
            )
