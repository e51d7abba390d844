"""What a link applies and reports, without saying how it travels.

``Sync`` stands between a registry and whatever carries messages: a websocket, or the database itself. The carrier
calls :meth:`Sync.hello` after each connection, :meth:`Sync.receive` with what comes in, and :meth:`Sync.report` when
there is something to say or a heartbeat is due. Nothing here waits, and nothing here raises at the program.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace

from .breaker import CircuitBreaker
from .enforcement import ResetLog, enforce_config, enforce_override
from .errors import ConfigError
from .forgotten import Forgotten
from .outbox import Outbox
from .registrations import REGISTER_AGAIN_AFTER, Registrations, registration_of
from .registry import CircuitBreakerRegistry
from .snapshot import BreakerSnapshot
from .states import Transition
from .status import Baseline, status_of
from .wire import (
    MAX_BYTES,
    PROTOCOL,
    Ack,
    BreakerStatus,
    Desired,
    DesiredBreaker,
    FromServer,
    Hello,
    Refusal,
    Registration,
    Report,
    ResetCommand,
    Welcome,
    encode,
)

logger = logging.getLogger("breakers.link")

_AT_ONCE = 200
"""Breakers, or registrations, in one report."""
_SURELY_FITS = 100
"""A report of this many items is below MAX_BYTES whatever they hold."""
_LAST = -1
"""The mark of a forgotten one, whose status never changes again."""


def _mark(snapshot: BreakerSnapshot) -> tuple[int, int]:
    """Changes with whatever a report says; one that is made anew under a forgotten name has a later epoch."""
    return snapshot.epoch, snapshot.changes


class Sync:
    """One process's side of the conversation. Thread-safe; ``wake`` is called, quickly and from any thread, whenever
    something was added that should travel at once. ``clock`` is monotonic, ``wall`` is epoch seconds.

    ``from_now``: counts begin at zero now, for a registry whose past another ``Sync`` has reported already.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        *,
        service: str,
        library: str,
        capacity: int = 10_000,
        from_now: bool = False,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.registry, self.service, self.library = registry, service, library
        self.wake, self._clock, self._wall, self._capacity = wake, clock, wall, capacity
        self.server: str | None = None
        self._seeds: dict[str, DesiredBreaker] = {}
        self._begin(from_now=from_now)
        self._listen()

    def _listen(self) -> None:
        registry = self.registry
        self._unsubscribe = (
            registry.on_transition(self._transitioned),
            registry.on_register(self._registered),
            registry.on_forget(self._forgot),
        )

    def _begin(self, *, from_now: bool) -> None:
        self.instance = str(uuid.uuid4())
        self._exchange = threading.RLock()  # what the carrier does
        self._marks = threading.Lock()  # what the program's threads add; held for a line or two
        self.outbox = Outbox(self._capacity)
        self._started, self._started_at = self._clock(), self._wall()
        self._baselines = {b.name: Baseline.of(b.snapshot()) for b in self.registry.all()} if from_now else {}
        self._forgotten = Forgotten()
        self.revision = 0
        self._rows: dict[str, DesiredBreaker] = {}  # what was last taken from the fleet, a breaker
        self._refused: dict[str, Refusal] = {}
        self._resets = ResetLog(self._started)
        self._touched: set[str] = set()  # breakers whose status should travel at once
        self._registrations = Registrations()
        self._forget_connection()

    def begin_anew(self) -> None:
        """After ``fork``, in the child: a new instance that counts from now. Locks held at the fork are left behind."""
        self._begin(from_now=True)

    def close(self) -> None:
        """Listen no longer. What is queued can still be reported."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def reopen(self, service: str) -> None:
        """The same instance listens again."""
        self.close()
        self.service = service
        self._listen()

    # --- what the program does -----------------------------------------------------------------------------------

    def _transitioned(self, breaker: CircuitBreaker, transition: Transition) -> None:
        self.outbox.put(transition)
        self._touch(breaker.name)
        self.wake()

    def _registered(self, breaker: CircuitBreaker) -> None:
        self._registrations.add(breaker.name)
        self._go_on(breaker.name)
        self._sow(breaker.name)
        self.wake()

    def _forgot(self, breaker: CircuitBreaker) -> None:
        name = breaker.name
        self._forgotten.add(status_of(breaker.snapshot(), self._baselines.pop(name, None)))
        if name in self.registry:  # another thread has been quick to make it anew
            self._go_on(name)

    def _go_on(self, name: str) -> None:
        """One that is made anew counts on from the forgotten one's counts, and what the fleet wants holds for it."""
        last = self._forgotten.take(name)
        if last is not None:
            self._baselines[name] = Baseline.after(last)
        if name in self._rows:
            with self._exchange:
                row = self._rows.pop(name, None)
                if row is not None and not row.deleted:
                    self._apply_row(row)

    def _sow(self, name: str) -> None:
        with self._marks:
            seed = self._seeds.pop(name, None)
        if seed is not None:
            self._apply_row(seed)

    def _touch(self, name: str) -> None:
        with self._marks:
            self._touched.add(name)

    # --- what is said --------------------------------------------------------------------------------------------

    def _forget_connection(self) -> None:
        self._report_id = 0
        self._said: dict[str, tuple[int, int]] = {}  # breaker -> its mark when last reported on this connection
        self._backlog: list[str] = []
        self._revision_said = self.revision
        self._refusals_due = set(self._refused)
        self._resets.forget_connection()
        self._forgotten.forget_connection()
        self._answered = False  # whether this conversation has brought any desired state
        self.outbox.rewind()

    def hello(self) -> Hello:
        """Begins a conversation: whatever was not acknowledged in the last one will be said again."""
        with self._exchange:
            for breaker in self.registry.all():
                self._registrations.add(breaker.name)
            self._forget_connection()
            registrations = self._registrations_due(_AT_ONCE)
            self._registrations.said(registrations)
            return Hello(
                instance=self.instance,
                service=self.service,
                host=socket.gethostname(),
                pid=os.getpid(),
                library=self.library,
                now=self._wall(),
                started_at=self._started_at,
                protocol=PROTOCOL,
                revision=self.revision,
                registrations=registrations,
            )

    @property
    def urgent(self) -> bool:
        """Whether a report should go out now, and not at the next interval."""
        return bool(
            self._registrations.due(self._clock(), 1)
            or self.outbox.ready
            or self._touched
            or self._backlog
            or self._refusals_due
            or self._revision_said != self.revision
            or self._resets.unsaid(1)
        )

    def report(self, *, whole: bool = True, heartbeat: bool = True, transitions: int = 500) -> Report | None:
        """The next report: everything that changed if ``whole``, else what is urgent; at most ``transitions`` of them
        and never over MAX_BYTES, so ask again until there is none. With nothing to say: empty if ``heartbeat``.
        """
        with self._exchange:
            self._collect(whole=whole)
            if not (heartbeat or self.urgent):
                return None
            self._report_id += 1
            report = self._fitting(transitions)
            self._settle(report)
            return report

    def standing(self) -> Report:
        """How everything stands now, whatever was said of it: for who reads and does not answer. Numbered 0, without
        what is said once."""
        with self._exchange:
            names = [last.name for last in self._forgotten.all()] + [breaker.name for breaker in self.registry.all()]
            return Report(
                id=0,
                now=self._wall(),
                revision=self.revision,
                breakers=tuple(known[0] for name in dict.fromkeys(names) if (known := self._status(name)) is not None),
                refusals=tuple(self._refused[name] for name in sorted(self._refused)),
                dropped=self.outbox.dropped,
            )

    def _fitting(self, transitions: int) -> Report:
        limits = (transitions, _AT_ONCE)
        while True:
            report = self._draft(*limits)
            items = (report.breakers, report.transitions, report.registrations, report.refusals)
            if sum(map(len, items)) <= _SURELY_FITS or len(encode(report)) <= MAX_BYTES:
                return report
            self.outbox.give_back(len(report.transitions))
            limits = (max(1, limits[0] // 2), max(1, limits[1] // 2))

    def _collect(self, *, whole: bool) -> None:
        """Moves each breaker whose status is due to the backlog."""
        with self._marks:
            touched, self._touched = self._touched, set()
        names = (b.name for b in self.registry.all() if self._changed(b)) if whole else iter(touched)
        self._backlog = list(dict.fromkeys([*self._backlog, *names, *self._forgotten.due()]))

    def _changed(self, breaker: CircuitBreaker) -> bool:
        return self._said.get(breaker.name) != _mark(breaker.snapshot())

    def _status(self, name: str) -> tuple[BreakerStatus, tuple[int, int]] | None:
        """With its mark. Of a forgotten one the last."""
        baseline = self._baselines.get(name)  # before the breaker: never one that holds what the breaker counts too
        breaker = self.registry.get(name)
        if breaker is not None:
            snapshot = breaker.snapshot()
            return status_of(snapshot, baseline), _mark(snapshot)
        last = self._forgotten.get(name)
        return None if last is None else (last, (last.epoch, _LAST))

    def _draft(self, transitions: int, at_once: int) -> Report:
        said, refusals = self._backlog[:at_once], [self._refused[name] for name in sorted(self._refusals_due)]
        statuses = [known for name in said if (known := self._status(name)) is not None]
        self._saying = {status.name: mark for status, mark in statuses}
        return Report(
            id=self._report_id,
            now=self._wall(),
            revision=self.revision,
            breakers=tuple(status for status, _ in statuses),
            transitions=self.outbox.take(transitions),
            registrations=self._registrations_due(at_once),
            refusals=tuple(refusals[:at_once]),
            resets=self._resets.unsaid(at_once),
            dropped=self.outbox.dropped,
        )

    def _settle(self, report: Report) -> None:
        """``report`` goes out: what it says need not be said again on this connection."""
        self._said.update(self._saying)
        said = self._saying.keys()
        self._backlog = [name for name in self._backlog if name not in said and name in self.registry]
        self._forgotten.said((name for name, mark in self._saying.items() if mark[1] == _LAST), report.id)
        self._registrations.said(report.registrations)
        self._refusals_due -= {refusal.name for refusal in report.refusals}
        self._resets.said(report.resets, report.id)
        self._revision_said = report.revision

    def _registrations_due(self, limit: int) -> tuple[Registration, ...]:
        due = [(name, self.registry.get(name)) for name in self._registrations.due(self._clock(), limit)]
        for name, breaker in due:
            if breaker is None:  # the registry has forgotten it
                self._registrations.cancel(name)
        return tuple(registration_of(breaker) for _, breaker in due if breaker is not None)

    # --- what is heard -------------------------------------------------------------------------------------------

    def receive(self, message: FromServer) -> None:
        """Applies ``message``. In any order and any number of times: older never overwrites newer."""
        with self._exchange:
            if isinstance(message, Desired):
                self._apply(message)
            elif isinstance(message, Ack):
                self._acknowledged(message)
            elif isinstance(message, Welcome):
                self.server = message.server

    def _acknowledged(self, ack: Ack) -> None:
        self.outbox.acknowledge(ack.sequence)
        self._resets.acknowledge(ack.id)
        self._forgotten.acknowledge(ack.id)

    def _apply(self, desired: Desired) -> None:
        if not self._answered and desired.since is None and desired.revision < self.revision:
            self._start_over(desired.revision)
        self._answered = True
        for row in desired.breakers:
            if row.name in self.registry:
                self._apply_row(row)
            elif row.name in self._rows and self._rows[row.name].revision < row.revision:
                self._rows[row.name] = row  # of a forgotten one; holds for the one that is made anew
        if desired.since is None:
            self._return_absent(desired)
        for command in desired.resets:
            self._reset(command)
        if desired.since is None or desired.since <= self.revision:  # else rows are missing: our report says so
            self.revision = max(self.revision, desired.revision)

    def _start_over(self, revision: int) -> None:
        """The answer to our hello is behind what we hold: another database is the truth now, say a restored one."""
        logger.warning("The control plane is at revision %d, we were at %d: taking its word", revision, self.revision)
        self.revision = revision
        self._rows = {name: replace(row, revision=0) for name, row in self._rows.items()}

    def _apply_row(self, row: DesiredBreaker) -> None:
        """Takes a row that is newer than the one taken before; a config that cannot be is refused, the rest taken."""
        with self._exchange:
            breaker, known = self.registry.get(row.name), self._rows.get(row.name)
            if breaker is None or (known is not None and known.revision >= row.revision):
                return
            self._rows[row.name] = row
            self._refused.pop(row.name, None)
            self._refusals_due.discard(row.name)
            if row.deleted:
                self._registrations.add(row.name, not_before=self._clock() + REGISTER_AGAIN_AFTER)
            else:
                self._registrations.cancel_later(row.name)
            try:
                enforce_override(breaker, row)
                enforce_config(breaker, row)
            except Exception as error:  # whatever it is, the other breakers must get theirs
                self._refuse(row, error)
            self._touch(row.name)

    def _refuse(self, row: DesiredBreaker, error: Exception) -> None:
        text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        self._refused[row.name] = Refusal(row.name, row.revision, text[:500])
        self._refusals_due.add(row.name)
        logger.warning("Circuit breaker '%s' keeps its config, the pushed one is refused: %s", row.name, text)

    def _return_absent(self, desired: Desired) -> None:
        """The whole was sent: a row that we hold and that it does not name has been deleted."""
        named = {row.name for row in desired.breakers}
        for name in [name for name in self._rows if name not in named]:
            self._apply_row(DesiredBreaker(name, desired.revision, deleted=True))

    def _reset(self, command: ResetCommand) -> None:
        if not self._resets.admits(command, instance=self.instance, now=self._clock()):
            return
        breaker = self.registry.get(command.name)
        if breaker is not None:
            breaker.reset()
            self._resets.done(command.id)
            self._touch(command.name)

    # --- what is kept on disk --------------------------------------------------------------------------------------

    def rows(self) -> tuple[DesiredBreaker, ...]:
        """The fleet's last word on each breaker of this process."""
        with self._exchange:
            return tuple(row for row in self._rows.values() if not row.deleted)

    def seed(self, rows: Iterable[DesiredBreaker]) -> None:
        """Rows remembered from an earlier run: taken now, or when the program makes the breaker."""
        for row in rows:
            with self._marks:
                self._seeds[row.name] = replace(row, revision=0)  # whatever the server says is newer
            breaker = self.registry.get(row.name)
            if breaker is not None:
                self._sow(breaker.name)
