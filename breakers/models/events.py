"""Events on their way to the shared stream, and those that came from it and were applied."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class OutgoingEvent(models.Model):
    """Written in the transaction of what it tells of, deleted once it stands in the stream. Passed on in this order."""

    event_id = models.UUIDField(help_text="Follows from what it tells of.")
    event_type = models.CharField(max_length=100)
    body = models.TextField(help_text="As it travels.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id}"


class AppliedEvent(models.Model):
    """Written in the transaction of what it caused, so that an event is applied once, however often it comes."""

    event_id = models.CharField(max_length=200, unique=True)
    applied_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.event_id
