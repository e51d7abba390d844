"""What earlier processes wrote down, read once at the start: the fleet goes on where they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from breakers import selectors
from breakers.core.states import CircuitBreakerState
from breakers.models import InstanceRecord, LastCause, LatestState

from .ledger import Ledger
from .observed import InstanceFacts
from .view import BreakerView


@dataclass(frozen=True, slots=True)
class Past:
    """Read without the fleet's lock, taken in under it."""

    instances: Sequence[InstanceRecord]
    latest: dict[str, list[LatestState]]
    causes: dict[CircuitBreakerState, dict[str, LastCause]]
    transitions: dict[tuple[str, str, str, str], int]

    @classmethod
    def read(cls) -> Past:
        return cls(
            instances=selectors.instances_observed(),
            latest=selectors.latest_states(),
            causes={state: selectors.last_causes(state) for state in CircuitBreakerState},
            transitions=selectors.transition_totals(),
        )

    def recall(self, ledger: Ledger, now: datetime) -> None:
        """Takes it into ``ledger``; what was told by links meanwhile outranks it."""
        for record in self.instances:
            ledger.recall(record, now)
        for state, causes in self.causes.items():
            for name, last in causes.items():
                ledger.view(name).learn_cause(state, last.at, last.cause)
        for name, latest in self.latest.items():
            for last_state in latest:
                _move(ledger, name, last_state)
        for name, view in ledger.views.items():
            _settle(ledger, name, view)


def _move(ledger: Ledger, name: str, latest: LatestState) -> None:
    """Transitions are written at once, totals every few seconds: after a crash the transition is the newer one."""
    facts = ledger.instances.get(latest.instance)
    observation = None if facts is None else facts.breakers.get(name)
    if observation is not None and observation.link == 0:
        observation.state, observation.since = latest.to_state, latest.at
        if observation.placed is not None:
            ledger.view(name).place(observation, latest.to_state)


def _settle(ledger: Ledger, name: str, view: BreakerView) -> None:
    """State and ``since`` as they stood: over the instances that are not gone, else as the last one left it."""
    present = {identity: observation.state for identity, (_, observation) in view.members.items()}
    if not present:
        present = {facts.identity.id: facts.breakers[name].state for facts in _last_to_leave(ledger, name)}
    if present:
        view.state = max(present.values(), key=_severity)
        view.since = selectors.fleet_since(name, present) or view.since


def _last_to_leave(ledger: Ledger, name: str) -> list[InstanceFacts]:
    gone = [facts for facts in ledger.instances.values() if name in facts.breakers]
    return [max(gone, key=lambda facts: facts.gone_at or facts.last_seen)] if gone else []


def _severity(state: CircuitBreakerState) -> int:
    return _ORDER.index(state)


_ORDER = [CircuitBreakerState.CLOSED, CircuitBreakerState.HALF_OPEN, CircuitBreakerState.OPEN]
