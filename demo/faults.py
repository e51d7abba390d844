"""What each route of the flaky service suffers: by a schedule that repeats, until a person orders otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One way to be unwell; ``NONE`` is to be well."""

    NONE = "none"
    OUTAGE = "outage"  # every answer is a 503
    ERRORS = "errors"  # half of the answers are 500s
    SLOW = "slow"  # answers are right, and take half a second
    RESETS = "resets"  # the connection is closed without an answer


@dataclass(frozen=True, slots=True)
class Spell:
    """``fault`` from second ``begins`` to second ``ends`` of each cycle."""

    begins: float
    ends: float
    fault: Fault


CYCLE = 60.0
SCHEDULE: dict[str, tuple[Spell, ...]] = {
    "data_service": (Spell(6, 16, Fault.OUTAGE),),
    "news_feed": (Spell(14, 26, Fault.SLOW),),
    "broker_api": (Spell(24, 36, Fault.ERRORS),),
    "order_router": (Spell(34, 44, Fault.RESETS),),
    "risk_engine": (),
    "price_feed": (),
    "auth_service": (),
    "ledger": (),
}
NOISE = {"risk_engine": 0.03, "broker_api": 0.02}
"""Share of calls that fail on the best of days: no reason to open."""


@dataclass(frozen=True, slots=True)
class Order:
    """A person's word on a route, in force until ``until`` (seconds, monotonic) or the next one."""

    fault: Fault
    until: float


class Faults:
    """The present fault of every route; ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._orders: dict[str, Order] = {}

    def now(self, route: str) -> Fault:
        """Raises ``KeyError`` for a route that does not exist."""
        spells = SCHEDULE[route]
        at = self._clock()
        order = self._orders.get(route)
        if order is not None and at < order.until:
            return order.fault
        second = (at - self._began) % CYCLE
        return next((spell.fault for spell in spells if spell.begins <= second < spell.ends), Fault.NONE)

    def order(self, route: str, fault: Fault, seconds: float) -> None:
        """``fault`` for ``seconds``, whatever the schedule says."""
        self._orders[route] = Order(fault, self._clock() + seconds)

    def follow_schedule(self, route: str) -> None:
        self._orders.pop(route, None)

    def all(self) -> dict[str, dict[str, str]]:
        """Every route with its fault and who ordered it: ``schedule`` or ``person``."""
        at = self._clock()
        ordered = {route for route, order in self._orders.items() if at < order.until}
        return {
            route: {"fault": self.now(route), "by": "person" if route in ordered else "schedule"} for route in SCHEDULE
        }
