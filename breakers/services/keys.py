"""API keys: made, revoked, recognised."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from breakers.core.errors import ConfigError
from breakers.models import SCOPES, ApiKey
from breakers.outage import AWAY, outage
from breakers.problems import AlreadyExists, NotFound

from .actors import Actor
from .known_keys import known_keys

_MARK: Final = "tpcb_"
_PREFIX_LENGTH: Final = 12
_USE_RESOLUTION: Final = timedelta(minutes=1)
_TRY_AGAIN: Final = 1.0


@transaction.atomic
def api_key_create(*, name: str, scopes: Iterable[str], by: Actor) -> tuple[ApiKey, str]:
    """The key and its secret, which is nowhere to be had again. Raises ``AlreadyExists``, ``ConfigError``."""
    wanted = _checked(name, list(scopes))
    secret = _MARK + secrets.token_urlsafe(32)
    key = ApiKey(name=name, prefix=secret[:_PREFIX_LENGTH], digest=_digest(secret), scopes=wanted, created_by=str(by))
    try:
        with transaction.atomic():  # so that the caller's transaction survives the refusal
            key.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists(name) from None
    return key, secret


def _checked(name: str, scopes: list[str]) -> list[str]:
    problems = {}
    if not 1 <= len(name) <= 100 or not name.isprintable() or name != name.strip():
        problems["name"] = "must be 1 to 100 printable characters, without space around them"
    if not scopes or set(scopes) - set(SCOPES):
        problems["scopes"] = f"must be one or more of {', '.join(SCOPES)}"
    if problems:
        raise ConfigError(problems)
    return [scope for scope in SCOPES if scope in scopes]


@transaction.atomic
def api_key_revoke(*, name: str, by: Actor) -> ApiKey:
    """Refused from now on; the row stays, so that the audit can still name it. Raises ``NotFound``."""
    key = ApiKey.objects.select_for_update().filter(name=name).first()
    if key is None:
        raise NotFound(name)
    if key.revoked_at is None:
        key.revoked_at, key.revoked_by = timezone.now(), str(by)
        key.save(update_fields=["revoked_at", "revoked_by"])
    return key


def authenticate_key(secret: str, scope: str | None = None) -> ApiKey | None:
    """The key of this secret, if it is not revoked and has ``scope`` (``None``: any). One query by an index.

    While the database is away, one that it said was good lately still does. Comparing digests leaks no timing that
    helps: whoever can choose a digest's beginning has broken SHA-256.
    """
    key = _found(_digest(secret))
    return None if key is None or (scope is not None and not key.allows(scope)) else key


def _found(digest: str) -> ApiKey | None:
    try:
        key = outage.ask(lambda: ApiKey.objects.filter(digest=digest, revoked_at=None).first())
    except AWAY:
        key = known_keys.recall(digest)
        if key is None:
            raise
        return key
    if key is None:
        known_keys.forget(digest)
    else:
        known_keys.keep(digest, key)
        _note_use(key)
    return key


def _note_use(key: ApiKey) -> None:
    """At most once a minute: a key may make hundreds of requests a second. No request waits for it, or fails by it."""
    now = timezone.now()
    stale = now - _USE_RESOLUTION
    if (key.last_used_at is None or key.last_used_at <= stale) and _notes.may_try():
        unnoted = ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=stale), pk=key.pk)
        try:
            with _without_waiting(), transaction.atomic():
                free = unnoted.select_for_update(skip_locked=True).values("pk")
                ApiKey.objects.filter(pk__in=free).update(last_used_at=now)
        except AWAY:  # somebody else writes: one of the next requests notes it
            _notes.failed()
        key.last_used_at = now


@contextmanager
def _without_waiting() -> Iterator[None]:
    """For a write that is worth no wait: SQLite's one lock is had at once or not at all."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        patience = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {patience:d}")


class _Notes:
    """After a note that could not be written none is tried for a second."""

    def __init__(self) -> None:
        self._again = 0.0

    def may_try(self) -> bool:
        return time.monotonic() >= self._again

    def failed(self) -> None:
        self._again = time.monotonic() + _TRY_AGAIN


_notes: Final = _Notes()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
