"""Observed state of which other servers hold parts: what they pass on is merged so that the newest report wins.

Each instance has one home, the server that it last linked to, which speaks for it. Counts are cumulative an instance
and only rise, epochs only rise, so an instance that moves is neither counted twice nor lost, in whatever order and
however often its homes are heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from heapq import heappush
from uuid import UUID

from breakers.core.states import CircuitBreakerState
from breakers.core.wire import Report, TransitionReport
from breakers.models import InstanceIdentity, InstanceRecord

from .ledger import GONE_AFTER, SETTLED_AFTER, SILENT_AFTER, Ledger
from .observed import HERE, InstanceFacts, Move, Observation, later
from .passing import (
    PassedBreaker,
    PassedInstance,
    base_of,
    moment,
    moment_or_none,
    moves_of,
    override_of,
    refusals_of,
    window_of,
)
from .view import BreakerView

MOST_MOVES = 20
FOLDED_AFTER = timedelta(hours=1)
"""Nobody is folded, and so unknown here, before it is gone for so long."""


class SharedLedger(Ledger):
    """A ledger that also says what others should know, and takes in what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = False
        """Whether anybody asks for what is told here."""
        self.restated: dict[str, datetime] = {}
        """Breakers of which an instance moved, and when: since when they are what they are, the history of all says."""
        self.moved: dict[str, datetime] = {}
        """When an instance of the breaker moved last."""
        self.patience = timedelta(0)
        """How much longer than a link may be silent who is linked elsewhere: news of those come late, or not at all."""

    # --- what is told here ----------------------------------------------------------------------------------------

    def connect(self, identity: InstanceIdentity, at: datetime) -> None:
        super().connect(identity, at)
        facts = self.instances[identity.id]
        facts.home, facts.away, facts.unshared = HERE, False, True

    def disconnect(self, instance_id: UUID) -> None:
        super().disconnect(instance_id)
        self._mark(self.instances.get(instance_id))

    def report(self, instance_id: UUID, report: Report, at: datetime) -> InstanceFacts | None:
        before = self.instances.get(instance_id)
        revision = None if before is None else before.revision
        facts = super().report(instance_id, report, at)
        if facts is not None and not facts.direct:  # of those each server reads itself
            if report.now >= facts.told:  # else it was under way while a newer one took another way
                facts.told, facts.home, facts.away = report.now, HERE, False
            facts.confirmed.update(dict.fromkeys(report.resets, at))
            news = report.transitions or report.refusals or report.resets or report.revision != revision
            if news or (facts.reported_at is not None and at - facts.reported_at <= SETTLED_AFTER):
                facts.unshared = True
            elif report.breakers:
                facts.counted = True
        return facts

    def readmit(self, record: InstanceRecord) -> None:
        known = record.id in self.instances
        super().readmit(record)
        if not known:
            for observation in self.instances[record.id].breakers.values():
                observation.returned = observation.counts, dict(observation.latency)

    def _take_transition(self, facts: InstanceFacts, told: TransitionReport, at: datetime, now: float) -> None:
        super()._take_transition(facts, told, at, now)
        if self.shared:
            observation, since = facts.breakers[told.name], later(at, min(told.at - now, 0.0))
            move = Move(told.epoch, told.to_state, since, told.cause)
            observation.moves = (*observation.moves[1 - MOST_MOVES :], move)

    def _restate(self, view: BreakerView, moment: datetime, at: datetime) -> None:
        super()._restate(view, moment, at)
        if self.shared:
            self.restated.setdefault(view.name, at)
            self.moved[view.name] = at

    def _leave(self, facts: InstanceFacts, at: datetime) -> None:
        super()._leave(facts, at)
        for name, observation in facts.breakers.items():
            view = self.view(name)
            if not observation.forgotten and (view.left is None or view.left[0] <= at):
                view.left = at, observation.state, observation.since
        self._mark(facts)

    def _mark(self, facts: InstanceFacts | None) -> None:
        if facts is not None and facts.home == HERE:
            facts.unshared = True

    def unshared(self, *, counts: bool) -> list[InstanceFacts]:
        """The instances that told something here since the last question; also who has moved on meanwhile."""
        found = [facts for facts in self.instances.values() if facts.unshared or (counts and facts.counted)]
        for facts in found:
            facts.unshared = facts.counted = False
        return found

    def at_home(self) -> Iterator[InstanceFacts]:
        return (facts for facts in self.instances.values() if facts.home == HERE)

    # --- what others say ------------------------------------------------------------------------------------------

    def _is_quiet(self, facts: InstanceFacts, now: datetime) -> bool:
        return now - facts.heard > (SILENT_AFTER if facts.home == HERE else SILENT_AFTER + self.patience)

    def adopt(self, server: str, passed: PassedInstance, ahead: timedelta, now: datetime) -> InstanceFacts:
        """Takes in an instance as ``server`` knows it. O(its breakers)."""
        identity, heard = passed.identity, min(moment(passed.heard) - ahead, now)
        facts = self.instances.get(identity.id)
        if facts is None:
            facts = InstanceFacts(identity, moment(passed.first_seen), heard=heard, last_seen=heard)
            facts.live = False  # until it is heard, below
            self.instances[identity.id] = facts
            self.comings += 1
        facts.first_seen = min(facts.first_seen, moment(passed.first_seen))
        newer = self._is_newer(facts, server, passed, heard)
        if newer:
            self._move_home(facts, server, now)
            self._take_facts(facts, passed)
        for name, told in passed.breakers.items():
            self._adopt_breaker(facts, name, PassedBreaker(*told), newer=newer, now=now)
        if newer:
            self._take_presence(facts, heard, moment_or_none(passed.gone_at), now)
        return facts

    def _is_newer(self, facts: InstanceFacts, server: str, passed: PassedInstance, heard: datetime) -> bool:
        """Whether ``server`` speaks for the instance, from now on or still."""
        if facts.home in (None, server) or passed.told > facts.told:
            return True
        # its clock may have been set back; but a socket that is lost and not yet noticed is no link
        return passed.linked and not facts.linked and facts.gone_at is None and heard >= facts.heard

    def _move_home(self, facts: InstanceFacts, server: str, now: datetime) -> None:
        """What it counted until now is no traffic of this moment, as with a link of our own."""
        if facts.home != server:
            facts.home, facts.reported_at = server, now
            facts.link += 1

    def _take_facts(self, facts: InstanceFacts, passed: PassedInstance) -> None:
        facts.identity, facts.told, facts.away, facts.skew = passed.identity, passed.told, passed.linked, passed.skew
        if passed.dropped > facts.dropped:
            facts.dropped, facts.dropped_at = passed.dropped, moment_or_none(passed.dropped_at)
        refusals = refusals_of(passed.refusals)
        self.dirty.update(name for name, refusal in refusals.items() if facts.refusals.get(name) != refusal)
        facts.refusals.update(refusals)
        before, facts.revision = facts.revision, passed.revision
        if before != facts.revision:
            self._touch_applied(facts, min(before, facts.revision), max(before, facts.revision))

    def _adopt_breaker(
        self, facts: InstanceFacts, name: str, told: PassedBreaker, *, newer: bool, now: datetime
    ) -> None:
        known = name in facts.breakers
        view, observation = self._observed(facts, name)
        if not known and (summed := told.returned or told.base):
            observation.begin_at(tuple(summed[0]), summed[1])
            observation.base, observation.base_latency = base_of(told.base)
        state = CircuitBreakerState(told.state)
        for move in moves_of(told.moves):
            view.learn_cause(move.state.value, move.since, move.cause)
            self._step(facts, view, observation, move.state, move.epoch, move.since, now)
        if told.since is not None:
            self._step(facts, view, observation, state, told.epoch, moment(told.since), now)
        observation.forget_in(told.forgotten_in)
        self._belong(facts, view, observation, now)
        added = self._count(view, observation, tuple(told.counts), told.latency)
        starting = facts.reported_at is not None and now - facts.reported_at <= SETTLED_AFTER
        if newer:
            self._take_rest(view, observation, told)
            settled = observation.link == facts.link or (observation.link == 0 and not starting)
            if added is not None and settled:
                self._flow(view, added)
            observation.link = facts.link
        self.dirty.add(name)

    def _flow(self, view: BreakerView, added: tuple[int, ...]) -> None:
        successes, failures, rejected, ignored, late = added[:5]
        judged = successes + failures
        view.flow.add(calls=judged + ignored + late, judged=judged, failures=failures, rejected=rejected)

    def _step(
        self,
        facts: InstanceFacts,
        view: BreakerView,
        observation: Observation,
        state: CircuitBreakerState,
        epoch: int,
        since: datetime,
        now: datetime,
    ) -> None:
        if observation.move(state, epoch, since) and facts.gone_at is None and facts.live:
            view.place(observation, state)
            self._restate(view, since, now)

    def _take_rest(self, view: BreakerView, observation: Observation, told: PassedBreaker) -> None:
        retry_at = moment_or_none(told.retry_at)
        if retry_at is not None and retry_at != observation.retry_at:
            heappush(self._due, (retry_at, view.name))
        observation.retry_at = retry_at
        observation.override, observation.window = override_of(told.override), window_of(told.window)
        observation.config_version = told.config_version
        observation.consecutive_failures = told.consecutive_failures
        observation.last_failure_time, observation.last_success_time = told.last_failure_time, told.last_success_time

    def _take_presence(self, facts: InstanceFacts, heard: datetime, gone_at: datetime | None, now: datetime) -> None:
        written = facts.unpersisted  # its home does that
        if gone_at is not None:
            if facts.gone_at is None:
                self._see_leaving(facts, gone_at)
        elif now - heard <= SILENT_AFTER + self.patience:
            self._hear(facts, heard)
        else:
            facts.last_seen = max(heard, facts.last_seen)
            self._see_silent(facts)
        facts.unpersisted = written

    def _see_leaving(self, facts: InstanceFacts, gone_at: datetime) -> None:
        """The last one to leave leaves its state behind, in whatever order servers hear of who left."""
        self._leave(facts, gone_at)
        for name in facts.breakers:
            view = self.view(name)
            if view.left is not None and not view.members and view.left[1] is not view.state:
                _, view.state, since = view.left
                view.since = since or gone_at

    def _see_silent(self, facts: InstanceFacts) -> None:
        """One that nobody here had heard of, or that was gone: counted among the silent ones."""
        if facts.live:
            return  # time tells
        facts.gone_at = None
        self.comings += 1
        for name, observation in facts.breakers.items():
            self._enter(facts, self.view(name), observation)
            self.dirty.add(name)

    def hear(self, server: str, presence: Mapping[UUID, float], ahead: timedelta, now: datetime) -> None:
        """Who is linked to ``server``, and when each was heard there. O(instances)."""
        for facts in self.instances.values():
            if facts.home == server:
                told = presence.get(facts.identity.id)
                facts.away = told is not None
                if told is not None:
                    self._hear_again(facts, min(moment(told) - ahead, now), now)

    def _hear_again(self, facts: InstanceFacts, heard: datetime, now: datetime) -> None:
        if heard > facts.heard and now - heard <= SILENT_AFTER and (facts.gone_at is None or heard > facts.gone_at):
            written = facts.unpersisted  # its home does that
            self._hear(facts, heard)
            facts.unpersisted = written

    def orphan(self, server: str) -> bool:
        """``server`` is no more: nobody speaks for its instances until they link again. Whether it had any.

        What it had not written down of them yet is written from here.
        """
        found = False
        for facts in self.instances.values():
            if facts.home == server:
                facts.home, facts.away = None, False
                facts.unpersisted = found = True
        return found

    def rejoin(self) -> None:
        """Others are heard again after a while: what was counted meanwhile is no traffic of this moment."""
        for facts in self.instances.values():
            if facts.home not in (None, HERE):
                facts.link += 1

    def refresh(self, record: InstanceRecord, now: datetime) -> None:
        """What the database says of an instance that is not linked here."""
        facts = self.instances.get(record.id)
        if facts is None:
            if now - record.first_seen_at <= FOLDED_AFTER:  # else it was folded and is back: its server says how
                self.recall(record, now, heard=record.last_seen_at)
                self.instances[record.id].followed = not record.direct
            return
        if (facts.home == HERE and facts.links) or facts.direct:
            return
        newer = record.last_seen_at > facts.last_seen
        facts.followed = facts.followed or newer
        for name, kept in record.observed.items():
            told = Observation.from_json(kept)
            view, observation = self._observed(facts, name)
            self._count(view, observation, told.counts, told.latency)
            if told.since is not None and newer:
                self._step(facts, view, observation, told.state, told.epoch, told.since, now)
            observation.forget_in(told.forgotten_in)
            self._belong(facts, view, observation, now)
            self.dirty.add(name)
        if record.gone_at is not None and newer and facts.gone_at is None:
            self._leave(facts, record.gone_at)
        elif record.gone_at is None and newer and now - record.last_seen_at <= SILENT_AFTER + self.patience:
            self._hear(facts, record.last_seen_at)

    def adrift(self, now: datetime) -> bool:
        """Whether instances that were linked a moment ago have no home: their server is gone, or cannot be heard."""
        return any(
            facts.home is None
            and facts.gone_at is None
            and (facts.told or facts.followed)
            and now - facts.heard <= GONE_AFTER
            for facts in self.instances.values()
        )
