"""People's sessions, Django's own in the database; while that is away those that were good go on, to read.

A session ends with its signing out, at once here and within seconds at other servers. Where the database is away at
that moment this server remembers what has ended, tells the others over Redis, and the database when that is back.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from functools import partial
from typing import Final

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from breakers.outage import AWAY, MOST, Remembered, outage

known: Final[Remembered[str, Session]] = Remembered()


class _Ended:
    """Sessions that ended here and that the database was not yet seen to have forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, None] = {}

    def add(self, key: str) -> None:
        with self._lock:
            self._keys[key] = None
            if len(self._keys) > MOST:
                del self._keys[next(iter(self._keys))]

    def drop(self, keys: set[str]) -> None:
        with self._lock:
            for key in keys:
                self._keys.pop(key, None)

    @property
    def keys(self) -> set[str]:
        with self._lock:
            return set(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys


ended: Final = _Ended()


class SessionStore(db.SessionStore):
    """Raises what the database does while it is away, where nothing is remembered: nobody is taken for signed out."""

    def _get_session_from_db(self) -> Session | None:
        key = self.session_key
        if key is None or key in ended:
            self._session_key = None
            return None
        try:
            found: Session | None = outage.ask(super()._get_session_from_db)  # type: ignore[misc]  # Django's stubs lack it
        except AWAY:
            found = known.recall(key)
            if found is None or found.expire_date <= timezone.now():
                raise
            return found
        if found is None:
            known.forget(key)
        else:
            known.keep(key, found)
        return found

    def delete(self, session_key: str | None = None) -> None:
        """It has ended whether the database can be told now or not."""
        key = session_key or self.session_key
        if key is None:
            return
        ended.add(key)
        known.forget(key)
        try:
            outage.ask(partial(super().delete, key))
        except AWAY:
            return  # sessions_end does it


def digests_of_ended() -> list[str]:
    """What other servers are told: who reads it can do nothing with it."""
    return [_digest(key) for key in ended.keys]


def sessions_ended_elsewhere(digests: Collection[str]) -> None:
    """They have ended here too. A session that is not remembered here is none here while the database is away."""
    if digests:
        for key in known.keys:
            if _digest(key) in digests:
                ended.add(key)
                known.forget(key)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def sessions_end() -> None:
    """Says to the database what has ended here. A query where there is something to say."""
    over = ended.keys
    if over:
        Session.objects.filter(session_key__in=over).delete()
        for key in over:
            known.forget(key)  # a request that came just before may have put it there
        ended.drop(over)


def sessions_remember() -> None:
    """Those that are good now, used here or not: a browser may come from another server. One query."""
    good = Session.objects.filter(expire_date__gt=timezone.now()).order_by("-expire_date")
    known.keep_only({session.session_key: session for session in good[:MOST] if session.session_key not in ended})
