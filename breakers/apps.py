"""The Django app of the control plane."""

from __future__ import annotations

from django.apps import AppConfig


class BreakersConfig(AppConfig):
    name = "breakers"
    verbose_name = "Circuit breakers"
    default_auto_field = "django.db.models.BigAutoField"
