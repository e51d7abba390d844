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
    reachable = _reachable()
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


def debug(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Error pages with source and settings, on a host that others reach."""
    reachable = _reachable()
    if not settings.DEBUG or not reachable:
        return []
    text = f"DEBUG shows source and settings to anybody who reaches {', '.join(reachable)}."
    return [Unwise(text, hint="Unset DJANGO_DEBUG.", id="breakers.W003")]


def sign_in(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """Limits that lock everybody out, or nobody."""
    found: list[CheckMessage] = []
    if getattr(settings, "AXES_FAILURE_LIMIT", 1) < 1:
        text = "DJANGO_SIGN_IN_ATTEMPTS must be at least 1: with 0 nobody can sign in."
        found.append(Error(text, id="breakers.E004"))
    if not getattr(settings, "AXES_COOLOFF_TIME", True):
        text = "DJANGO_SIGN_IN_LOCK_MINUTES is 0: however often somebody fails to sign in, no name is ever locked."
        found.append(Unwise(text, id="breakers.W004"))
    return found


def endless_redirect(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """A server that speaks plain HTTP sends everybody to HTTPS, and believes nobody that they came by it."""
    if not settings.SECURE_SSL_REDIRECT or settings.SECURE_PROXY_SSL_HEADER:
        return []
    text = "Plain requests are redirected to HTTPS, and no proxy is believed that they came by it: that never ends."
    hint = "Say CIRCUIT_BREAKER_PROXIES=1 behind one that ends TLS, or DJANGO_SSL_REDIRECT=0 where it redirects."
    return [Unwise(text, hint=hint, id="breakers.W005")]


def public_url(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    """What links in notifications begin with."""
    url = getattr(settings, "CIRCUIT_BREAKER_PUBLIC_URL", "")
    if not url or url.startswith(("http://", "https://")):
        return []
    text = "CIRCUIT_BREAKER_PUBLIC_URL is no address of a server: links in notifications lead nowhere."
    return [Unwise(text, hint="As https://breakers.example.com.", id="breakers.W006")]


def _reachable() -> list[str]:
    return [host for host in settings.ALLOWED_HOSTS if host not in _LOOPBACK]


ALL: Final = (
    public_read,
    history_days,
    immediate_transactions,
    any_host,
    key_rate,
    debug,
    sign_in,
    endless_redirect,
    public_url,
)
