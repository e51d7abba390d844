"""Keys as the database last knew them: while it is away they go on opening what they did, so links and dashboards do.

A key that is revoked is forgotten within seconds, as long as the database is there to say so; while it is away nobody
can revoke one.
"""

from __future__ import annotations

from typing import Final

from breakers import selectors
from breakers.models import ApiKey
from breakers.outage import MOST, Remembered

known_keys: Final[Remembered[str, ApiKey]] = Remembered()
"""By the digest of their secret."""


def keys_remember() -> None:
    """Those that are good now, used here or not: a link may come from another server. One query."""
    known_keys.keep_only({key.digest: key for key in selectors.good_keys(MOST)})
