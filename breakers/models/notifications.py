"""Who is told of which alerts, what they were told, and whether it arrived. Written by ``breakers.services`` only."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

from django.db import models
from django.utils import timezone

from .records import FiringAlert

LEVELS = ("error", "warning")


class NotificationRule(models.Model):
    """Alerts of these groups and levels that fire for so long are told to one target. Its address is a secret."""

    class Channel(models.TextChoices):
        WEBHOOK = "webhook", "webhook: JSON by POST"
        APPRISE = "apprise", "apprise: mail, Slack, Teams and a hundred more"

    name = models.CharField(max_length=100, unique=True)
    enabled = models.BooleanField(default=True)
    groups = models.JSONField(default=list, blank=True, help_text="Names of groups; none: every breaker.")
    levels = models.JSONField(default=list, help_text="error, warning or both.")
    after = models.FloatField(default=30.0, help_text="Seconds that an alert fires before it is told.")
    quiet = models.FloatField(
        default=60.0, help_text="Seconds without the alert before it is over; until then its coming and going is one."
    )
    tell_resolved = models.BooleanField(default=True, help_text="Also tell when it is over.")
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.WEBHOOK)
    address = models.TextField(help_text="https://… of a webhook, or an apprise URL; kept, never shown again.")
    signing_secret = models.TextField(blank=True, help_text="Of a webhook: signs the body; kept, never shown again.")
    changed_by = models.CharField(max_length=200, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=models.Q(after__gte=0, after__lte=86_400), name="notificationrule_after"),
            models.CheckConstraint(condition=models.Q(quiet__gte=0, quiet__lte=86_400), name="notificationrule_quiet"),
        )

    def __str__(self) -> str:
        return self.name

    def matches(self, alert: FiringAlert) -> bool:
        return alert.level in self.levels and (not self.groups or alert.group in self.groups)

    @property
    def masked_address(self) -> str:
        """What may be shown of the address: how and whereto, without a path, a password or a token."""
        try:
            parts = urlsplit(self.address)
        except ValueError:
            return "…"
        return f"{parts.scheme}://{parts.hostname or ''}/…" if self.channel == "webhook" else f"{parts.scheme}://…"


class Notice(models.Model):
    """An alert that fires for a rule, from when it was first seen until it is over."""

    rule = models.ForeignKey(NotificationRule, on_delete=models.CASCADE)
    breaker = models.CharField(max_length=100)
    kind = models.CharField(max_length=50)
    facts = models.JSONField(help_text="The alert as it was last told or first seen.")
    first_seen_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    cleared_at = models.DateTimeField(null=True, help_text="Since when it does not fire; it may come again.")
    returns = models.PositiveIntegerField(default=0, help_text="How often it came again before it was over.")

    class Meta:
        constraints = (models.UniqueConstraint(fields=["rule", "breaker", "kind"], name="notice_once"),)

    def __str__(self) -> str:
        return f"{self.breaker}: {self.kind}"


class Delivery(models.Model):
    """One message to one target: tried until it arrives, or given up."""

    class Event(models.TextChoices):
        FIRING = "firing"
        RESOLVED = "resolved"
        TEST = "test"

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        GIVEN_UP = "given_up", "given up"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    rule = models.ForeignKey(NotificationRule, on_delete=models.CASCADE)
    event = models.CharField(max_length=10, choices=Event.choices)
    breaker = models.CharField(max_length=100, blank=True)
    kind = models.CharField(max_length=50, blank=True)
    message = models.JSONField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True, help_text="Of the last attempt.")
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now, help_text="Of the next attempt.")
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["status", "due_at"], name="delivery_due"),
            models.Index(fields=["-created_at"], name="delivery_created"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.breaker}"


class Lease(models.Model):
    """What only one process of several does at a time, and until when it is its."""

    name = models.CharField(max_length=50, primary_key=True)
    holder = models.CharField(max_length=50)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
