"""What the hot addresses remember: whose key was valid a moment ago, what was written of each row, and whole lists."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from breakers.fleet import Edition, Row, fleet
from breakers.models import ApiKey
from breakers.services import authenticate_key

from .rendering import text

JSON: Final = "application/json"
TRUSTED: Final = 1.0
"""Seconds that a key is taken for valid after the database said so: a revoked one stops within them."""
MANY_KEYS: Final = 1000
MANY_ANSWERS: Final = 64
FEW_PIECES: Final = 1000
"""That are kept without a look whether their rows still stand."""


class KnownKeys:
    """Keys that were valid within the last second, by a digest of their secret."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, ApiKey]] = {}

    def find(self, secret: str) -> ApiKey | None:
        """One query at most once a second for each key; a wrong one is never remembered."""
        return self.trusted(secret) or self.ask(secret)

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

    def trusted(self, secret: str) -> ApiKey | None:
        """What :meth:`find` would find without a query."""
        seen, key = self._known.get(_digest(secret), (0.0, None))
        return key if time.monotonic() - seen < TRUSTED else None

    def __contains__(self, secret: str) -> bool:
        """Whether it was valid when the database was last asked, however long ago."""
        return _digest(secret) in self._known

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Pieces:
    """What was written of each row, for as long as the row stands: rows are never changed, only replaced.

    So a piece is never older than its row, and a list of a thousand of which twenty changed writes twenty.
    """

    def __init__(self, write: Callable[[Row], str]) -> None:
        self._write = write
        self._written: dict[str, tuple[Row, str]] = {}
        self._most = FEW_PIECES

    def of(self, row: Row) -> str:
        known = self._written.get(row["name"])
        if known is None or known[0] is not row:
            if len(self._written) >= self._most:
                self._forget_the_gone()
            known = self._written[row["name"]] = row, self._write(row)
        return known[1]

    def _forget_the_gone(self) -> None:
        self._written = {name: each for name, each in list(self._written.items()) if fleet.row(name) is each[0]}
        self._most = max(2 * len(self._written), FEW_PIECES)

    def __len__(self) -> int:
        return len(self._written)


def with_rows(head: Mapping[str, Any], name: str, rows: Iterable[Row]) -> str:
    """The object ``head``, which is not empty, with the rows as its last member, called ``name``."""
    return f'{text(head)[:-1]},"{name}":[{",".join(map(row_pieces.of, rows))}]}}'


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    edition: Edition | None
    """Of the fleet that it was made of; ``None`` where that changed meanwhile."""
    at: float
    """When it was begun, or was last found to be true still. Monotonic."""


class KeptAnswers:
    """Bodies made of the fleet as it stood in one edition."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._bodies: dict[str, _Kept] = {}

    def get(self, address: str, make: Callable[[], bytes]) -> bytes:
        """As the fleet stands now; made once, however many ask. Derives what changed: not on an event loop."""
        return self._current(address) or self._made(address, make)

    def fit(self, address: str, asked: float) -> bytes | None:
        """One that is true now, or was at some moment since ``asked`` (monotonic); derives nothing, takes no lock."""
        kept = self._bodies.get(address)
        if kept is None or not (kept.at >= asked or self._is_true(kept)):
            return None
        return kept.body

    def _current(self, address: str) -> bytes | None:
        now, kept = time.monotonic(), self._bodies.get(address)
        if kept is None or not self._is_true(kept):
            return None
        self._bodies[address] = _Kept(kept.body, kept.edition, now)
        return kept.body

    @staticmethod
    def _is_true(kept: _Kept) -> bool:
        return kept.edition is not None and kept.edition == fleet.edition

    def _made(self, address: str, make: Callable[[], bytes]) -> bytes:
        with self._making:
            body = self._current(address)
            if body is None:
                begun = time.monotonic()
                fleet.rows()  # so that there is an edition, unless more changes amid the making
                edition = fleet.edition
                body = make()
                self._bodies[address] = _Kept(body, edition, begun)
                if len(self._bodies) > MANY_ANSWERS:
                    del self._bodies[next(iter(self._bodies))]
        return body

    def __len__(self) -> int:
        return len(self._bodies)

    def clear(self) -> None:
        self._bodies = {}


known_keys = KnownKeys()
kept_answers = KeptAnswers()
row_pieces = Pieces(text)
