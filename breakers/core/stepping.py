"""What every breaker does under the lock, and what it tells when the lock is free again."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Self, TypeVar, cast

from .changes import Change, transition
from .config import CircuitBreakerConfig
from .listeners import Listeners
from .lock import LOCK
from .log import log
from .machine import OPEN, Machine
from .snapshot import BreakerSnapshot, metrics
from .states import CircuitBreakerState, Transition

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

P = ParamSpec("P")
T = TypeVar("T")
TransitionListener = Callable[[Transition], None]

_OWED: deque[Stepping] = deque()
"""Breakers that changed in the midst of another one's step."""


def _owed() -> Stepping | None:
    try:
        return _OWED.popleft()
    except IndexError:
        return None


class Stepping:
    """A machine with its clock, its lock and its listeners."""

    __slots__ = (
        "_announcing", "_clock", "_config_version", "_listeners", "_machine", "_owner", "_stepping", "_walls", "name",
    )  # fmt: skip

    def __init__(self, config: CircuitBreakerConfig, clock: Callable[[], float]) -> None:
        self.name = config.name
        self._clock = clock
        self._machine = Machine(config, clock())
        self._config_version: int | None = None
        self._listeners: Listeners[Transition] = Listeners()
        self._owner: Listeners[CircuitBreaker, Transition] | None = None
        """Who else is told, the breaker first: the registry's."""
        self._stepping = False
        self._announcing = 0
        """The process that is at it."""
        self._walls: dict[float | None, float] = {}

    def __copy__(self) -> Self:
        """One breaker for one dependency: a copy of what holds it holds the same."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the breaker '{self.name}' belongs to its process; another one makes its own by name and config"
        )

    def begin_in(self, epoch: int) -> None:
        """Its first epoch, before anybody else knows of it."""
        self._machine.epoch = epoch
        self._machine.rebuild()
        self._machine.reopen()

    def disown(self) -> Change | None:
        """The registry speaks of it no more; what it has still to tell, of one that is not closed."""
        now = self._clock()
        self._owner = None
        return self._step(now, self._machine.disown, now)

    @property
    def config(self) -> CircuitBreakerConfig:
        """The config in force."""
        return self._machine.config

    @property
    def state(self) -> CircuitBreakerState:
        """The machine's own, whatever an override says. OPEN until a call comes, also when a probe is due."""
        self._notice_expiry()
        return self._machine.state

    def get_state(self) -> CircuitBreakerState:
        """The same as :attr:`state`."""
        return self.state

    def get_metrics(self) -> dict[str, Any]:
        """State, counts, window, latency and config at this moment, ready for JSON; counts are cumulative."""
        return metrics(self.snapshot())

    def snapshot(self) -> BreakerSnapshot:
        """The same as a frozen value, for reports."""
        now = self._clock()
        return self._step(now, self._snapshot, now)

    def _snapshot(self, now: float) -> BreakerSnapshot:
        machine = self._machine
        wall = self._wall_times(now)
        forced = machine.override
        counts = machine.counts()
        return BreakerSnapshot(
            name=self.name,
            state=machine.state,
            epoch=machine.epoch,
            state_age=max(0.0, now - machine.since),
            retry_after=machine.retry_after(now) if machine.state is OPEN and not machine.forced_open else None,
            override=None if forced is None else forced.override,
            override_origin=None if forced is None else "fleet" if forced is machine.fleet else "code",
            override_reason="" if forced is None else forced.reason,
            override_expires_in=None if forced is None or forced.expires_at == inf else forced.expires_at - now,
            config=machine.config,
            config_version=self._config_version,
            consecutive_failures=machine.streak,
            counts=counts,
            window=machine.tally(now),
            latency=machine.latencies(),
            last_failure_time=wall.get(machine.last_failure),
            last_success_time=wall.get(machine.last_success),
            opened_at=wall.get(machine.opened_at),
            changes=machine.revision + counts.requests + counts.would_reject,
        )

    def _wall_times(self, now: float) -> dict[float | None, float]:
        """Seconds since 1970 of the machine's three moments, worked out at the first look, so that they stand still.

        Calls read no wall clock: nothing that they do depends on it, and it costs as much as the rest of the counting.
        """
        machine, known, offset = self._machine, self._walls, time.time() - now
        moments = {machine.last_failure, machine.last_success, machine.opened_at}
        self._walls = {moment: known.get(moment, moment + offset) for moment in moments if moment is not None}
        return self._walls

    def _notice_expiry(self) -> None:
        """An override whose time has come is lifted by the clock; whoever looks first sees it."""
        if self._machine.expires_at is not inf and (now := self._clock()) >= self._machine.expires_at:
            self._step(now, self._machine.expire, now)

    def on_transition(self, listener: TransitionListener) -> Callable[[], None]:
        """Calls ``listener(transition)`` after each change of state, in their order and outside any lock.

        The thread that caused the change runs it. Returns the function that ends this.
        """
        return self._listeners.subscribe(listener)

    def _step(self, now: float, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One step of the machine under the lock, after the overrides that have expired by ``now`` are lifted."""
        machine = self._machine
        with LOCK:
            # a finaliser or a signal may come with a step of its own in the middle of one
            within, self._stepping = self._stepping, True
            machine.shut()
            try:
                if now >= machine.expires_at:
                    machine.expire(now)
                answer = act(*args, **kwargs)
            except BaseException:  # Ctrl-C, in the middle of a move
                machine.rebuild()
                raise
            finally:
                self._stepping = within
                if not within:
                    machine.reopen()
        if machine.changes or _OWED:
            self._announce_all()
        return answer

    def _announce_all(self) -> None:
        """What this step changed, and what those in its midst did. In the midst of one nothing: no listener may run."""
        if LOCK._is_owned():  # type: ignore[attr-defined]  # not in typeshed; threading.Condition asks it too
            _OWED.append(self)
            return
        self._announce()
        while (breaker := _owed()) is not None:
            breaker._announce()

    def _announce(self) -> None:
        """Tells what changed, in order: who finds another thread at it leaves it to that thread."""
        process = os.getpid()  # not a flag: a forked child must not wait for a thread that it does not have
        with LOCK:
            if self._announcing == process:
                return
            self._announcing = process
        try:
            while (change := self._next_change()) is not None:
                self._tell(transition(self.name, change))
        except BaseException:
            self._announcing = 0
            raise

    def _next_change(self) -> Change | None:
        with LOCK:
            changes = self._machine.changes
            if changes:
                return changes.pop(0)
            self._announcing = 0
            return None

    def _tell(self, happened: Transition) -> None:
        level = logging.WARNING if happened.to_state is OPEN else logging.INFO
        log(
            level, "Circuit breaker '%s' went from %s to %s (%s): %s",
            self.name, happened.from_state.value, happened.to_state.value, happened.reason.value, happened.cause,
            extra={
                "breaker": self.name, "from_state": happened.from_state.value, "to_state": happened.to_state.value,
                "reason": happened.reason.value, "cause": happened.cause,
            },
        )  # fmt: skip
        self._listeners.tell(self.name, happened)
        if self._owner is not None:
            self._owner.tell(self.name, cast("CircuitBreaker", self), happened)
