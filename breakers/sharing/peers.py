"""The other servers of this control plane, as the rest of the program knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from breakers.fleet import MergedFleet, fleet
from breakers.fleet.events import transition_event
from breakers.models import StateChange

if TYPE_CHECKING:
    from .exchange import Exchange


class Peers:
    """One a process: :data:`peers`. Without :meth:`start`, which takes a Redis, it costs nothing and does nothing."""

    def __init__(self, observed: MergedFleet = fleet) -> None:
        self._fleet = observed
        self._exchange: Exchange | None = None

    @property
    def trouble(self) -> str | None:
        """Why this server sees its own links and the database only; ``None`` when it sees all, or is alone."""
        return None if self._exchange is None else self._exchange.trouble

    def tell(self, changes: Sequence[StateChange]) -> None:
        """Transitions that this process has just written."""
        if self._exchange is None:
            for change in changes:
                self._fleet.record_event(transition_event(change))
        else:
            self._exchange.tell(changes)

    def wake(self) -> None:
        """Something happened here that others should see at once."""
        if self._exchange is not None:
            self._exchange.wake()

    def start(self, url: str, server: str) -> None:
        """Idempotent."""
        if self._exchange is not None:
            return
        from .exchange import Exchange  # a server without Redis loads nothing for it

        self._exchange = Exchange(url, server, self._fleet)
        self._exchange.start()

    def stop(self, within: float = 2.0) -> None:
        """The others are told the last of it. Idempotent."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.stop(within)


peers = Peers()
