"""What went wrong on a link: said once a kind, and loudly once where trying again is no use."""

from __future__ import annotations

import logging

import aiohttp

from .conversation import Disconnected
from .requests import shown

logger = logging.getLogger("breakers.link")

REFUSED = frozenset({401, 403, 4401, 4403})
"""HTTP statuses and close codes that say: not with this key."""
RESTARTING = 1012
"""Close code of a server that will soon be back, to everybody at once."""


class Faults:
    """The first of a kind is a WARNING, repeats are DEBUG, until :meth:`forget`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._kinds: set[tuple[type[Exception], int | None]] = set()
        self.last: str | None = None
        self.refused = False
        self.restarting = False
        """Whether the last one was a server that ends in good order."""

    def met(self, error: Exception) -> None:
        code = _code(error)
        self.restarting = code == RESTARTING
        text = shown(str(error))
        self.last = f"{type(error).__name__}: {text}" if text else type(error).__name__
        if code in REFUSED:
            self.refused = True
            logger.error("The control plane at %s refuses this service's key; not trying again", self._url)
            return
        known, kind = self._kinds, (type(error), code)
        level = logging.DEBUG if kind in known else logging.WARNING
        known.add(kind)
        logger.log(level, "Not linked to %s, trying again: %s", self._url, self.last)

    def forget(self) -> None:
        """All was well for a while: what comes next is news."""
        self._kinds.clear()


def _code(error: Exception) -> int | None:
    if isinstance(error, Disconnected):
        return error.code
    return error.status if isinstance(error, aiohttp.WSServerHandshakeError) else None
