"""What earlier processes wrote down, read once at the start: the fleet goes on where they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from breakers import selectors
from breakers.core.states import CircuitBreakerState
from breakers.models import DepartedRecord, InstanceRecord, LastCause, LatestState, StateChange

from .ledger import Ledger
from .observed import SAME_MOMENT, InstanceFacts, Observation
from .view import SEVERITY, BreakerView

RECENT = 5000
"""Transitions of the last minutes that are read at most: with more, who flaps is known from the rest."""
States = Mapping[UUID, CircuitBreakerState]


@dataclass(frozen=True, slots=True)
class Past:
    """Read without the fleet's lock, taken in under it."""

    instances: Sequence[InstanceRecord]
    departed: Sequence[DepartedRecord]
    latest: dict[str, list[LatestState]]
    causes: dict[CircuitBreakerState, dict[str, LastCause]]
    transitions: dict[tuple[str, str, str, str], int]
    sequences: Mapping[UUID, int]
    """Of the instances that are linked by the database, up to where ``transitions`` has counted."""
    recent: Mapping[str, Sequence[StateChange]]

    @classmethod
    def read(cls, *, since: datetime) -> Past:
        """``since``: how far back openings are counted."""
        recent: dict[str, list[StateChange]] = {}
        for change in selectors.history(since=since)[:RECENT]:
            recent.setdefault(change.breaker, []).append(change)
        instances, departed = selectors.everybody()
        transitions, sequences = selectors.recorded()
        return cls(
            recent={name: changes[::-1] for name, changes in recent.items()},
            instances=instances,
            departed=departed,
            latest=selectors.latest_states(),
            causes={state: selectors.last_causes(state) for state in CircuitBreakerState},
            transitions=transitions,
            sequences=sequences,
        )

    def recall(self, ledger: Ledger, now: datetime) -> dict[str, States]:
        """Takes it into ``ledger``; what links told meanwhile outranks it. The states that make each breaker's."""
        for record in self.instances:
            ledger.recall(record, now)
        for sums in self.departed:
            ledger.recall_departed(sums)
        for state, causes in self.causes.items():
            for name, last in causes.items():
                ledger.view(name).learn_cause(state, last.at, last.cause)
        for name, latest in self.latest.items():
            for last_state in latest:
                _move(ledger, name, last_state)
        for name, changes in self.recent.items():
            there = [each for each in self.latest.get(name, ()) if _is_there(ledger.instances.get(each.instance))]
            for at in openings(changes, there):
                ledger.view(name).openings.add(at)
        known: dict[str, list[InstanceFacts]] = {name: [] for name in ledger.views}
        for facts in ledger.instances.values():
            for name in facts.breakers:
                known[name].append(facts)
        departed = {sums.breaker: sums for sums in self.departed}
        return {name: _restate(ledger.views[name], found, departed.get(name)) for name, found in known.items()}


def _is_there(facts: InstanceFacts | None) -> bool:
    return facts is not None and facts.gone_at is None


def openings(changes: Sequence[StateChange], latest: Sequence[LatestState]) -> list[datetime]:
    """When the worst state went from CLOSED to OPEN in the course of these changes, oldest first."""
    now = {each.instance: each.to_state for each in latest}
    now |= {change.instance: CircuitBreakerState(change.from_state) for change in reversed(changes)}
    found = []
    for change in changes:
        before = worst_of(now)
        now[change.instance] = CircuitBreakerState(change.to_state)
        if before is CircuitBreakerState.CLOSED and worst_of(now) is CircuitBreakerState.OPEN:
            found.append(change.at)
    return found


def since_when(states: Mapping[str, States]) -> dict[str, datetime | None]:
    """When each breaker became what these states make it, from history. One query a breaker, three in storms."""
    most = selectors.SINCE_ROWS_AT_START
    return {name: selectors.fleet_since(name, found, most) for name, found in states.items() if found}


def recall_since(ledger: Ledger, states: Mapping[str, States], since: Mapping[str, datetime | None]) -> None:
    """Takes the moments in, but for breakers that have meanwhile changed."""
    for name, moment in since.items():
        view = ledger.view(name)
        if moment is not None and view.state is worst_of(states[name]):
            view.since = moment


def _move(ledger: Ledger, name: str, latest: LatestState) -> None:
    """Transitions are written at once, totals every few seconds: after a crash the transition is the newer one."""
    facts = ledger.instances.get(latest.instance)
    observation = None if facts is None else facts.breakers.get(name)
    if observation is not None and observation.link == 0:
        if observation.state is not latest.to_state or abs((observation.since or latest.at) - latest.at) > SAME_MOMENT:
            observation.retry_at = None  # of an opening that is not the latest
        observation.state, observation.since = latest.to_state, latest.at
        observation.epoch = max(observation.epoch, latest.epoch)  # steps that are told again are no news
        if observation.placed is not None:
            ledger.view(name).place(observation, latest.to_state)


def _restate(view: BreakerView, known: Sequence[InstanceFacts], departed: DepartedRecord | None) -> States:
    """The state as it stood: over the live instances, else over the silent ones, else as the last one left it."""
    live, silent = [f for f in known if f.live], [f for f in known if f.gone_at is None]
    states = {f.identity.id: f.breakers[view.name].state for f in live or silent or _last_to_leave(known)}
    if not states and departed is not None and departed.instance is not None:
        states = {departed.instance: Observation.from_json(departed.observed).state}
    if states:
        view.state = worst_of(states)
    return states


def _last_to_leave(gone: Sequence[InstanceFacts]) -> list[InstanceFacts]:
    return [max(gone, key=lambda facts: facts.gone_at or facts.last_seen)] if gone else []


def worst_of(states: States) -> CircuitBreakerState:
    return max(states.values(), key=SEVERITY.__getitem__)
