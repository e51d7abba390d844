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
from collections.abc import Callable, Iterable, Iterator

from .breaker import CircuitBreaker
from .outbox import Outbox
from .partings import Partings
from .registrations import Registrations, registration_of
from .registry import CircuitBreakerRegistry
from .states import Transition
from .status import Mark, Standing
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
_LATEST = 2_000
"""Forgotten names of which it is told again and again how they stand: nothing comes of the others any more."""
_FEW = 1_000
"""Names: so many cost nothing worth looking at."""
_SURELY_FITS = 100
"""A report of this many items is below MAX_BYTES whatever they hold."""


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
        self._closed = False
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
        self._partings = Partings(self.registry, from_now=from_now)
        self._baselines = {one.name: one.totals for one in self._standings()} if from_now else {}
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
        """Listen no longer. What is queued, and what has been counted until then, can still be reported."""
        self._closed = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def reopen(self, service: str) -> None:
        """The same instance listens again."""
        self.close()
        self.service = service
        self._closed = False
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
        self._wanted.apply_again(breaker.name)
        self._wanted.sow(breaker.name)
        self.wake()

    def _forgot(self, breaker: CircuitBreaker) -> None:
        self._partings.add(breaker.name)

    def _touch(self, name: str) -> None:
        with self._marks:
            self._touched.add(name)

    # --- what is said --------------------------------------------------------------------------------------------

    def _forget_connection(self) -> None:
        self._report_id = 0
        self._said: dict[str, Mark] = {}  # of each breaker when it was last reported on this connection
        self._kept = 0  # how many of them were left when those of unknown names were last dropped
        self._backlog: list[str] = []
        self._revision_said = self.revision
        self._wanted.forget_connection()
        self._partings.forget_connection()
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
            return Report(
                id=0,
                now=self._wall(),
                revision=self.revision,
                breakers=tuple(map(self._status, self._standings(forgotten=_LATEST))),
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
        names = [*self._changed(), *self._partings.due(self._said, thorough=self._closed)] if whole else touched
        self._backlog = list(dict.fromkeys([*self._backlog, *names]))

        self._drop_unknown()

    def _drop_unknown(self) -> None:
        """Nothing is kept of names that the registry no longer remembers. Now and then: it takes a look at all."""
        if len(self._said) > 2 * self._kept + _FEW:
            remembered = set(self.registry.forgotten())
            self._wanted.keep_only(remembered)
            self._said = {n: mark for n, mark in self._said.items() if n in remembered or n in self.registry}
            self._kept = len(self._said)

    def _changed(self) -> Iterator[str]:
        for breaker in self.registry.all():
            standing = Standing.of(self.registry, breaker.name)
            if standing is not None and standing.mark != self._said.get(breaker.name):
                yield breaker.name

    def _standings(self, *, forgotten: int | None = None) -> list[Standing]:
        """Of all names that this process knows; of the forgotten only the latest ``forgotten``."""
        last = self.registry.forgotten()[-forgotten if forgotten else None :]
        names = dict.fromkeys([*last, *(breaker.name for breaker in self.registry.all())])
        return [standing for name in names if (standing := Standing.of(self.registry, name)) is not None]

    def _status(self, standing: Standing) -> BreakerStatus:
        return standing.status(self._baselines.get(standing.name))

    def _draft(self, transitions: int, at_once: int) -> Report:
        self._saying = {name: Standing.of(self.registry, name) for name in self._backlog[:at_once]}
        return Report(
            id=self._report_id,
            now=self._wall(),
            revision=self.revision,
            breakers=tuple(self._status(one) for one in self._saying.values() if one is not None),
            transitions=self.outbox.take(transitions),
            registrations=self._registrations_due(at_once),
            refusals=self._wanted.refusals_due(at_once),
            resets=self._wanted.resets.unsaid(at_once),
            dropped=self.outbox.dropped,
        )

    def _settle(self, report: Report) -> None:
        """``report`` goes out: what it says need not be said again on this connection."""
        for standing in filter(None, self._saying.values()):
            self._said[standing.name] = standing.mark
            if standing.present is None:
                self._partings.said(standing.name, standing.mark, report.id)
        self._backlog = [name for name in self._backlog if name not in self._saying]
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
        self._partings.acknowledge(ack.id)
