"""Keys that opened something lately: while the database is away they go on doing so, and so do links and dashboards.

A key that is revoked is forgotten within seconds (:func:`keys_forget_revoked`), as long as the database is there to say
so; while it is away nobody can revoke one.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from breakers import selectors
from breakers.models import ApiKey

LIFETIME: Final = 900.0
MOST: Final = 5_000

_lock = threading.Lock()
_known: dict[str, tuple[float, ApiKey]] = {}


def remember(digest: str, key: ApiKey) -> None:
    with _lock:
        if len(_known) >= MOST and digest not in _known:
            _known.clear()
        _known[digest] = time.monotonic(), key


def forget(digest: str) -> None:
    with _lock:
        _known.pop(digest, None)


def recall(digest: str) -> ApiKey | None:
    """The key, if it opened something in the last quarter of an hour."""
    seen, key = _known.get(digest, (0.0, None))
    return key if time.monotonic() - seen <= LIFETIME else None


def keys_forget_revoked() -> None:
    """One query, where keys are remembered."""
    with _lock:
        known = {digest: key.pk for digest, (_, key) in _known.items()}
    if known:
        revoked = selectors.revoked_keys(set(known.values()))
        for digest, number in known.items():
            if number in revoked:
                forget(digest)


def forget_all() -> None:
    """For tests."""
    with _lock:
        _known.clear()
