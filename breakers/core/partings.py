"""Which forgotten breakers the control plane has still to hear of: how each ended, and what it counted after that."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from .registry import CircuitBreakerRegistry
from .status import Mark, Standing

AT_ONCE: Final = 100
"""Of those that linger, looked at each time."""


class Partings:
    """Names to be told until a report that tells them is acknowledged. One thread at a time; :meth:`add` from any.

    ``from_now``: of what was forgotten before this moment nothing is to be told but what is counted later.
    """

    def __init__(self, registry: CircuitBreakerRegistry, *, from_now: bool) -> None:
        self._registry = registry
        self._open: set[str] = set()
        self._lingering: dict[str, None] = {}  # told, and somebody still holds them; the longest not looked at first
        self._unconfirmed: dict[str, tuple[int, Mark]] = {}  # name -> the report of this connection, what it told
        self._confirmed: dict[str, Mark] = {}
        if from_now:
            self._confirmed = {standing.name: standing.mark for standing in self._standings()}

    def _standings(self) -> list[Standing]:
        known = (Standing.of(self._registry, name) for name in self._registry.forgotten())
        return [standing for standing in known if standing is not None and standing.present is None]

    def add(self, name: str) -> None:
        """It has just been forgotten."""
        self._open.add(name)

    def forget_connection(self) -> None:
        """What was told and not acknowledged must be told again; so must what was forgotten while nobody listened."""
        standings, confirmed = self._standings(), self._confirmed
        self._unconfirmed = {}
        self._confirmed = {one.name: one.mark for one in standings if confirmed.get(one.name) == one.mark}
        for one in standings:
            if not (one.is_over and one.name in self._confirmed):
                self._open.add(one.name)

    def due(self, said: Mapping[str, Mark], *, thorough: bool = False) -> list[str]:
        """Those of which there is more to tell than was ``said`` on this connection.

        Of those that only linger, some each time, unless ``thorough``: for hours nothing may come of thousands.
        """
        some = list(islice(self._lingering, None if thorough else AT_ONCE))
        return [name for name in [*list(self._open), *some] if self._is_due(name, said)]

    def _is_due(self, name: str, said: Mapping[str, Mark]) -> bool:
        self._open.discard(name)  # first: it may be made and forgotten again at any moment
        self._lingering.pop(name, None)
        standing = Standing.of(self._registry, name)
        if standing is None or standing.present is not None:
            return False
        due = standing.mark not in (said.get(name), self._confirmed.get(name))
        if due:
            self._open.add(name)
        elif not standing.is_over:
            self._lingering[name] = None
        return due

    def said(self, name: str, mark: Mark, report: int) -> None:
        self._unconfirmed[name] = report, mark

    def acknowledge(self, report: int) -> None:
        """Reports up to this one have arrived."""
        arrived = {name: mark for name, (said, mark) in self._unconfirmed.items() if said <= report}
        self._confirmed |= arrived
        for name in arrived:
            del self._unconfirmed[name]
