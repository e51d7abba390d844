"""Observed state of all instances, and which rows follow from it. Neither lock nor database: its owner has both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from uuid import UUID

from breakers.core.wire import BreakerStatus, Report, TransitionReport
from breakers.models import BreakerRecord, DepartedRecord, InstanceIdentity, InstanceRecord

from .observed import InstanceFacts, Observation, counts_of, later
from .view import BreakerView

SILENT_AFTER = timedelta(seconds=15)
GONE_AFTER = timedelta(seconds=300)
SETTLED_AFTER = timedelta(seconds=5)
"""A link that (re)connects tells first of all its breakers, in several reports where they are many; what they counted
before is no traffic of this moment. A breaker that is first told of later than this is new, and all its calls are."""


class Ledger:
    """Facts in, names whose rows may differ out (:attr:`dirty`). A report costs O(breakers in it)."""

    def __init__(self) -> None:
        self.instances: dict[UUID, InstanceFacts] = {}
        self.views: dict[str, BreakerView] = {}
        self.dirty: set[str] = set()
        self.comings = 0
        """Rises when an instance comes, falls silent or goes, which the summary tells also of one without breakers."""
        self._due: list[tuple[datetime, str]] = []

    def view(self, name: str) -> BreakerView:
        found = self.views.get(name)
        if found is None:
            found = self.views[name] = BreakerView(name)
        return found

    # --- desired state --------------------------------------------------------------------------------------------

    def want(self, name: str, record: BreakerRecord | None, now: datetime) -> None:
        """Takes over what is wanted of one breaker; ``None``: nothing any more."""
        view = self.view(name)
        view.record, view.wanted_at = record, now
        if record is not None:
            view.since = view.since or record.created_at
            view.flow.start(now.timestamp())
            if record.override_expires_at is not None:
                heappush(self._due, (record.override_expires_at, name))
        self.dirty.add(name)

    # --- instances ------------------------------------------------------------------------------------------------

    def recall_departed(self, record: DepartedRecord) -> None:
        """What instances had counted that nobody remembers one by one."""
        view, sums = self.view(record.breaker), Observation.from_json(record.observed)
        view.add_counts(sums.counts)
        for bucket, count in sums.latency.items():
            view.latency[bucket] = view.latency.get(bucket, 0) + count
        self.dirty.add(record.breaker)

    def readmit(self, record: InstanceRecord) -> None:
        """An instance that was folded returns: the totals hold what it had counted."""
        if record.id in self.instances:
            return
        facts = InstanceFacts(record.identity, record.first_seen_at, record.last_seen_at, record.last_seen_at)
        facts.live, facts.gone_at = False, record.gone_at or record.last_seen_at
        facts.breakers = {name: Observation.from_json(kept) for name, kept in record.observed.items()}
        facts.forgotten = record.forgotten
        self.instances[record.id] = facts

    def long_gone(self, before: datetime) -> list[UUID]:
        """The instances that are gone since before that moment, and written down."""
        gone = ((i, facts.gone_at) for i, facts in self.instances.items() if not facts.unpersisted)
        return [i for i, at in gone if at is not None and at < before]

    def forget(self, ids: Iterable[UUID], before: datetime) -> None:
        """Those of them that are still long gone leave the memory; what they had counted stays."""
        for instance_id in set(ids).intersection(self.long_gone(before)):
            del self.instances[instance_id]

    def recall(self, record: InstanceRecord, now: datetime, *, heard: datetime | None = None) -> None:
        """An instance that another process wrote down.

        One that was not gone has its 15 s from ``heard``, by default from now: that nobody listened is not its silence.
        """
        facts = self.instances.get(record.id)
        if facts is None:
            facts = InstanceFacts(record.identity, record.first_seen_at, heard=now, last_seen=record.last_seen_at)
            facts.gone_at = record.gone_at
            facts.live = record.gone_at is None and now - record.last_seen_at <= GONE_AFTER
            facts.heard = (heard or now) if facts.live else record.last_seen_at
            facts.direct, facts.forgotten = record.direct, record.forgotten
            facts.dropped, facts.dropped_at = record.dropped, record.dropped_at
            self.instances[record.id] = facts
            self.comings += 1
        facts.first_seen = min(facts.first_seen, record.first_seen_at)
        for name, kept in record.observed.items():
            self._recall_breaker(facts, name, Observation.from_json(kept))

    def _recall_breaker(self, facts: InstanceFacts, name: str, kept: Observation) -> None:
        view, known = self.view(name), facts.breakers.get(name)
        if known is None:
            known = facts.breakers[name] = Observation(
                state=kept.state,
                epoch=kept.epoch,
                since=kept.since or facts.last_seen,
                retry_at=kept.retry_at,
                kept=True,
                forgotten_in=kept.forgotten_in,
            )
            if kept.retry_at is not None:
                heappush(self._due, (kept.retry_at, name))
            known.begin_at(kept.base, kept.base_latency)
        self._count(view, known, kept.counts, kept.latency)
        self._enter(facts, view, known)
        self.dirty.add(name)

    def _enter(self, facts: InstanceFacts, view: BreakerView, observation: Observation) -> None:
        if facts.gone_at is None and not observation.forgotten:
            view.members[facts.identity.id] = (facts, observation)
            view.place(observation, observation.state if facts.live else None)

    def _belong(self, facts: InstanceFacts, view: BreakerView, observation: Observation, at: datetime) -> None:
        """One that has forgotten the breaker is none of its instances, until it makes it anew."""
        if observation.forgotten_in is None:
            return
        member = facts.identity.id in view.members
        if observation.forgotten and (member or observation.placed is not None):
            view.members.pop(facts.identity.id, None)  # no member: it was made and forgotten again since it last told
            view.place(observation, None)
        elif not (observation.forgotten or member) and facts.gone_at is None:
            self._enter(facts, view, observation)
        else:
            return
        self._restate(view, at, at)

    def connect(self, identity: InstanceIdentity, at: datetime) -> None:
        """A link opened; its first reports follow."""
        facts = self.instances.get(identity.id)
        if facts is None:
            facts = self.instances[identity.id] = InstanceFacts(identity, first_seen=at, heard=at, last_seen=at)
            self.comings += 1
        facts.identity, facts.unpersisted = identity, True
        facts.links += 1
        facts.link += 1
        facts.reported_at = None
        self._hear(facts, at)

    def overhear(self, record: InstanceRecord, report: Report | None, at: datetime) -> None:
        """What an instance that writes its row itself has put there; ``at``: now, by our clock."""
        facts = self.instances.get(record.id)
        if facts is not None and record.gone_at is not None and facts.gone_at is not None:
            return
        if facts is None:
            facts = InstanceFacts(record.identity, record.first_seen_at, heard=at, last_seen=record.last_seen_at)
            facts.dropped, facts.dropped_at = record.dropped, record.dropped_at
            self.instances[record.id] = facts
            self.comings += 1
        facts.direct, facts.link = True, max(facts.link, 1)
        if report is None:
            self._hear(facts, at)
        else:
            self.report(record.id, report, at)
            facts.dropped_at = record.dropped_at or facts.dropped_at
        facts.skew = None  # how long ago the row was written is not known
        if record.gone_at is not None:
            self._leave(facts, record.gone_at)
            facts.unpersisted = False  # it stands there

    def was_heard(self, instance_id: UUID) -> bool:
        """Whether there was a sign of it since this process began; also where it is forgotten."""
        facts = self.instances.get(instance_id)
        return facts is None or facts.link > 0 or facts.followed

    def disconnect(self, instance_id: UUID) -> None:
        """A link was lost; whether the instance is, only time tells."""
        facts = self.instances.get(instance_id)
        if facts is not None:
            facts.links = max(facts.links - 1, 0)

    def goodbye(self, instance_id: UUID, at: datetime) -> None:
        facts = self.instances.get(instance_id)
        if facts is not None:
            self._leave(facts, at)

    def _hear(self, facts: InstanceFacts, at: datetime) -> None:
        facts.heard = facts.last_seen = max(at, facts.last_seen)
        if facts.live and facts.gone_at is None:
            return
        facts.live, facts.gone_at, facts.unpersisted = True, None, not facts.direct
        self.comings += 1
        for name, observation in facts.breakers.items():
            view = self.view(name)
            self._enter(facts, view, observation)
            self._restate(view, observation.since or at, at)

    def _leave(self, facts: InstanceFacts, at: datetime) -> None:
        facts.live, facts.gone_at, facts.unpersisted = False, at, True
        self.comings += 1
        for name, observation in facts.breakers.items():
            view = self.view(name)
            view.members.pop(facts.identity.id, None)
            view.place(observation, None)
            self._restate(view, at, at)

    def _restate(self, view: BreakerView, moment: datetime, at: datetime) -> None:
        view.restate(moment, at)
        self.dirty.add(view.name)

    def advance(self, now: datetime) -> list[UUID]:
        """What time alone changes: silence, waits and overrides that end. The instances that became gone."""
        present = [facts for facts in self.instances.values() if facts.gone_at is None]
        self._fall_silent([facts for facts in present if facts.live and self._is_quiet(facts, now)], now)
        gone = [facts for facts in present if now - facts.heard > GONE_AFTER]
        for facts in gone:
            self._leave(facts, now)
        while self._due and self._due[0][0] <= now:
            self.dirty.add(heappop(self._due)[1])
        return [facts.identity.id for facts in gone]

    def _is_quiet(self, facts: InstanceFacts, now: datetime) -> bool:
        return now - facts.heard > SILENT_AFTER

    def _fall_silent(self, quiet: Sequence[InstanceFacts], now: datetime) -> None:
        """All at once: one by one, the last known state would be that of whoever happens to come last."""
        fallen: set[str] = set()
        for facts in quiet:
            facts.live = False
            self.comings += 1
            fallen.update(facts.breakers)
            for name, observation in facts.breakers.items():
                self.view(name).place(observation, None)
        for name in fallen:
            self._restate(self.view(name), now, now)

    def sample(self, names: Iterable[str], now: datetime) -> None:
        """Rates and trends; about once a second."""
        moment = now.timestamp()
        for name in names:
            if self.views[name].flow.sample(moment):
                self.dirty.add(name)

    # --- reports --------------------------------------------------------------------------------------------------

    def report(self, instance_id: UUID, report: Report, at: datetime) -> InstanceFacts | None:
        """Takes in what an instance tells; ``None`` when it never connected."""
        facts = self.instances.get(instance_id)
        if facts is None:
            return None
        self._hear(facts, at)
        facts.skew = report.now - at.timestamp()
        first = facts.reported_at is None
        facts.reported_at = facts.reported_at or at
        starting = first or at - facts.reported_at <= SETTLED_AFTER
        if facts.forgotten and not starting:  # it has told all, and where each of its breakers begins is known
            facts.forgotten, facts.unpersisted = False, True
        if report.dropped > facts.dropped:
            facts.dropped, facts.dropped_at, facts.unpersisted = report.dropped, at, not facts.direct
        for transition in report.transitions:
            self._take_transition(facts, transition, at, report.now)
        for status in report.breakers:
            self._take_status(facts, status, at, starting)
        self._take_revision(facts, report)
        facts.unpersisted = facts.unpersisted or (bool(report.breakers) and not facts.direct)
        return facts

    def _take_transition(self, facts: InstanceFacts, told: TransitionReport, at: datetime, now: float) -> None:
        """Replays one step, so that the fleet's ``since`` is right also where a state came and went between reports.

        One that is told again is of an older epoch by then, and moves nothing.
        """
        moment = later(at, min(told.at - now, 0.0))  # the instance's clock may be wrong, but it knows how long ago
        view, observation = self._observed(facts, told.name)
        view.learn_cause(told.to_state, moment, told.cause)
        if observation.move(told.to_state, told.epoch, moment):
            view.place(observation, observation.state)
            self._restate(view, moment, at)
            self._belong(facts, view, observation, at)
        self.dirty.add(told.name)

    def _take_status(self, facts: InstanceFacts, status: BreakerStatus, at: datetime, starting: bool) -> None:
        view, observation = self._observed(facts, status.name)
        moved = not observation.knows(status.state, status.epoch) and observation.move(
            status.state, status.epoch, later(at, -max(status.state_age, 0.0))
        )
        waits = observation.take(status, at)
        if moved:
            view.place(observation, observation.state)
            self._restate(view, observation.since or at, at)
        if status.forgotten:
            observation.forget_in(status.epoch)
        self._belong(facts, view, observation, at)
        if waits and observation.retry_at is not None:
            heappush(self._due, (observation.retry_at, status.name))
        if facts.forgotten and observation.link == 0 and not observation.kept:
            observation.begin_at(counts_of(status.counts), status.latency)
        added = self._count(view, observation, counts_of(status.counts), status.latency)
        if added is not None and (observation.link == facts.link or (observation.link == 0 and not starting)):
            successes, failures, rejected, ignored, late = added[:5]
            judged = successes + failures
            view.flow.add(calls=judged + ignored + late, judged=judged, failures=failures, rejected=rejected)
        observation.link = facts.link
        self.dirty.add(status.name)

    def _observed(self, facts: InstanceFacts, name: str) -> tuple[BreakerView, Observation]:
        view, observation = self.view(name), facts.breakers.get(name)
        if observation is None:
            observation = facts.breakers[name] = Observation()
            self._enter(facts, view, observation)
        return view, observation

    def _count(
        self, view: BreakerView, observation: Observation, counts: tuple[int, ...], latency: Mapping[str, int]
    ) -> tuple[int, ...] | None:
        added = observation.raise_counts(counts)
        if added is not None:
            view.add_counts(added)
            observation.raise_latency(latency, view.latency)
        return added

    def _take_revision(self, facts: InstanceFacts, report: Report) -> None:
        before, after = facts.revision, report.revision
        facts.refusals.update({refusal.name: refusal for refusal in report.refusals})
        if before != after:
            facts.revision = after
            self._touch_applied(facts, min(before, after), max(before, after))
        self.dirty.update(refusal.name for refusal in report.refusals)

    def _touch_applied(self, facts: InstanceFacts, low: int, high: int) -> None:
        for name in facts.breakers:
            record = self.view(name).record
            if record is not None and low < record.revision <= high:
                self.dirty.add(name)

    def unpersisted(self, only: Iterable[UUID] | None, *, dirty_only: bool) -> list[InstanceFacts]:
        """The instances, ``only`` of these or of all, whose row in the database is behind (or not); from now on taken
        for written."""
        among = self.instances.values() if only is None else [self.instances[i] for i in only if i in self.instances]
        found = [facts for facts in among if facts.unpersisted or not dirty_only]
        for facts in found:
            facts.unpersisted = False
        return found
