"""The one thread that writes for agents: transitions in batches, registrations, instances, totals.

SQLite takes one writer at a time, and PostgreSQL likes batches: all that comes in during a few milliseconds goes into
the database together, and only then is acknowledged. While the database does not answer, the thread tries again and
the queue grows to its bound; beyond it agents are sent away and keep what they have.

What a whole fleet has counted is written a part at a time, with rests: to make a thousand rows takes half a second of
the interpreter, and reports would wait meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from django.db import InterfaceError, OperationalError, connection

from breakers import services
from breakers.core.wire import Ack, Registration, Report, TransitionReport, encode
from breakers.fleet import fleet
from breakers.models import InstanceIdentity
from breakers.sharing import peers

from .hub import AgentLink, hub

logger = logging.getLogger(__name__)

LINGER: Final = 0.02
"""Seconds that the first of a batch waits for company."""
PART: Final = 20
"""Instances whose rows are written in one part: that takes some 10 ms."""
REST: Final = 3.0
"""Times as long as a part took, until the next."""
MOST_QUEUED: Final = 100_000
"""Transitions that wait for the database, of all agents."""
_TRANSIENT: Final = (OperationalError, InterfaceError)
"""Trouble of the database and not of what is written: it passes."""


@dataclass(slots=True)
class Batch:
    """What goes into the database together."""

    identities: dict[uuid.UUID, tuple[InstanceIdentity, bool]] = field(default_factory=dict)
    """Who is here, and whether it was forgotten."""
    registrations: dict[str, list[Registration]] = field(default_factory=lambda: defaultdict(list))
    transitions: list[tuple[InstanceIdentity, TransitionReport]] = field(default_factory=list)
    reports: list[tuple[AgentLink, Report]] = field(default_factory=list)
    persist: set[uuid.UUID] = field(default_factory=set)
    """Whose row is to hold what the fleet has observed."""
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.identities or self.registrations or self.transitions or self.persist or self.afterwards)


class Writer:
    """Its methods put things into the queue, from any thread, and never wait."""

    def __init__(self) -> None:
        self.server = str(uuid.uuid4())
        """This server process, as agents are told."""
        self._condition = threading.Condition()
        self._batch = Batch()
        self._in_hand = 0  # transitions in the batch that is being written
        self._behind: dict[uuid.UUID, None] = {}  # whose rows are written part by part, in this order
        self._next_part = 0.0  # when, by time.monotonic
        self._thread: threading.Thread | None = None
        self._give_up_at: float | None = None

    # --- what comes in -------------------------------------------------------------------------------------------

    def note(
        self, identity: InstanceIdentity, registrations: Sequence[Registration], *, forgotten: bool = False
    ) -> None:
        """An instance is here, with these breakers. ``forgotten``: see :meth:`Fleet.connect`."""
        unknown = [registration for registration in registrations if fleet.record(registration.name) is None]
        with self._condition:
            known = self._batch.identities.get(identity.id, (identity, False))
            self._batch.identities[identity.id] = identity, forgotten or known[1]
            self._batch.registrations[identity.service] += unknown
            self._condition.notify()

    def record(self, link: AgentLink, report: Report) -> bool:
        """Transitions for the history, acknowledged to ``link`` once they stand there. False: the queue is full."""
        with self._condition:
            if len(self._batch.transitions) + self._in_hand + len(report.transitions) > MOST_QUEUED:
                return False
            self._batch.transitions += [(link.identity, transition) for transition in report.transitions]
            self._batch.reports.append((link, report))
            self._condition.notify()
            return True

    def persist(self, instances: Collection[uuid.UUID], afterwards: Callable[[], None] | None = None) -> None:
        """What the fleet has observed of these is written; then ``afterwards`` runs, on the writer's thread."""
        with self._condition:
            self._batch.persist.update(instances)
            if afterwards is not None:
                self._batch.afterwards.append(afterwards)
            self._condition.notify()

    def keep(self) -> None:
        """What the fleet has observed goes to the database, a part at a time."""
        behind = dict.fromkeys(fleet.behind())
        with self._condition:
            self._behind.update(behind)
            self._condition.notify()

    # --- the thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Idempotent."""
        with self._condition:
            if self._thread is None:
                self._give_up_at = None
                self._thread = threading.Thread(target=self._run, name="agents-writer", daemon=True)
                self._thread.start()

    def stop(self, within: float) -> None:
        """Writes what is queued, for at most ``within`` seconds, and ends the thread."""
        with self._condition:
            thread, self._thread = self._thread, None
            self._give_up_at = time.monotonic() + within
            self._condition.notify()
        if thread is not None:
            thread.join(within + 1.0)

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._write(batch)
        finally:
            connection.close()

    def _next(self) -> Batch | None:
        """The next batch, once there is one; ``None`` at the end."""
        with self._condition:
            while not (self._batch or self._ending or self._part_is_due):
                self._condition.wait(self._next_part - time.monotonic() if self._behind else None)
            if self._batch and not self._ending:
                self._condition.wait_for(lambda: self._ending, LINGER)
            self._add_part()
            batch, self._batch = self._batch, Batch()
            self._in_hand = len(batch.transitions)
            return batch or None

    @property
    def _ending(self) -> bool:
        return self._give_up_at is not None

    @property
    def _part_is_due(self) -> bool:
        return bool(self._behind) and time.monotonic() >= self._next_part

    def _add_part(self) -> None:
        """Of what is written part by part, the next; in the end all that is left."""
        if self._ending or self._part_is_due:
            part = list(self._behind)[: None if self._ending else PART]
            self._batch.persist.update(part)
            for instance in part:
                del self._behind[instance]

    def _write(self, batch: Batch) -> None:
        self._see_through(partial(_see_instances, list(batch.identities.values())))
        for service, registrations in batch.registrations.items():
            self._see_through(partial(_register, service, registrations))
        if batch.transitions:
            recorded = self._see_through(partial(_record, batch.transitions))
            if recorded:
                _acknowledge(batch.reports)
        if self._persist(batch.persist):
            for act in batch.afterwards:
                act()
        with self._condition:
            self._in_hand = 0

    def _persist(self, instances: Collection[uuid.UUID]) -> bool:
        if not instances:
            return True
        began = time.monotonic()
        done = self._see_through(partial(_persist, instances))
        ended = time.monotonic()
        self._next_part = ended + REST * (ended - began)
        return done

    def _see_through(self, act: Callable[[], None]) -> bool:
        """Runs ``act``, again and again while the database is in trouble. False: stopped before it succeeded."""
        wait, said = 0.05, False
        while True:
            try:
                act()
            except _TRANSIENT as error:
                connection.close()
                logger.log(logging.DEBUG if said else logging.WARNING, "The database does not answer: %s", error)
                said = True
            except Exception:
                logger.exception("A write for agents is left out")
                return True
            else:
                return True
            if self._is_over(wait):
                return False
            wait = min(2 * wait, 1.0)

    def _is_over(self, wait: float) -> bool:
        """Waits; whether the time to give up has come meanwhile."""
        with self._condition:
            self._condition.wait_for(lambda: self._ending, wait)
            if self._give_up_at is None:
                return False
        time.sleep(min(wait, 0.1))  # the end is near: little patience between the last attempts
        return time.monotonic() >= self._give_up_at


def _see_instances(identities: Sequence[tuple[InstanceIdentity, bool]]) -> None:
    for identity, forgotten in identities:
        services.instance_seen(identity=identity, forgotten=forgotten)


def _register(service: str, registrations: Sequence[Registration]) -> None:
    if registrations:
        for refused in services.breakers_register(registrations=registrations, service=service):
            logger.warning("%s: %s", service, refused)


def _record(transitions: Sequence[tuple[InstanceIdentity, TransitionReport]]) -> None:
    """All in one transaction; one by one where that fails for what one of them holds."""
    try:
        new = services.transitions_record(batch=transitions)
    except _TRANSIENT:
        raise
    except Exception:
        if len(transitions) == 1:
            logger.exception("A transition cannot be recorded and is left out: %s", transitions[0])
            return
        middle = len(transitions) // 2
        _record(transitions[:middle])
        _record(transitions[middle:])
    else:
        peers.tell(new)


def _persist(instances: Collection[uuid.UUID]) -> None:
    rows = fleet.observed_for_persist(instances)
    try:
        if rows:
            services.instances_persist(rows=rows)
    except BaseException:
        fleet.persist_failed(row.id for row in rows)
        raise


def _acknowledge(reports: Sequence[tuple[AgentLink, Report]]) -> None:
    """To each link once, whatever its number of reports; one call a loop."""
    newest = dict(reports)
    by_loop = defaultdict(list)
    for link, report in newest.items():
        by_loop[link.loop].append((link, report))
    for loop, acknowledged in by_loop.items():
        hub.run(loop, partial(_send_acks, acknowledged))


async def _send_acks(reports: Sequence[tuple[AgentLink, Report]]) -> None:
    for link, report in reports:
        link.recorded = max(link.recorded, report.transitions[-1].sequence)
        await link.send(encode(Ack(id=report.id, sequence=link.recorded)))


writer = Writer()
