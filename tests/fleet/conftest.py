"""A fleet with a clock in the test's hand, and instances that tell what the test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Counts, Refusal, Report, TransitionReport, WindowCounts
from breakers.fleet import Fleet, Row
from breakers.models import BreakerRecord, DesiredState, InstanceIdentity, ResetRecord

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Linked:
    """One process that is linked. What it counts is cumulative, as on the wire."""

    scene: Scene
    identity: InstanceIdentity
    revision: int = 0
    sequence: int = 0
    reports: int = 0
    epochs: dict[str, int] = field(default_factory=dict)
    states: dict[str, tuple[CircuitBreakerState, datetime]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    latency: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        return self.identity.id

    def connect(self) -> Linked:
        self.scene.fleet.connect(self.identity, self.scene.now)
        return self

    def send(self, *breakers: BreakerStatus, **rest: Any) -> Linked:
        """A report of exactly this; without arguments a heartbeat."""
        self.reports += 1
        given: dict[str, Any] = {"now": self.scene.now.timestamp(), "revision": self.revision, **rest}
        self.scene.fleet.report(self.id, Report(id=self.reports, breakers=breakers, **given), self.scene.now)
        return self

    def tell(
        self, name: str = "bank-api", state: str = "closed", *, add: dict[str, int] | None = None, **rest: Any
    ) -> Linked:
        """A report with the breaker in ``state`` (since now, when it is a new one), having counted ``add`` more."""
        return self.send(self.status(name, state, add or {}, **rest))

    def status(self, name: str, state: str, add: dict[str, int], **rest: Any) -> BreakerStatus:
        wanted = CircuitBreakerState(state)
        if name not in self.states or self.states[name][0] is not wanted:
            self.states[name] = wanted, self.scene.now
            self.epochs[name] = self.epochs.get(name, -1) + 1
        counts = self.counts.setdefault(name, {})
        for key, more in add.items():
            counts[key] = counts.get(key, 0) + more
        age = (self.scene.now - self.states[name][1]).total_seconds()
        given: dict[str, Any] = {"state_age": age, "latency": dict(self.latency.get(name, {})), **rest}
        return BreakerStatus(name, wanted, epoch=self.epochs[name], counts=Counts(**counts), **given)

    def move(self, *states: str, name: str = "bank-api", ago: tuple[float, ...] = (), cause: str = "because") -> Linked:
        """One report with the transitions through ``states``, each so long ago, and the status after them."""
        transitions = []
        before = self.states.get(name, (CircuitBreakerState.CLOSED, self.scene.now))[0]
        for state, seconds in zip(states, ago or (0.0,) * len(states), strict=True):
            at = self.scene.now - timedelta(seconds=seconds)
            self.sequence += 1
            self.epochs[name] = self.epochs.get(name, 0) + 1
            after = CircuitBreakerState(state)
            transitions.append(
                TransitionReport(self.sequence, name, before, after, "reset", cause, at.timestamp(), self.epochs[name])
            )
            self.states[name], before = (after, at), after
        return self.send(self.status(name, states[-1], {}), transitions=tuple(transitions))

    def refuse(self, name: str = "bank-api", error: str = "no") -> Linked:
        return self.send(refusals=(Refusal(name, self.revision, error),))

    def disconnect(self) -> Linked:
        self.scene.fleet.disconnect(self.id)
        return self

    def goodbye(self) -> Linked:
        self.scene.fleet.goodbye(self.id)
        return self


class Scene:
    """A fleet, its clock, and what is wanted."""

    def __init__(self) -> None:
        self.now = START
        self.fleet = Fleet(lambda: self.now)
        self.revision = 0
        self.records: dict[str, BreakerRecord] = {}
        self.resets: list[ResetRecord] = []

    def wait(self, seconds: float, *, heartbeats: tuple[Linked, ...] = ()) -> Scene:
        """Time passes by the second, with a tick each, and heartbeats of those who are alive."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.now = min(self.now + timedelta(seconds=1), end)
            for linked in heartbeats:
                linked.send()
            self.fleet.tick(self.now)
        return self

    def want(self, *names: str, **changes: Any) -> int:
        """Creates the breakers, or edits them: ``failure_threshold=...`` and others of the config, ``group=...``."""
        for name in names or ("bank-api",):
            self.revision += 1
            record = self.records.get(name) or self._new(name)
            own = {key: value for key, value in changes.items() if key in BreakerRecord.__slots__}
            config = {key: value for key, value in changes.items() if key not in own}
            self.records[name] = replace(record, revision=self.revision, config=replace(record.config, **config), **own)
        return self.apply()

    def _new(self, name: str) -> BreakerRecord:
        config = CircuitBreakerConfig(name=name)
        return BreakerRecord(name, "", "", True, 1, self.revision, config, HttpConfig(), None, "", "", None, self.now)

    def force(self, override: Override, *, seconds: float | None = None) -> int:
        until = None if seconds is None else self.now + timedelta(seconds=seconds)
        return self.want(
            "bank-api", override=override, override_reason="INC-1", override_by="user:alice", override_expires_at=until
        )

    def drop(self, name: str = "bank-api") -> int:
        del self.records[name]
        self.revision += 1
        return self.apply()

    def reset(self, name: str = "bank-api", instance: UUID | None = None) -> str:
        self.revision += 1
        self.resets.append(
            ResetRecord(str(uuid4()), name, None if instance is None else str(instance), self.now, self.revision)
        )
        self.apply()
        return self.resets[-1].id

    def apply(self) -> int:
        self.fleet.apply_desired(DesiredState(self.revision, dict(self.records), tuple(self.resets)))
        return self.revision

    def identity(self, service: str = "trading_service") -> InstanceIdentity:
        return InstanceIdentity(uuid4(), service, "host-1", 4711, "0.1.0", self.now)

    def link(self, service: str = "trading_service") -> Linked:
        return Linked(self, self.identity(service), revision=self.revision).connect()

    def row(self, name: str = "bank-api") -> Row:
        row = self.fleet.row(name)
        assert row is not None
        return row


@pytest.fixture
def scene() -> Scene:
    """Wants one breaker, ``bank-api``."""
    made = Scene()
    made.want("bank-api")
    return made


@pytest.fixture
def make_scene() -> Callable[[], Scene]:
    """An empty one, as often as wanted."""
    return Scene


@pytest.fixture
def window() -> Callable[[int, int, int], WindowCounts]:
    return WindowCounts
