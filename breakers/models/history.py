"""What happened: transitions that instances report, and what people and services changed. Both outlive the configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils import timezone

from breakers.core.states import CircuitBreakerState
from breakers.tracing import LONGEST

from .records import ResetRecord

_STATES = [(state.value, state.value) for state in CircuitBreakerState]


class StateChange(models.Model):
    """One transition of one breaker in one instance; reported at least once, recorded exactly once."""

    breaker = models.CharField(max_length=100)
    service = models.CharField(max_length=100)
    instance = models.UUIDField()
    sequence = models.PositiveBigIntegerField(help_text="Numbered by the instance from 1.")
    from_state = models.CharField(max_length=10, choices=_STATES)
    to_state = models.CharField(max_length=10, choices=_STATES)
    reason = models.CharField(max_length=50)
    cause = models.TextField(blank=True)
    epoch = models.BigIntegerField()
    failures = models.BigIntegerField()
    calls = models.BigIntegerField()
    failure_rate = models.FloatField(null=True)
    at = models.DateTimeField(help_text="By the instance's clock.")
    received_at = models.DateTimeField(default=timezone.now, help_text="By the server's clock.")

    class Meta:
        ordering = ("-at", "-id")
        constraints = (models.UniqueConstraint(fields=["instance", "sequence"], name="statechange_once"),)
        indexes = (
            models.Index(fields=["breaker", "-at"], name="statechange_breaker_at"),
            models.Index(fields=["-at"], name="statechange_at"),
            models.Index(fields=["instance", "-at"], name="statechange_instance_at"),
            # none by service or reason: SQLite, which counts nothing by itself, would take it also for one of a breaker
        )

    def __str__(self) -> str:
        return f"{self.breaker}: {self.from_state} → {self.to_state}"


class TransitionTotal(models.Model):
    """How often one transition was recorded, of all instances; what is pruned stays counted."""

    breaker = models.CharField(max_length=100)
    from_state = models.CharField(max_length=10)
    to_state = models.CharField(max_length=10)
    reason = models.CharField(max_length=50)
    total = models.PositiveBigIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["breaker", "from_state", "to_state", "reason"], name="transitiontotal_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.breaker}: {self.from_state} → {self.to_state}, {self.reason}: {self.total}"


class ConfigChange(models.Model):
    """One write of desired state: who, when, why, from, to. Each has a revision of its own."""

    class Kind(models.TextChoices):
        CREATED = "created"
        REGISTERED = "registered"
        EDITED = "edited"
        DELETED = "deleted"
        RESET = "reset"
        OVERRIDE_SET = "override_set"
        OVERRIDE_RELEASED = "override_released"

    breaker = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=200)
    at = models.DateTimeField(default=timezone.now)
    version = models.PositiveIntegerField(null=True)
    revision = models.PositiveBigIntegerField(unique=True)
    command_id = models.UUIDField(null=True, unique=True, help_text="Of a reset: what instances confirm.")
    instance = models.UUIDField(null=True, help_text="Of a reset of one instance.")
    # the database's own default too: while servers are replaced one by one, an older one still writes rows without it
    request_id = models.CharField(
        max_length=LONGEST, blank=True, default="", db_default="", help_text="As its answer and the log."
    )

    class Meta:
        ordering = ("-revision",)
        indexes = (
            models.Index(fields=["breaker", "-at"], name="configchange_breaker_at"),
            models.Index(fields=["kind", "-at"], name="configchange_kind_at"),
            models.Index(fields=["actor", "-at"], name="configchange_actor_at"),
        )

    def __str__(self) -> str:
        return f"{self.breaker}: {self.kind} by {self.actor}"

    def reset_record(self) -> ResetRecord:
        """Of a change of kind ``reset``: the command that it is."""
        instance = str(self.instance) if self.instance else None
        return ResetRecord(str(self.command_id), self.breaker, instance, self.at, self.revision)

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Setting to (before, after), only where they differ; absent reads as ``None``."""
        before, after = _mapping(self.before), _mapping(self.after)
        names = dict.fromkeys([*before, *after])
        return {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
