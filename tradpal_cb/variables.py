"""Every variable that the server reads, told once: its name, what it may be, its default, what it is for.

``settings.py`` reads them from here and the tables of ``docs/settings.md`` are written from here. An empty variable is
an absent one. A value that cannot be is refused with a sentence at the start, never taken for something else.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import environ
from django.core.checks import CheckMessage
from django.core.checks import Warning as Unwise
from django.core.exceptions import ImproperlyConfigured

from breakers.core.config import TABLE_DEFAULTS

T = TypeVar("T")


class Unreadable(ValueError):
    """A text that is no value; its own text says what one is."""


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    name: str
    parse: Callable[[str], T]
    default: T
    says: str
    """A line of Markdown."""
    shown: str | None = None
    """The default in words, where it is not simply ``default``."""
    secret: bool = False

    def read(self, default: T | None = None) -> T:
        """The environment's value, else ``default``, else the usual one. Raises ``ImproperlyConfigured``."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default if default is None else default
        try:
            return self.parse(text)
        except Unreadable as error:
            what = "cannot be read" if self.secret else f"is {text!r}"
            raise ImproperlyConfigured(f"{self.name} {what}; it must be {error}") from None


def text(given: str) -> str:
    return given


def names(given: str) -> list[str]:
    return [name for name in (part.strip() for part in given.split(",")) if name]


def flag(given: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if given.lower() not in known:
        raise Unreadable("1 or 0")
    return known[given.lower()]


def count(given: str) -> int:
    if not (given.isascii() and given.isdecimal()):
        raise Unreadable("a whole number, 0 or more")
    return int(given)


def some(given: str) -> int:
    found = count(given)
    if not found:
        raise Unreadable("a whole number, 1 or more")
    return found


def rate(given: str) -> float:
    try:
        found = float(given)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise Unreadable("a number above 0")
    return found


def level(given: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if given.upper() not in levels:
        raise Unreadable(f"one of {', '.join(levels)}")
    return given.upper()


_DATABASES: Final = "sqlite:///path or postgres://user:password@host:port/database"


def database(given: str) -> dict[str, Any]:
    """As ``DATABASES`` has it."""
    scheme = given.partition("://")[0]
    if scheme not in ("sqlite", "postgres", "postgresql"):  # others are not what this runs on
        raise Unreadable(_DATABASES)
    try:
        found: dict[str, Any] = environ.Env.db_url_config(given)
    except ValueError:
        raise Unreadable(_DATABASES) from None
    if not found["NAME"]:
        raise Unreadable(_DATABASES)
    return found


SECRET_KEY: Final = Variable(
    "DJANGO_SECRET_KEY", text, "", "signs sessions; 50 random characters or more", "required unless `DJANGO_DEBUG=1`"
)
DEBUG: Final = Variable(
    "DJANGO_DEBUG",
    flag,
    False,
    "never where others reach it: error pages show source, though no secret that is known by its name or look",
)
ALLOWED_HOSTS: Final = Variable(
    "DJANGO_ALLOWED_HOSTS",
    names,
    ["localhost", "127.0.0.1", "[::1]"],
    "names under which people and services reach it, with commas between; `*` is warned of",
)
TRUSTED_ORIGINS: Final[Variable[list[str]]] = Variable(
    "DJANGO_CSRF_TRUSTED_ORIGINS",
    names,
    [],
    "origins of pages that may act, as `https://breakers.example.com`; behind a proxy that ends TLS",
)
PUBLIC_READ: Final = Variable(
    "CIRCUIT_BREAKER_PUBLIC_READ", flag, False, "1: reading needs neither a session nor a key"
)
PROXIES: Final = Variable(
    "CIRCUIT_BREAKER_PROXIES",
    count,
    0,
    "how many proxies of yours stand before it: that many entries of `X-Forwarded-For`, and `X-Forwarded-Proto`, are"
    " believed",
)
PUBLIC_URL: Final = Variable(
    "CIRCUIT_BREAKER_PUBLIC_URL",
    text,
    "",
    "how people reach it, for links in notifications: `https://breakers.example.com`",
)
ENVIRONMENT: Final = Variable(
    "CIRCUIT_BREAKER_ENVIRONMENT", text, "local", "the label beside the logo and in notifications: `prod`"
)
SECURE: Final = Variable(
    "DJANGO_SECURE",
    flag,
    False,
    "1: cookies over HTTPS only, plain requests redirected, HSTS for a year with subdomains",
)
SSL_REDIRECT: Final = Variable("DJANGO_SSL_REDIRECT", flag, False, "0 where the proxy redirects", "as `DJANGO_SECURE`")
HSTS_SECONDS: Final = Variable(
    "DJANGO_HSTS_SECONDS",
    count,
    0,
    "begin with 3600 where you are not sure",
    "31536000 with `DJANGO_SECURE`, else 0",
)
SIGN_IN_ATTEMPTS: Final = Variable("DJANGO_SIGN_IN_ATTEMPTS", count, 5, "failures that lock a name from one address")
SIGN_IN_LOCK: Final = Variable(
    "DJANGO_SIGN_IN_LOCK_MINUTES",
    count,
    15,
    "for how long; `python manage.py axes_reset` unlocks everybody, the admin's *Access attempts* one",
)
KEY_RATE: Final = Variable("CIRCUIT_BREAKER_KEY_RATE", rate, 1000.0, "requests a second of one API key; at least 100")
USER_RATE: Final = Variable("CIRCUIT_BREAKER_USER_RATE", rate, 100.0, "of one person")
ANONYMOUS_RATE: Final = Variable(
    "CIRCUIT_BREAKER_ANONYMOUS_RATE", rate, 50.0, "of one address without either, where reading is public"
)
DATABASE: Final[Variable[dict[str, Any]]] = Variable(
    "DATABASE_URL", database, {}, "`sqlite:///path` or `postgres://...`", "the file `db.sqlite3`", secret=True
)
REDIS: Final = Variable(
    "REDIS_URL",
    text,
    "",
    "`redis://host:6379/0`; needed with more than one process, and for [events](events.md)",
    "empty: in-process channels, no events",
)
EVENTS: Final = Variable("CIRCUIT_BREAKER_EVENTS", flag, True, "0: no [events](events.md) although there is a Redis")
EVENTS_LENGTH: Final = Variable(
    "CIRCUIT_BREAKER_EVENTS_LENGTH", count, 100_000, "messages that the stream of events keeps, about", "100000"
)
EVENTS_MAX_AGE: Final = Variable(
    "CIRCUIT_BREAKER_EVENTS_MAX_AGE", count, 3600, "seconds after which a recovery in the stream is old news"
)
POOL: Final = Variable("CIRCUIT_BREAKER_POOL", some, 12, "connections to PostgreSQL that one server opens at the most")
AUTO_REGISTER: Final = Variable(
    "CIRCUIT_BREAKER_AUTO_REGISTER", flag, True, "breakers that a service reports are recorded"
)
HISTORY_DAYS: Final = Variable(
    "CIRCUIT_BREAKER_HISTORY_DAYS",
    count,
    30,
    "transitions older than that are deleted once a day; the last of every breaker stays",
)
LOG_LEVEL: Final = Variable("DJANGO_LOG_LEVEL", level, "INFO", "of everything")
LOG_FORMAT: Final = Variable("CIRCUIT_BREAKER_LOG_FORMAT", text, "text", "of the console: `text` or `json`")
LOG_FILE: Final = Variable("CIRCUIT_BREAKER_LOG_FILE", text, "", "a file that gets JSON lines, beside the console")

SECTIONS: Final[dict[str, tuple[Variable[Any], ...]]] = {
    "Who may reach it": (
        SECRET_KEY, DEBUG, ALLOWED_HOSTS, TRUSTED_ORIGINS, PUBLIC_READ, PROXIES, PUBLIC_URL, ENVIRONMENT,
    ),
    "HTTPS": (SECURE, SSL_REDIRECT, HSTS_SECONDS),
    "Signing in and asking often": (SIGN_IN_ATTEMPTS, SIGN_IN_LOCK, KEY_RATE, USER_RATE, ANONYMOUS_RATE),
    "Data": (DATABASE, POOL, REDIS, AUTO_REGISTER, HISTORY_DAYS),
    "Events": (EVENTS, EVENTS_LENGTH, EVENTS_MAX_AGE),
    "Logs": (LOG_LEVEL, LOG_FORMAT, LOG_FILE),
}  # fmt: skip
"""The sections of ``docs/settings.md``."""


def _of_services(name: str, default: object, says: str) -> Variable[str]:
    return Variable(f"CIRCUIT_BREAKER_{name}", text, str(default), says)


OF_SERVICES: Final = (
    _of_services("SERVICE_URL", "", "the control plane; with it the first breaker links the process by itself"),
    _of_services("SERVICE_TOKEN", "", "the service's API key"),
    Variable("CIRCUIT_BREAKER_SERVICE_NAME", text, "", "name of the service", "the program's name"),
    _of_services("SERVICE_TIMEOUT", "30", "seconds of one request to the REST API"),
    Variable(
        "CIRCUIT_BREAKER_EVENTS_URL",
        text,
        "",
        "where the stream of [events](events.md) is",
        "`REDIS_URL`, else `redis://localhost:6379/0`",
    ),
    _of_services("CACHE_FILE", "", "a file, one a program, in which the last config from the fleet survives a restart"),
    *(
        _of_services(field.upper(), f"{TABLE_DEFAULTS[field]:g}", f"`{field}` of configs that do not say it")
        for field in ("failure_threshold", "recovery_timeout", "success_threshold", "timeout")
    ),
)
"""Read by the library, in services that may share an environment with the server: for the page, and as known names."""


def every() -> Iterator[Variable[Any]]:
    for section in SECTIONS.values():
        yield from section


def misspelt(app_configs: Sequence[object] | None, **kwargs: object) -> list[CheckMessage]:
    """A system check: variables that look like ours and that nobody reads."""
    known = {variable.name for variable in every()} | {variable.name for variable in OF_SERVICES}
    unknown = sorted(name for name in os.environ if name.startswith("CIRCUIT_BREAKER_") and name not in known)
    return [
        Unwise(
            f"The variable {name} is read by nobody.",
            hint="".join(f"Is {near} meant?" for near in difflib.get_close_matches(name, known, n=1)) or None,
            id="tradpal_cb.W001",
        )
        for name in unknown
    ]
