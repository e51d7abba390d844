"""``connect_database()``: :mod:`breakers.core.sync` carried by the database itself, where Django is configured.

One daemon thread reads what is wanted and writes what was observed, through the same selectors and services as the
server. It never raises into the program and never holds it up; while the database is away the last config stands.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from breakers import selectors, services
from breakers.client.cache import DesiredCache
from breakers.client.carrier import FLUSH, LinkStatus
from breakers.client.link import connect_otherwise
from breakers.core.sync import Sync
from breakers.core.wire import Ack, Desired, Hello, Registration, Report, ResetCommand, encode
from breakers.fleet.observed import Observation, counts_of, later
from breakers.models import DesiredState, InstanceIdentity, InstanceRecord

__all__ = ["DatabaseLink", "connect_database"]

logger = logging.getLogger("breakers.link")

PLACE: Final = "the database"
POLL: Final = 1.0
"""Seconds between two looks at the revision, and between two reports of counts."""
KEEP: Final = 5.0
"""Seconds between two writes of this instance's row, at the least."""
REMEMBER: Final = 120.0
"""Seconds for which its row says that a reset was carried out: twice as long as the command lives."""
COALESCE: Final = 0.05
"""Seconds that urgent news waits for company: each report is a transaction."""


def connect_database(service: str | None = None) -> DatabaseLink:
    """See :func:`breakers.connect_database`."""
    return connect_otherwise(PLACE, service, DatabaseLink)


class DatabaseLink:
    """Made by :func:`breakers.connect_database`. Thread-safe. Survives ``fork``: see :meth:`begin_anew`."""

    def __init__(self, sync: Sync, cache: DesiredCache | None = None) -> None:
        self.sync, self._cache = sync, cache
        self._closing = threading.Event()
        self._begin()
        _links.add(self)

    def __repr__(self) -> str:
        return f"<DatabaseLink {self.sync.service}>"

    def _begin(self) -> None:
        self._wake = threading.Event()
        self._connected, self._since = False, datetime.now(UTC)
        self._trouble: str | None = None
        self._at_work = threading.Lock()  # held while a connection is open
        self._row = _Row()
        self.sync.wake = self._wake.set
        self._thread = threading.Thread(target=self._run, name="breakers-database-link", daemon=True)
        self._thread.start()

    def begin_anew(self) -> None:
        """After ``fork``, in the child: a new instance over a connection of its own; see :func:`_before_fork`."""
        if self._closing.is_set():
            return
        self._closing = threading.Event()
        self.sync.begin_anew()
        self._begin()

    def status(self) -> LinkStatus:
        """Microseconds. ``server`` is empty: there is none."""
        return LinkStatus(
            connected=self._connected,
            since=self._since,
            server=None,
            revision=self.sync.revision,
            last_error=self._trouble,
            queued=len(self.sync.outbox),
            dropped=self.sync.outbox.dropped,
        )

    def close(self) -> None:
        """Writes what is left and that this instance is gone, for at most 2 s. A second time: nothing."""
        self.begin_close()
        self.finish_close(time.monotonic() + FLUSH)

    def begin_close(self) -> None:
        """The first half of :meth:`close`: does not wait."""
        self._closing.set()
        self.sync.close()
        self._wake.set()

    def finish_close(self, deadline: float) -> None:
        """The other half: waits for the flush until ``deadline``, in seconds of ``time.monotonic``."""
        if self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def ended(self) -> bool:
        """Whether its thread is gone, and its ``Sync`` free for another link."""
        return not self._thread.is_alive()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._try(self._converse)
            self._closing.wait(POLL)
        self._try(self._take_leave)
        self._connected = False

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a bug of ours must not reach the program, nor end what may work again
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        """Said once, until all is well again."""
        text, bug = f"{type(error).__name__}: {error}", not isinstance(error, DatabaseError)
        level = logging.DEBUG if self._trouble else logging.WARNING
        logger.log(level, "Not linked to the database, going on with the last config: %s", text, exc_info=bug)
        self._trouble = text
        if self._connected:
            self._connected, self._since = False, datetime.now(UTC)

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """A stretch with the database: nothing stays open after it, so that a fork finds nothing to inherit."""
        with self._at_work:
            try:
                yield
            finally:
                connection.close()

    def _converse(self) -> None:
        """From hello until the database fails, another one takes its place, or the link closes."""
        conversation = self._greet()
        while not self._closing.is_set():
            with self._connection():
                if not conversation.look():
                    break
                conversation.say(whole=True)
            if self._cache is not None:
                self._cache.write(self.sync.rows())
            self._news(time.monotonic() + POLL, conversation)

    def _greet(self) -> _Conversation:
        hello = self.sync.hello()
        conversation = _Conversation(self.sync, hello, self._row)
        with self._connection():
            conversation.begin(hello.registrations)
        self._connected, self._since, self._trouble = True, datetime.now(UTC), None
        return conversation

    def _news(self, until: float, conversation: _Conversation) -> None:
        """Reports what is urgent as it comes, until then (monotonic)."""
        while (left := until - time.monotonic()) > 0 and not self._closing.is_set():
            if self._wake.wait(left):
                self._closing.wait(COALESCE)
                self._wake.clear()
                with self._connection():
                    conversation.say(whole=False)

    def _take_leave(self) -> None:
        conversation = self._greet()
        with self._connection():
            conversation.say(whole=True)
            conversation.keep(gone=True)


class _Row:
    """What this process's row holds, and what of it is remembered from write to write."""

    def __init__(self) -> None:
        self.observed: dict[str, Observation] = {}
        self.written = False
        self.dropped = 0
        self.dropped_at: datetime | None = None
        self._resets: dict[str, float] = {}  # command id -> when it was carried out (monotonic)

    def confirm(self, commands: Iterable[str]) -> None:
        self._resets.update(dict.fromkeys(commands, time.monotonic()))

    def take(self, report: Report, now: datetime) -> Report:
        """Notes how things stand, and adds which resets were carried out."""
        for status in report.breakers:
            seen = self.observed.setdefault(status.name, Observation())
            seen.move(status.state, status.epoch, later(now, -status.state_age))
            seen.take(status, now)
            seen.counts, seen.latency = counts_of(status.counts), dict(status.latency)
            if status.forgotten:
                seen.forget_in(status.epoch)
        if report.dropped > self.dropped:
            self.dropped, self.dropped_at = report.dropped, now
        self._resets = {c: at for c, at in self._resets.items() if time.monotonic() - at < REMEMBER}
        return replace(report, resets=tuple(self._resets))

    def begin_again(self) -> None:
        """The row was deleted, long after it was folded: what it held stands in the sums."""
        for name, held in self._held.items():
            self.observed[name].begin_at(*held)

    def wrote(self) -> None:
        self.written = True
        self._held = {name: (seen.counts, seen.latency) for name, seen in self.observed.items()}


class _Conversation:
    """One stretch in which the database answered; raises what it raises."""

    def __init__(self, sync: Sync, hello: Hello, row: _Row) -> None:
        self._sync = sync
        started = datetime.fromtimestamp(hello.started_at, UTC)
        self._identity = InstanceIdentity(
            uuid.UUID(hello.instance), hello.service, hello.host, hello.pid, hello.library, started
        )
        self._row = row
        self._revision = -1
        self._keep_at = 0.0

    def begin(self, registrations: Iterable[Registration]) -> None:
        if not self._row.written:  # whoever adds a row sees to it that old ones go, where no server does
            services.instances_fold(before=timezone.now() - services.FOLD_AFTER)
        self._reclaim()
        services.instance_seen(identity=self._identity, direct=True)
        self._register(registrations)

    def look(self) -> bool:
        """Applies what is wanted, if that has changed. False: it is behind what it was, another database answers."""
        current = selectors.current_revision()
        if current < self._revision:
            return False
        if current > self._revision:
            state = selectors.desired_state()
            self._sync.receive(self._desired(state))
            self._revision = state.revision
        return True

    def _desired(self, state: DesiredState) -> Desired:
        now = timezone.now()
        rows = {name: record.desired(now) for name, record in state.breakers.items()} | dict(state.unreadable)
        mine = tuple(rows[b.name] for b in self._sync.registry.all() if b.name in rows)
        resets = tuple(
            ResetCommand(r.id, r.name, max((now - r.at).total_seconds(), 0.0), r.instance) for r in state.resets
        )
        return Desired(state.revision, breakers=mine, resets=resets)

    def say(self, *, whole: bool) -> None:
        """Writes all there is to report; each part is acknowledged once it is committed."""
        while report := self._sync.report(whole=whole, heartbeat=False):
            self._take(report)
            whole = False
        if time.monotonic() >= self._keep_at:
            self.keep()

    def _take(self, report: Report) -> None:
        if report.transitions:
            services.transitions_record(batch=[(self._identity, transition) for transition in report.transitions])
        self._register(report.registrations)
        self._row.confirm(report.resets)
        last = report.transitions[-1].sequence if report.transitions else 0
        self._sync.receive(Ack(id=report.id, sequence=last))

    def _register(self, registrations: Iterable[Registration]) -> None:
        new = tuple(registrations)
        if new:
            for refused in services.breakers_register(registrations=new, service=self._identity.service):
                logger.warning("%s: %s", self._identity.service, refused)
            self._revision = -1  # what is wanted of them has not been read yet

    def _reclaim(self) -> None:
        """After a month's sleep its row may have been folded and deleted."""
        if self._row.written and selectors.instance(self._identity.id) is None:
            self._row.begin_again()

    def keep(self, *, gone: bool = False) -> None:
        """Writes this instance's row: for a server that runs to show, and for one that starts to go on from."""
        self._reclaim()
        now, me = timezone.now(), self._identity
        report = self._row.take(self._sync.standing(), now)
        record = InstanceRecord(
            id=me.id,
            service=me.service,
            host=me.host,
            pid=me.pid,
            library=me.library,
            started_at=me.started_at,
            first_seen_at=now,
            last_seen_at=now,
            gone_at=now if gone else None,
            observed={name: seen.as_json() for name, seen in self._row.observed.items()},
            direct=True,
            dropped=self._row.dropped,
            dropped_at=self._row.dropped_at,
            report=json.loads(encode(report)),
        )
        services.instances_persist(rows=[record])
        self._row.wrote()
        self._keep_at = time.monotonic() + KEEP


_PATIENCE: Final = 1.0
"""Seconds that a fork waits at most for a link to finish its stretch with the database."""
_links: weakref.WeakSet[DatabaseLink] = weakref.WeakSet()
_paused: list[threading.Lock] = []


def _before_fork() -> None:
    """Neither SQLite nor libpq survives a fork in the middle of a transaction: the child would wait for its parent's
    locks for ever, or speak over its parent's socket."""
    deadline = time.monotonic() + _PATIENCE
    locks = [link._at_work for link in list(_links)]
    _paused.extend(lock for lock in locks if lock.acquire(timeout=max(0.0, deadline - time.monotonic())))


def _after_fork() -> None:
    while _paused:
        _paused.pop().release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_paused.clear)
