"""Keys of services and scripts. The secret is shown once and stored nowhere."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils import timezone

SCOPES: Final = ("agent", "read", "operate")
"""Link a service; read; reset, override and edit. None includes another."""


class ApiKey(models.Model):
    """A key by its digest. 32 random bytes need no slow hash: there is nothing to guess."""

    name = models.CharField(max_length=100, unique=True)
    prefix = models.CharField(max_length=20, editable=False, help_text="How the key begins, to tell it from others.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=200, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoked_by = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def allows(self, scope: str) -> bool:
        return self.revoked_at is None and scope in self.scopes
