"""The Django app of the control plane."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class BreakersConfig(AppConfig):
    name = "breakers"
    verbose_name = "Circuit breakers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from .checks import ALL

        for check in ALL:
            register(check)
