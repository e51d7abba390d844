"""What was answered to requests that carried an ``Idempotency-Key``, so that asking again does nothing again."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class KeptAnswer(models.Model):
    """One request of one caller; ``status`` is empty until it was answered."""

    caller = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    digest = models.CharField(max_length=64, help_text="Of method, address, precondition and body.")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["caller", "key"], name="keptanswer_once"),)
        indexes = (models.Index(fields=["created_at"], name="keptanswer_created_at"),)

    def __str__(self) -> str:
        return f"{self.caller}: {self.key}"
