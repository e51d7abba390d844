"""Who is, or was, linked."""

from __future__ import annotations

from django.db import models

from .records import InstanceRecord


class Instance(models.Model):
    """One process of a service. What a gone one had counted stays in the fleet's totals."""

    id = models.UUIDField(primary_key=True)
    service = models.CharField(max_length=100, db_index=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.BigIntegerField()
    library = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField()
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, blank=True)
    observed = models.JSONField(default=dict, help_text="Breaker to state, counts and latency, as last written.")

    class Meta:
        ordering = ("service", "host", "pid")

    def __str__(self) -> str:
        return f"{self.service} on {self.host} ({self.pid})"

    def record(self) -> InstanceRecord:
        return InstanceRecord(
            id=self.id,
            service=self.service,
            host=self.host,
            pid=self.pid,
            library=self.library,
            started_at=self.started_at,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
            gone_at=self.gone_at,
            observed=self.observed,
        )
