"""What the fleet holds of one breaker, and the shapes in which it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from operator import add
from typing import TypedDict
from uuid import UUID

from breakers.core.states import CircuitBreakerState
from breakers.models import BreakerRecord

from .events import iso
from .observed import NO_COUNTS, InstanceFacts, Observation
from .openings import Openings
from .rates import Flow, Rates

CLOSED, HALF_OPEN, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.HALF_OPEN, CircuitBreakerState.OPEN
SEVERITY = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


class InstanceCounts(TypedDict):
    """``total`` = closed + half_open + open + silent."""

    total: int
    closed: int
    half_open: int
    open: int
    silent: int


class Applied(TypedDict):
    """``of`` live instances that have the breaker; ``on`` those that confirmed its latest revision."""

    on: int
    of: int


class OverrideRow(TypedDict):
    override: str
    reason: str
    by: str
    expires_at: str | None


class Row(TypedDict):
    """One breaker over its fleet. Moments are ISO 8601 in UTC, durations seconds."""

    name: str
    group: str
    state: str
    override: OverrideRow | None
    services: list[str]
    instances: InstanceCounts
    since: str | None
    retry_at: str | None
    cause: str | None
    rates: Rates
    failure_rate: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    version: int
    applied: Applied
    limit: float | None
    trend: list[float | None]
    ready_to_probe: bool


@dataclass(slots=True)
class BreakerView:
    """What the fleet holds of one name. ``state`` and ``since`` depend on what was; the rest is facts."""

    name: str
    record: BreakerRecord | None = None
    members: dict[UUID, tuple[InstanceFacts, Observation]] = field(default_factory=dict)
    """The instances that are not gone."""
    live_states: list[int] = field(default_factory=lambda: [0, 0, 0])
    """How many live instances are in each state, by severity."""
    state: CircuitBreakerState = CLOSED
    since: datetime | None = None
    causes: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    """State to the newest transition into it."""
    openings: Openings = field(default_factory=Openings)
    left: tuple[datetime, CircuitBreakerState, datetime | None] | None = None
    """When the last instance left as far as is known, the state that it leaves behind, and since when it was in it."""
    wanted_at: datetime | None = None
    """When this process learned of the latest revision of what is wanted."""
    totals: list[int] = field(default_factory=lambda: list(NO_COUNTS))
    """In the order of ``COUNT_NAMES``, over all instances that ever were."""
    latency: dict[str, int] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)

    def live(self) -> list[tuple[InstanceFacts, Observation]]:
        return [member for member in self.members.values() if member[0].live]

    def place(self, observation: Observation, state: CircuitBreakerState | None) -> None:
        """Counts a live observation under its state, one that is not live (``None``) under none. O(1), idempotent."""
        before = observation.placed
        if before is not state:
            if before is not None:
                self.live_states[SEVERITY[before]] -= 1
            if state is not None:
                self.live_states[SEVERITY[state]] += 1
            observation.placed = state

    def worst_live(self) -> CircuitBreakerState | None:
        """The worst state of the live instances; ``None`` without any."""
        closed, half_open, opened = self.live_states
        return OPEN if opened else HALF_OPEN if half_open else CLOSED if closed else None

    def restate(self, moment: datetime, at: datetime) -> None:
        """State and ``since`` after something of ``moment`` became known at ``at``.

        Without a live instance the last known state stays.
        """
        worst = self.worst_live()
        if worst is None or worst is self.state:
            return
        worse = SEVERITY[worst] > SEVERITY[self.state]
        # Better only from when it was known: what is newly told may be older than the trouble that it ends.
        self.since = moment if worse or self.since is None or moment > self.since else at
        if worst is OPEN and self.state is CLOSED:
            self.openings.add(self.since)
        self.state = worst

    def learn_cause(self, state: str, at: datetime, cause: str) -> None:
        """A transition into ``state`` became known; the newest one tells the cause."""
        if state not in self.causes or self.causes[state][0] <= at:
            self.causes[state] = (at, cause)

    def add_counts(self, added: tuple[int, ...]) -> None:
        self.totals[:] = map(add, self.totals, added)

    def override(self, now: datetime) -> OverrideRow | None:
        """The order of a person that stands; an expired one does not."""
        record = self.record
        override = None if record is None else record.override_at(now)
        if record is None or override is None:
            return None
        return OverrideRow(
            override=override.value,
            reason=record.override_reason,
            by=record.override_by,
            expires_at=iso(record.override_expires_at),
        )
