"""The Django app of the control plane."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class BreakersConfig(AppConfig):
    name = "breakers"
    verbose_name = "Circuit breakers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_login_failed

        from .access.refusals import sign_in_failed
        from .checks import ALL

        for check in ALL:
            register(check)
        user_login_failed.connect(sign_in_failed, dispatch_uid="breakers.access")
