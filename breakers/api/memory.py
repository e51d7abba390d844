"""What the hot addresses remember: whose key was valid a moment ago, and lists as they were last told."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rest_framework.renderers import JSONRenderer

from breakers.fleet import fleet
from breakers.models import ApiKey
from breakers.services import authenticate_key

TRUSTED: Final = 1.0
"""Seconds that a key is taken for valid after the database said so: a revoked one stops within them."""
MANY_KEYS: Final = 1000
MANY_ANSWERS: Final = 64
MOMENT: Final = 0.05
"""Seconds that a list made of what was observed is told at once, although a report has come since."""
_COST_SHARE: Final = 4.0
"""So that making lists takes a fifth of the time at most, however fast reports come."""


class KnownKeys:
    """Keys that were valid within the last second, by a digest of their secret."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, ApiKey]] = {}

    def find(self, secret: str) -> ApiKey | None:
        """One query at most once a second for each key; a wrong one is never remembered."""
        digest, now = _digest(secret), time.monotonic()
        seen, key = self._known.get(digest, (0.0, None))
        if key is not None and now - seen < TRUSTED:
            return key
        return self.ask(secret)

    def ask(self, secret: str) -> ApiKey | None:
        """What the database says now, remembered for a second."""
        digest, now = _digest(secret), time.monotonic()
        found = authenticate_key(secret)
        with self._lock:
            if len(self._known) >= MANY_KEYS:
                self._known.clear()
            if found is None:
                self._known.pop(digest, None)
            else:
                self._known[digest] = now, found
        return found

    def refresh(self, secret: str) -> None:
        """Asks the database where it was last asked half a second ago or longer."""
        if time.monotonic() - self._known.get(_digest(secret), (0.0, None))[0] >= TRUSTED / 2:
            self.ask(secret)

    def trusts(self, secret: str) -> bool:
        """Whether :meth:`find` would find it without a query."""
        seen, key = self._known.get(_digest(secret), (0.0, None))
        return key is not None and time.monotonic() - seen < TRUSTED

    def __contains__(self, secret: str) -> bool:
        """Whether it was valid when the database was last asked, however long ago."""
        return _digest(secret) in self._known

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    version: int
    revision: int
    at: float
    """Monotonic."""
    cost: float
    """Seconds that it took to make."""


class KeptAnswers:
    """Bodies made of the fleet as it stood at one version."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._bodies: dict[str, _Kept] = {}

    def get(self, address: str, make: Callable[[], Any]) -> bytes:
        """As the fleet stands now; made once, however many ask."""
        kept = self._bodies.get(address)
        if kept is not None and kept.version == fleet.version:
            return kept.body
        with self._making:
            kept = self._bodies.get(address)
            if kept is None or kept.version != fleet.version:
                kept = self._made(address, make)
            return kept.body

    def ready(self, address: str) -> bytes | None:
        """What was made of what is wanted now, and observed now or a moment ago; the moment grows with the cost."""
        kept = self._bodies.get(address)
        if kept is None or kept.revision != fleet.revision:
            return None
        young = time.monotonic() - kept.at < MOMENT + _COST_SHARE * kept.cost
        return kept.body if young or kept.version == fleet.version else None

    def _made(self, address: str, make: Callable[[], Any]) -> _Kept:
        version, revision, begun = fleet.version, fleet.revision, time.monotonic()
        body = encoded(make())
        kept = _Kept(body, version, revision, begun, time.monotonic() - begun)
        with self._lock:
            if address not in self._bodies and len(self._bodies) >= MANY_ANSWERS:
                self._bodies = {known: each for known, each in self._bodies.items() if each.version == version}
            if address in self._bodies or len(self._bodies) < MANY_ANSWERS:
                self._bodies[address] = kept
        return kept

    def clear(self) -> None:
        with self._lock:
            self._bodies = {}


def encoded(value: object) -> bytes:
    """As the views' own renderer writes it."""
    return bytes(JSONRenderer().render(value))


known_keys = KnownKeys()
kept_answers = KeptAnswers()
