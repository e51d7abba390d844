"""The fleet as several servers see it together: what each is told itself, with what the others pass on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from breakers.models import InstanceRecord, ResetRecord

from .desired import Reset
from .events import Event
from .fleet import Fleet
from .observed import InstanceFacts
from .passing import PassedInstance, passed_instance
from .past import States, worst_of
from .shared_ledger import SharedLedger
from .view import BreakerView

DATED = timedelta(seconds=30)

logger = logging.getLogger("breakers.fleet")

GONE_PASSED = timedelta(minutes=2)
"""So long others are told that an instance is gone; who was away for longer reads it in the database."""


class MergedFleet(Fleet):
    """A :class:`Fleet` that others can be told of, and that takes in what they tell. Alone it is as any."""

    _ledger: SharedLedger

    def __init__(self, clock: Callable[[], datetime] = timezone.now) -> None:
        self._shared = False
        super().__init__(clock)

    def _begin(self) -> None:
        super()._begin()
        self._ledger = SharedLedger()
        self._ledger.shared = self._shared

    def share(self) -> None:
        """From now on others are told."""
        with self._lock:
            self._shared = self._ledger.shared = True

    # --- what others are told -------------------------------------------------------------------------------------

    def unshared(self, *, counts: bool = True) -> Iterator[PassedInstance]:
        """The instances that told something here since the last question, each as it is when its turn comes.

        Without ``counts`` those that have merely counted more wait for the next.
        """
        with self._lock:
            changed = self._ledger.unshared(counts=counts)
        for facts in changed:
            with self._lock:  # each by itself, as with what is persisted
                passed = passed_instance(facts, self._clock())
            yield passed

    def share_again(self) -> None:
        """All that is at home here counts as changed: what was told is lost."""
        with self._lock:
            for facts in self._ledger.at_home():
                facts.unshared = True

    def at_home(self) -> set[UUID]:
        """The instances that this server speaks for; those that are gone only for two minutes."""
        now = self._clock()
        with self._lock:
            return {facts.identity.id for facts in self._ledger.at_home() if _is_worth_passing(facts, now)}

    def presence(self) -> dict[UUID, float]:
        """Who is linked here, and when each was heard (epoch seconds)."""
        with self._lock:
            linked = (facts for facts in self._ledger.at_home() if facts.links and facts.gone_at is None)
            return {facts.identity.id: facts.heard.timestamp() for facts in linked}

    # --- what others tell -----------------------------------------------------------------------------------------

    def record_event(self, event: Event) -> None:
        """Also the cause of a transition that no share told of, because its server died with it."""
        if self._shared and event.get("kind") == "transition":
            with self._lock:
                at = datetime.fromisoformat(event["at"])
                self._ledger.view(event["name"]).learn_cause(event["to_state"], at, event["cause"])
                self._ledger.dirty.add(event["name"])
        super().record_event(event)

    def adopt(self, server: str, told: Iterable[PassedInstance], ahead: float = 0.0) -> None:
        """Takes in instances as ``server`` knows them, whose clock is ``ahead`` of ours by so many seconds.

        Nonsense of one is logged, and the others still taken.
        """
        for passed in sorted(told, key=_by_leaving):
            try:
                self._adopt(server, passed, timedelta(seconds=ahead))
            except (ValueError, TypeError, KeyError):
                logger.exception("What server %s says of an instance makes no sense", server)
        self._notify()

    def _adopt(self, server: str, passed: PassedInstance, ahead: timedelta) -> None:
        with self._lock:  # each by itself: a thousand at once would hold up reports
            now = self._clock()
            facts = self._ledger.adopt(server, passed, ahead, now)
            self._aim(facts)
            for command in passed.confirmed:
                if command not in facts.confirmed:
                    facts.confirmed[command] = now
                    self._confirm(command, facts.identity.id, now)

    def _aim(self, facts: InstanceFacts) -> None:
        """It may have been linked elsewhere when a reset was given that became known here before it did."""
        for reset in self._wanted.resets.values():
            if facts.identity.id not in reset.targets and _is_for(reset, facts):
                reset.targets |= {facts.identity.id}

    def _command(self, record: ResetRecord) -> None:
        super()._command(record)
        reset = self._wanted.resets[record.id]
        for instance in reset.targets - reset.confirmed:
            facts = self._ledger.instances[instance]
            if record.id in facts.confirmed:
                self._confirm(record.id, instance, facts.confirmed[record.id])

    def hear(self, server: str, presence: Mapping[UUID, float], ahead: float = 0.0) -> None:
        """Who is linked to ``server``, and when each was heard there, by its clock."""
        with self._lock:
            self._ledger.hear(server, presence, timedelta(seconds=ahead), self._clock())
        self._notify()

    def orphan(self, server: str) -> None:
        """``server`` is no more: its instances fall silent unless they link elsewhere; their totals are kept here."""
        with self._lock:
            self._ledger.orphan(server)

    def rejoin(self) -> None:
        """Others are heard again after a while of silence."""
        with self._lock:
            self._ledger.rejoin()

    def refresh(self, records: Iterable[InstanceRecord]) -> None:
        """What the database says of instances that are not linked here. What is known better stays."""
        for record in records:
            with self._lock:
                self._ledger.refresh(record, self._clock())
        self._notify()

    def be_patient(self, seconds: float) -> None:
        """Who is not linked here may be silent for so much longer: news of them come late."""
        with self._lock:
            self._ledger.patience = timedelta(seconds=seconds)

    def became(self, *, before: datetime, most: int, but: Collection[str] = ()) -> dict[str, States]:
        """Some of the breakers of which an instance moved before that moment, each once, with the states of all.

        Those of ``but`` wait for another question.
        """
        with self._lock:
            moved = self._ledger.restated.items()
            due = [name for name, at in moved if at <= before and name not in but][:most]
            for name in due:
                del self._ledger.restated[name]
            views = [self._ledger.view(name) for name in due]
            return {view.name: states for view in views if (states := _states(view))}

    def dated(self) -> dict[str, tuple[str, float]]:
        """Of the breakers that moved within half a minute: state, and since when as far as this server knows."""
        oldest = self._clock() - DATED
        with self._lock:
            moved = self._ledger.moved = {name: at for name, at in self._ledger.moved.items() if at >= oldest}
            views = [self._ledger.view(name) for name in moved]
            return {v.name: (v.state.value, v.since.timestamp()) for v in views if v.since is not None}

    def correct_since(self, states: Mapping[str, States], since: Mapping[str, datetime | None]) -> None:
        """Since when they are what they are, as the history of all instances says it."""
        with self._lock:
            for name, found in states.items():
                view, moment = self._ledger.view(name), since[name]
                if moment not in (None, view.since) and view.state is worst_of(found):
                    view.since = moment
                    self._ledger.dirty.add(name)
        self._notify()

    @property
    def adrift(self) -> bool:
        """Whether instances that were linked a moment ago have no server that speaks for them."""
        with self._lock:
            return self._ledger.adrift(self._clock())

    def write_down_links(self) -> None:
        """Who is linked here is persisted next, news or not: the database is all that others have of them."""
        with self._lock:
            for facts in self._ledger.at_home():
                facts.unpersisted = facts.unpersisted or facts.links > 0

    def count_transitions(self, totals: Mapping[tuple[str, str, str, str], int]) -> None:
        """So many there were of each kind; from here on they are counted as they are told."""
        with self._lock:
            self._transitions = dict(totals)


def _states(view: BreakerView) -> States:
    return {facts.identity.id: observation.state for facts, observation in view.live()}


def _by_leaving(passed: PassedInstance) -> float:
    """Who left comes last, in the order of leaving: the last one leaves its state behind."""
    return passed.gone_at or 0.0


def _is_worth_passing(facts: InstanceFacts, now: datetime) -> bool:
    return facts.gone_at is None or now - facts.gone_at <= GONE_PASSED


def _is_for(reset: Reset, facts: InstanceFacts) -> bool:
    record = reset.record
    addressed = record.instance in (None, str(facts.identity.id))
    has_it = record.name in facts.breakers and not facts.breakers[record.name].forgotten
    return addressed and has_it and facts.gone_at is None and facts.first_seen <= record.at
