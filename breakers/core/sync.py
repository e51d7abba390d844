"""What a link applies and reports, without saying how it travels.

``Sync`` stands between a registry and whatever carries messages: a websocket, or the database itself. The carrier
calls :meth:`Sync.hello` after each connection, :meth:`Sync.receive` with what comes in, and :meth:`Sync.report` when
there is something to say or a heartbeat is due. Nothing here waits, and nothing here raises at the program.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from .breaker import CircuitBreaker
from .forgotten import Forgotten
from .outbox import Outbox
from .registrations import Registrations, registration_of
from .registry import CircuitBreakerRegistry
from .snapshot import BreakerSnapshot
from .states import Transition
from .status import Baseline, status_of
from .wanted import Wanted
from .wire import (
    MAX_BYTES,
    PROTOCOL,
    Ack,
    BreakerStatus,
    Desired,
    DesiredBreaker,
    FromServer,
    Hello,
    Registration,
    Report,
    Welcome,
    encode,
)

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
        self._seeds: dict[str, DesiredBreaker] = {}  # they outlive a fork
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
        self._started_at = self._wall()
        self._baselines = {b.name: Baseline.of(b.snapshot()) for b in self.registry.all()} if from_now else {}
        self._forgotten = Forgotten()
        self._touched: set[str] = set()  # breakers whose status should travel at once
        self._registrations = Registrations()
        self._wanted = Wanted(
            self.registry,
            self._registrations,
            instance=self.instance,
            lock=self._exchange,
            touch=self._touch,
            clock=self._clock,
            seeds=self._seeds,
        )
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

    @property
    def revision(self) -> int:
        """Of the desired state that was applied."""
        return self._wanted.revision

    def rows(self) -> tuple[DesiredBreaker, ...]:
        """The fleet's last word on each breaker of this process."""
        return self._wanted.rows()

    def seed(self, rows: Iterable[DesiredBreaker]) -> None:
        """Rows remembered from an earlier run: taken now, or when the program makes the breaker."""
        self._wanted.seed(rows)

    # --- what the program does -----------------------------------------------------------------------------------

    def _transitioned(self, breaker: CircuitBreaker, transition: Transition) -> None:
        self.outbox.put(transition)
        self._touch(breaker.name)
        self.wake()

    def _registered(self, breaker: CircuitBreaker) -> None:
        self._registrations.add(breaker.name)
        self._go_on(breaker.name)
        self._wanted.sow(breaker.name)
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
        self._wanted.apply_again(name)

    def _touch(self, name: str) -> None:
        with self._marks:
            self._touched.add(name)

    # --- what is said --------------------------------------------------------------------------------------------

    def _forget_connection(self) -> None:
        self._report_id = 0
        self._said: dict[str, tuple[int, int]] = {}  # breaker -> its mark when last reported on this connection
        self._backlog: list[str] = []
        self._revision_said = self.revision
        self._wanted.forget_connection()
        self._forgotten.forget_connection()
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
            or self._wanted.refusals_due(1)
            or self._revision_said != self.revision
            or self._wanted.resets.unsaid(1)
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
                refusals=self._wanted.refusals(),
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
        statuses = [known for name in self._backlog[:at_once] if (known := self._status(name)) is not None]
        self._saying = {status.name: mark for status, mark in statuses}
        return Report(
            id=self._report_id,
            now=self._wall(),
            revision=self.revision,
            breakers=tuple(status for status, _ in statuses),
            transitions=self.outbox.take(transitions),
            registrations=self._registrations_due(at_once),
            refusals=self._wanted.refusals_due(at_once),
            resets=self._wanted.resets.unsaid(at_once),
            dropped=self.outbox.dropped,
        )

    def _settle(self, report: Report) -> None:
        """``report`` goes out: what it says need not be said again on this connection."""
        self._said.update(self._saying)
        said = self._saying.keys()
        self._backlog = [name for name in self._backlog if name not in said and name in self.registry]
        self._forgotten.said((name for name, mark in self._saying.items() if mark[1] == _LAST), report.id)
        self._registrations.said(report.registrations)
        self._wanted.said(report.refusals)
        self._wanted.resets.said(report.resets, report.id)
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
                self._wanted.take(message)
            elif isinstance(message, Ack):
                self._acknowledged(message)
            elif isinstance(message, Welcome):
                self.server = message.server

    def _acknowledged(self, ack: Ack) -> None:
        self.outbox.acknowledge(ack.sequence)
        self._wanted.resets.acknowledge(ack.id)
        self._forgotten.acknowledge(ack.id)
