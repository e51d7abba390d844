"""Django system checks: settings that a careful operator would not have meant.

Our own settings may be absent where a service has ``breakers`` among its apps: they then have their default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Unwise

LEAST_KEY_RATE: Final = 100
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", ".localhost", "testserver"})


def public_read(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Reading without signing in, on a host that others reach."""
    reachable = [host for host in settings.ALLOWED_HOSTS if host not in _LOOPBACK]
    if settings.DEBUG or not getattr(settings, "CIRCUIT_BREAKER_PUBLIC_READ", False) or not reachable:
        return []
    text = f"CIRCUIT_BREAKER_PUBLIC_READ lets anybody read who reaches {', '.join(reachable)}."
    return [Unwise(text, hint="Unset it, or serve on loopback only.", id="breakers.W001")]


def history_days(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    days = getattr(settings, "CIRCUIT_BREAKER_HISTORY_DAYS", 30)
    if days >= 1:
        return []
    text = f"CIRCUIT_BREAKER_HISTORY_DAYS must be at least 1, not {days}."
    return [Error(text, id="breakers.E001")]


def immediate_transactions(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """SQLite locks no rows: only a transaction that begins as a writer keeps two writers apart."""
    database = settings.DATABASES["default"]
    mode = database.get("OPTIONS", {}).get("transaction_mode")
    if not database["ENGINE"].endswith("sqlite3") or mode in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    text = "Two writers may take the same revision: SQLite needs OPTIONS['transaction_mode'] = 'IMMEDIATE'."
    return [Error(text, id="breakers.E002")]


def any_host(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """A Host header that anybody may choose: links in answers, and the origins that sockets trust, follow it."""
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [Unwise("ALLOWED_HOSTS takes any Host header.", hint="Name the hosts.", id="breakers.W002")]


def key_rate(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """What services and scripts are promised."""
    rate = getattr(settings, "CIRCUIT_BREAKER_KEY_RATE", LEAST_KEY_RATE)
    if rate >= LEAST_KEY_RATE:
        return []
    text = f"CIRCUIT_BREAKER_KEY_RATE must be at least {LEAST_KEY_RATE} requests a second, not {rate:g}."
    return [Error(text, id="breakers.E003")]


ALL: Final = (public_read, history_days, immediate_transactions, any_host, key_rate)
