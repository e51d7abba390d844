"""The one object: desired state of all breakers, observed state of all instances, and the rows that follow."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from breakers import selectors
from breakers.core.wire import Desired, DesiredBreaker, Report, ResetCommand
from breakers.models import BreakerRecord, DesiredState, InstanceIdentity, InstanceRecord, ResetRecord
from breakers.precedence import Yielding

from .callbacks import Callbacks
from .desired import Reset, Wanted
from .events import Event, Progress, change_event, progress_event
from .kept import KeptRows
from .ledger import Ledger
from .observed import InstanceFacts
from .past import Past, recall_since, since_when
from .picture import Counted, Picture, Taken
from .rates import Volume
from .rows import derive_instance, derive_instance_rows, derive_row
from .summary import Summary, Tallied, derive_metrics, derive_summary
from .troubles import Drops, Troubles, derive_drops, derive_troubles
from .view import BreakerView, Row

logger = logging.getLogger(__name__)

RECENT_EVENTS = 200
MOMENT = timedelta(milliseconds=100)
OPENINGS_READ = timedelta(hours=1)
"""How far back the history says, at the start, since when a breaker flaps."""
SAMPLED = 100
"""Breakers whose rates are taken under one lock."""
PART = 16
"""Rows that are derived under one lock: a report waits for those, half a millisecond, and not for a thousand."""

Edition = tuple[int, int]
"""How often rows were derived, and instances came and went: of no meaning but to be the same, or another."""


class Fleet:
    """Thread-safe: one lock, held for microseconds, never while the database or a callback runs.

    Rows are kept, and derived again only where something changed: a few at a time, for who reads all of them can wait
    and who reports cannot. :meth:`row` alone is for event loops. ``clock`` gives aware UTC.
    """

    def __init__(self, clock: Callable[[], datetime] = timezone.now) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._loading = threading.Lock()
        self._derivations = 0
        self._subscribers: Callbacks[[]] = Callbacks()
        self._listeners: Callbacks[[Event]] = Callbacks()
        self._begin()

    def _begin(self) -> None:
        self._wanted = Wanted()
        self._ledger = Ledger()
        self._kept = KeptRows()
        self._hinted = False
        self._gone: list[UUID] = []
        self._events: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._outbox: list[Event] = []
        self._transitions: dict[tuple[str, str, str, str], int] = {}
        self._sequences: Mapping[UUID, int] = {}
        self._recalled = False
        self._missed: set[UUID] = set()
        self._advanced = datetime.min.replace(tzinfo=UTC)
        self._derivations += 1

    def clear(self) -> None:
        """Forgets everything but the subscribers; the next :meth:`synchronise` reads the database anew. For tests."""
        with self._loading, self._lock:
            self._begin()

    # --- desired state --------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Of the desired state that is known here; 0 before the first :meth:`synchronise`."""
        return max(self._wanted.revision, 0)

    def synchronise(self) -> int:
        """Reads desired state where the database has a newer revision; the revision. One cheap query when it hasn't."""
        current = selectors.current_revision()
        if current > self._wanted.revision:
            with self._loading:
                self._load(current)
        self.advance()
        return self.revision

    def advance(self) -> None:
        """What time alone changes, but not anew for each of many readers of one moment. No query."""
        now = self._clock()
        if not self._advanced <= now < self._advanced + MOMENT:
            with self._lock:
                self._gone += self._ledger.advance(now)
                self._advanced = now
        self._notify()

    def _load(self, current: int) -> None:
        if current <= self._wanted.revision:
            return  # another thread was faster
        if not self._recalled:
            self._recall(Past.read(since=self._clock() - OPENINGS_READ))
        known = self._wanted.read
        state = selectors.desired_state(known)
        self.apply_desired(state)
        if state.unreadable and (known is None or state.unreadable.keys() != known.unreadable.keys()):
            logger.error(
                "Configs of another version of the product are left as they were: %s", sorted(state.unreadable)
            )
        for change in state.changes:
            self.record_event(change_event(change))

    def _recall(self, past: Past) -> None:
        with self._lock:
            states = past.recall(self._ledger, self._clock())
            self._transitions, self._sequences = dict(past.transitions), past.sequences
            self._missed = {record.id for record in past.instances if record.gone_at is None}
            self._recalled = True
        since = since_when(states)
        with self._lock:
            recall_since(self._ledger, states, since)

    @property
    def recalled(self) -> bool:
        """Whether the past is known: what earlier processes wrote down."""
        return self._recalled

    @property
    def complete(self) -> bool:
        """Whether everybody who was there when earlier processes ended has been heard of since. Until then it may be
        that what does not fire only was not told yet, and that who is silent is on the way."""
        with self._lock:
            self._missed = {identity for identity in self._missed if not self._ledger.was_heard(identity)}
            return self._recalled and not self._missed

    @property
    def recalled_sequences(self) -> Mapping[UUID, int]:
        """Up to which transition of each instance that is linked by the database the past reaches."""
        return self._sequences

    def apply_desired(self, state: DesiredState) -> None:
        """Takes over desired state, unless an equal or newer one is known. O(breakers), at each write only."""
        now = self._clock()
        with self._lock:
            if state.revision <= self._wanted.revision:
                return
            for name in self._wanted.replace(state):
                self._ledger.want(name, self._wanted.records.get(name), now)
            for reset in state.resets:
                self._command(reset)
            self._wanted.forget_old_resets(now)
        self._notify()

    def _command(self, record: ResetRecord) -> None:
        if record.id in self._wanted.resets:
            return
        members = self._ledger.view(record.name).members.values()
        running = {facts.identity.id for facts, _ in members if facts.first_seen <= record.at}
        targets = running if record.instance is None else running & {UUID(record.instance)}
        self._wanted.command(record, frozenset(targets))

    def desired(self, names: Iterable[str] | None) -> tuple[DesiredBreaker, ...]:
        """What is wanted of ``names`` now, of those that exist; of all with ``None``."""
        with self._lock:
            return self._wanted.desired(names, self._clock())

    def desired_since(self, revision: int) -> Desired | None:
        """The rows that changed after ``revision``, also deleted ones; ``None``: cannot tell, send the whole."""
        with self._lock:
            return self._wanted.since(revision, self._clock())

    def resets_for(self, instance_id: UUID, since_revision: int) -> tuple[ResetCommand, ...]:
        """The commands that the instance has still to apply: younger than 60 s, given while it was running."""
        with self._lock:
            facts = self._ledger.instances.get(instance_id)
            if facts is None:
                return ()
            return self._wanted.commands(instance_id, facts.breakers, since_revision, facts.first_seen, self._clock())

    def reset_progress(self, command_id: str) -> Progress:
        """How far a reset has come; all zero for one that is not known, or older than 10 minutes."""
        with self._lock:
            reset = self._wanted.resets.get(str(command_id))
            return Progress(targeted=0, confirmed=0, silent=0) if reset is None else self._progress(reset)

    def _progress(self, reset: Reset) -> Progress:
        waiting = [self._ledger.instances[identity] for identity in reset.targets - reset.confirmed]
        silent = sum(not facts.live for facts in waiting)
        return Progress(targeted=len(reset.targets), confirmed=len(reset.confirmed), silent=silent)

    # --- observed state -------------------------------------------------------------------------------------------

    def connect(self, identity: InstanceIdentity, at: datetime, *, forgotten: bool = False) -> None:
        """A link opened. ``forgotten``: of an instance whose first counts are in the totals, from whenever that was."""
        with self._lock:
            self._ledger.connect(identity, at)
            self._ledger.instances[identity.id].forgotten |= forgotten
        self._notify()

    def knows(self, instance_id: UUID) -> bool:
        """Whether the instance is here, or gone and remembered."""
        with self._lock:
            return instance_id in self._ledger.instances

    def readmit(self, record: InstanceRecord) -> None:
        """An instance that was long gone, and folded, is about to return. One that is known is left as it is."""
        with self._lock:
            self._ledger.readmit(record)

    def long_gone(self, before: datetime) -> list[UUID]:
        """The instances that are remembered although they are gone since before that moment."""
        with self._lock:
            return self._ledger.long_gone(before)

    def forget(self, ids: Iterable[UUID], before: datetime) -> None:
        """Instances that were folded leave the memory, unless they have returned; the totals stay."""
        with self._lock:
            self._ledger.forget(ids, before)

    def report(self, instance_id: UUID, report: Report, at: datetime) -> None:
        """Takes in a report; one of an instance that never connected is passed over. O(breakers in it)."""
        with self._lock:
            known = self._ledger.report(instance_id, report, at)
            if known is not None:
                for command in report.resets:
                    self._confirm(command, instance_id, at)
        self._notify()

    def _confirm(self, command: str, instance_id: UUID, at: datetime) -> None:
        reset = self._wanted.resets.get(command)
        if reset is None or instance_id not in reset.targets or instance_id in reset.confirmed:
            return
        reset.confirmed.add(instance_id)
        self._outbox.append(progress_event(command, reset.record.name, at, self._progress(reset)))

    def overhear(self, record: InstanceRecord, report: Report | None) -> None:
        """What an instance that is linked by the database has put into its row, as if it had just reported it.

        Without a report: it is here, or gone, and nothing else is known.
        """
        now = self._clock()
        with self._lock:
            self._ledger.overhear(record, report, now)
            for command in report.resets if report is not None else ():
                self._confirm(command, record.id, now)
        self._notify()

    def disconnect(self, instance_id: UUID) -> None:
        """A socket was lost: silent after 15 s without a heartbeat, gone after 300 s."""
        with self._lock:
            self._ledger.disconnect(instance_id)
        self._notify()

    def goodbye(self, instance_id: UUID) -> None:
        """The process ended: gone now. Its totals stay."""
        with self._lock:
            self._ledger.goodbye(instance_id, self._clock())
        self._notify()

    def tick(self, now: datetime) -> list[UUID]:
        """Silence, expiries, rates and trends; about once a second. The instances that became gone since the last."""
        with self._lock:
            self._gone += self._ledger.advance(now)
            names = tuple(self._ledger.views)
        yielding = Yielding()
        for begin in range(0, len(names), SAMPLED):
            if begin:  # some by some: a thousand at once would hold up reports for milliseconds
                yielding.give_way()
            with self._lock:
                self._ledger.sample(names[begin : begin + SAMPLED], now)
        with self._lock:
            gone, self._gone = self._gone, []
        self._notify()
        return gone

    def behind(self) -> list[UUID]:
        """The instances of which the database does not hold all."""
        with self._lock:
            return [identity for identity, facts in self._ledger.instances.items() if facts.unpersisted]

    def observed_for_persist(
        self, only: Iterable[UUID] | None = None, *, dirty_only: bool = True
    ) -> list[InstanceRecord]:
        """What the database should hold of each instance, or ``only`` of these; those told here are no longer dirty."""
        with self._lock:
            behind = self._ledger.unpersisted(only, dirty_only=dirty_only)
        return [self._snapshot(facts) for facts in behind]

    def _snapshot(self, facts: InstanceFacts) -> InstanceRecord:
        with self._lock:  # each by itself: a thousand at once would hold up reports for a tenth of a second
            return facts.snapshot()

    def persist_failed(self, instance_ids: Iterable[UUID]) -> None:
        """The write failed: the next :meth:`observed_for_persist` tells them again."""
        with self._lock:
            for instance_id in instance_ids:
                if instance_id in self._ledger.instances:
                    self._ledger.instances[instance_id].unpersisted = True

    # --- what people and programs read ----------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """All breakers by name. The rows are shared: not to be changed; one that differs is another object."""
        self._settle_in_parts()
        with self._lock:
            self._settle()
            return self._kept.rows()

    def row(self, name: str) -> Row | None:
        """Derives this one alone, where anything has changed that it shows; else takes no lock."""
        if name in self._ledger.dirty:
            with self._lock:
                self._derive((name,))
        return self._kept.row(name)

    def summary(self) -> Summary:
        return derive_summary(self._tallied())

    def _tallied(self) -> Tallied:
        self._settle_in_parts()
        with self._lock:
            self._settle()
            return Tallied.of(self._ledger, self._kept.rows())

    def record(self, name: str) -> BreakerRecord | None:
        """What is wanted of one breaker, as last read."""
        with self._lock:
            return self._wanted.records.get(name)

    def instance_rows(self, name: str) -> list[dict[str, Any]]:
        """The instances that have the breaker, worst first; none for an unknown name."""
        with self._lock:
            view = self._known(name)
            return [] if view is None else derive_instance_rows(view, self._wanted.records[name])

    def metrics(self, name: str) -> dict[str, Any]:
        """The keys of ``CircuitBreaker.get_metrics()`` over the fleet. Raises ``KeyError`` for an unknown name."""
        with self._lock:
            record = self._wanted.records[name]
            return derive_metrics(self._ledger.view(name), record, self._clock())

    def volumes(self, name: str) -> list[Volume]:
        """Calls a second of the last 5 minutes, oldest first; none for an unknown name."""
        with self._lock:
            view = self._known(name)
            return [] if view is None else view.flow.volumes()

    def instances(self) -> list[dict[str, Any]]:
        """Who is linked, or was until at most 300 s ago; by service and host."""
        with self._lock:
            present = [derive_instance(f) for f in self._ledger.instances.values() if f.gone_at is None]
        return sorted(present, key=lambda row: (row["service"], row["host"], row["pid"], row["instance"]))

    def _known(self, name: str) -> BreakerView | None:
        return self._ledger.view(name) if name in self._wanted.records else None

    def troubles(self, name: str) -> Troubles | None:
        """What is wrong beside the state; ``None`` for an unknown name."""
        with self._lock:
            view = self._known(name)
            return None if view is None else derive_troubles(view, self._clock())

    def drops(self) -> list[Drops]:
        """The services whose history has gaps that are new."""
        with self._lock:
            return derive_drops(self._ledger.instances.values(), self._clock())

    def now(self) -> datetime:
        """By the clock that all of this is derived with."""
        return self._clock()

    def picture(self) -> Picture:
        """All that can be counted, at one moment."""
        self._settle_in_parts()
        with self._lock:
            self._settle()
            taken = [Taken.of(self._ledger.view(row["name"]), row) for row in self._kept.rows()]
            agents = sum(facts.live and facts.linked for facts in self._ledger.instances.values())
            transitions = dict(self._transitions)
        return Picture(tuple(map(Counted.of, taken)), transitions, agents)

    # --- changes --------------------------------------------------------------------------------------------------

    @property
    def edition(self) -> Edition | None:
        """Another one after whatever may change what rows or summary say; ``None`` while that is not derived yet.

        Takes no lock.
        """
        return None if self._ledger.dirty else (self._derivations, self._ledger.comings)

    @property
    def version(self) -> int:
        """Rises with each visible change of a row."""
        self._settle_in_parts()
        with self._lock:
            self._settle()
            return self._kept.version

    def changed_since(self, version: int) -> tuple[int, set[str], set[str]]:
        """The version now, with the names of the rows that changed, and that went, after ``version``."""
        self._settle_in_parts()
        with self._lock:
            self._settle()
            return self._kept.changed_since(version)

    def _settle_in_parts(self) -> None:
        """Leaves little to derive to who is about to take the lock. Gives way in between, so not on an event loop."""
        if len(self._ledger.dirty) <= PART:
            return
        with self._lock:
            names = tuple(self._ledger.dirty)
        yielding = Yielding()
        for begin in range(0, len(names), PART):
            with self._lock:
                self._derive(names[begin : begin + PART])
            yielding.give_way()

    def _settle(self) -> None:
        """Derives the rows whose facts changed."""
        self._hinted = False
        if self._ledger.dirty:
            self._derive(tuple(self._ledger.dirty))

    def _derive(self, names: Iterable[str]) -> None:
        """Under the lock. A name leaves ``dirty`` last: who does not find it there reads without one."""
        changed = self._ledger.dirty.intersection(names)
        self._kept.settle({name: self._derived(name) for name in changed})
        self._derivations += 1
        self._ledger.dirty -= changed

    def _derived(self, name: str) -> Row | None:
        record = self._wanted.records.get(name)
        return None if record is None else derive_row(self._ledger.view(name), record, self._clock())

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """``callback`` runs, on any thread, after something changed that rows may show; once until someone looks.

        Returns what ends it.
        """
        with self._lock:
            self._hinted = False
        return self._subscribers.add(callback)

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """``callback`` gets each event, on any thread. Returns what ends it."""
        return self._listeners.add(callback)

    @property
    def events(self) -> list[Event]:
        """The latest, oldest first."""
        with self._lock:
            return list(self._events)

    def record_event(self, event: Event) -> None:
        """Tells the listeners; a transition is counted and gives its cause to the row."""
        with self._lock:
            if event.get("kind") == "transition":
                self._count_transition(event)
            self._outbox.append(event)
        self._notify()

    def _count_transition(self, event: Event) -> None:
        key = (event["name"], event["from_state"], event["to_state"], event["reason"])
        self._transitions[key] = self._transitions.get(key, 0) + 1

    def _notify(self) -> None:
        """Calls back, without the lock: a callback may ask the fleet, and a slow one holds up only who called."""
        with self._lock:
            events, self._outbox = self._outbox, []
            self._events.extend(events)
            hint = bool(self._ledger.dirty) and not self._hinted
            self._hinted = self._hinted or hint
        for event in events:
            self._listeners.call(event)
        if hint:
            self._subscribers.call()
