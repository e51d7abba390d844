"""Who is, or was, linked."""

from __future__ import annotations

from django.db import models

from .records import DepartedRecord, InstanceRecord


class Instance(models.Model):
    """One process of a service. What a gone one had counted stays in the fleet's totals.

    At any moment those are, a breaker, its row of :class:`Departed` and what all rows here that are not ``folded``
    observed of it.
    """

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
    # the database's own defaults too: while servers are replaced one by one, an older one still writes rows without
    folded = models.BooleanField(
        default=False, db_default=False, help_text="What it observed stands in the sums of those who departed."
    )
    direct = models.BooleanField(
        default=False, db_default=False, help_text="It is linked by the database and writes this row itself."
    )
    forgotten = models.BooleanField(
        default=False, db_default=False, help_text="What it counted before it was first seen stands in those sums too."
    )
    dropped = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Transitions that it could not keep until they were reported."
    )
    dropped_at = models.DateTimeField(null=True, help_text="When it last told of more of them.")
    report = models.JSONField(null=True, help_text="Of a direct one: its latest report, as a link would send it.")

    class Meta:
        ordering = ("service", "host", "pid")
        indexes = (
            models.Index(fields=["folded", "gone_at"], name="instance_folded_gone_at"),
            models.Index(fields=["direct", "folded"], name="instance_direct_folded"),
        )

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
            folded=self.folded,
            direct=self.direct,
            forgotten=self.forgotten,
            report=self.report,
            dropped=self.dropped,
            dropped_at=self.dropped_at,
        )


class Departed(models.Model):
    """The sum of what instances of one breaker had counted that are long gone, and how the last of them left it."""

    breaker = models.CharField(max_length=100, unique=True)
    observed = models.JSONField(default=dict, help_text="Counts and latency, summed; the state of the last.")
    instance = models.UUIDField(null=True, help_text="The last of them.")
    gone_at = models.DateTimeField(null=True, help_text="When the last of them was gone.")

    def __str__(self) -> str:
        return f"{self.breaker}, those who departed"

    def record(self) -> DepartedRecord:
        return DepartedRecord(self.breaker, self.observed, self.instance, self.gone_at)
