"""The breaker that code uses: it reads the clock, awaits, locks and announces; the machine decides."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from threading import get_ident
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from . import guards
from .changes import Change, transition
from .config import CircuitBreakerConfig, HttpConfig
from .counts import Counts
from .deadlines import Deadline, current_task, no_task, queue_for
from .errors import CircuitBreakerOpenError, ConfigError
from .gate import Gate
from .judgement import ErrorFilter, Judgement
from .listeners import Listeners
from .lock import LOCK
from .machine import OPEN, Forced, Machine, Origin, Rejection
from .snapshot import BreakerSnapshot, metrics
from .states import CircuitBreakerState, Outcome, Override, Permit, Transition
from .wrapping import fall_back, guard

__all__ = ["BreakerSnapshot", "CircuitBreaker", "Counts", "TransitionListener"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
TransitionListener = Callable[[Transition], None]

# without __init__, see there
_new_error: Callable[..., CircuitBreakerOpenError] = CircuitBreakerOpenError.__new__
logger = logging.getLogger("breakers")
SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE


class CircuitBreaker:
    """Guards the calls to one dependency. Shared freely between tasks, event loops and threads.

    ``clock`` (seconds, monotonic) is the only source of time. ``ignore`` and ``record`` are exception classes or a
    predicate: ignored exceptions are no evidence, those outside ``record`` are successes. ``failure_if(result)`` is
    true of a result that counts as a failure; the caller gets the result all the same.
    """

    __slots__ = (
        "__weakref__", "_announcing", "_clock", "_code_config", "_code_http", "_config_version", "_failure_if",
        "_fleet_config", "_fleet_http", "_judgement", "_listeners", "_machine", "_owner",
        "_walls", "name",
    )  # fmt: skip

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        ignore: ErrorFilter = (),
        record: ErrorFilter = (Exception,),
        failure_if: Callable[[Any], bool] | None = None,
    ) -> None:
        config = CircuitBreakerConfig() if config is None else _checked(config)
        self.name = config.name
        self._clock = clock
        self._judgement = Judgement(config.name, ignore, record, failure_if)
        self._failure_if = failure_if
        self._machine = Machine(config, clock())
        self._code_config = config
        self._fleet_config: CircuitBreakerConfig | None = None
        self._config_version: int | None = None
        self._code_http: HttpConfig | None = None
        self._fleet_http: HttpConfig | None = None
        self._listeners: Listeners[Transition] = Listeners()
        self._owner: Listeners[CircuitBreaker, Transition] | None = None
        self._announcing = 0
        self._walls: dict[float | None, float] = {}

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._machine.state.value}>"

    # -- calls -------------------------------------------------------------------------------------------------------

    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Awaits ``function(*args, **kwargs)`` within the config's timeout.

        Raises what the function raises, ``TimeoutError`` past the limit, and ``CircuitBreakerOpenError`` instead of
        calling. A healthy call takes no lock and makes no object.
        """
        machine = self._machine
        gate = machine.gate
        clock = self._clock
        start = clock()
        if gate is None:
            wall = machine.wall
            # one stretch without a call or a loop, see Gate
            if wall is not None and start < wall:
                machine.rejected += 1
                raise _new_error(CircuitBreakerOpenError, self.name, OPEN, machine.reason, wall - start)
            return await self._call_permitted(function, *args, **kwargs)
        if gate.timeout is None:
            try:
                # without keywords no dict to merge; nothing of P is missing then
                result = await (function(*args, **kwargs) if kwargs else function(*args))  # type: ignore[call-arg]
            except BaseException as error:
                self._fail(gate, start, error)
                raise
        else:
            queue = gate.queue
            if queue is None or queue.runner._thread_id != get_ident():
                queue = gate.queue = queue_for(get_running_loop(), gate.timeout, clock)
            task, entries = current_task(queue.loop), queue.entries
            if task is None or task in entries:
                return await self._call_permitted(function, *args, **kwargs)
            cancelling = task.cancelling()
            entries[task] = start if queue.shared else queue.loop.time()
            if not queue.armed:
                queue.arm()
            try:
                # without keywords no dict to merge; nothing of P is missing then
                result = await (function(*args, **kwargs) if kwargs else function(*args))  # type: ignore[call-arg]
            except BaseException as error:
                if task in entries:
                    del entries[task]
                    self._fail(gate, start, error)
                else:
                    self._end_struck(Permit(gate.epoch, start), task, cancelling, gate.timeout, error)
                raise
            if task in entries:
                del entries[task]
            else:
                self._end_struck(Permit(gate.epoch, start), task, cancelling, gate.timeout, None)
                return result
        if self._failure_if is not None and self._judgement.of_result(result) is FAILURE:
            self.settle(Permit(gate.epoch, start), FAILURE)
            return result
        end = clock()
        # one stretch without a call or a loop, see Gate
        if machine.gate is gate and gate.low < end - start <= gate.high:
            gate.latency[gate.bucket] += 1
            machine.streak = 0
            machine.last_success = end
        else:
            self._succeed(gate, start, end)
        return result

    def call_sync(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls ``function(*args, **kwargs)`` from any thread. No timeout: a thread cannot be stopped."""
        machine = self._machine
        gate = machine.gate
        if gate is None:
            return self._call_sync_permitted(function, *args, **kwargs)
        clock = self._clock
        start = clock()
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)  # type: ignore[call-arg]  # see call
        except BaseException as error:
            self._fail(gate, start, error)
            raise
        if self._failure_if is not None and self._judgement.of_result(result) is FAILURE:
            self.settle(Permit(gate.epoch, start), FAILURE)
            return result
        end = clock()
        # one stretch without a call or a loop, see Gate
        if machine.gate is gate and gate.low < end - start <= gate.high:
            gate.latency[gate.bucket] += 1
            machine.streak = 0
            machine.last_success = end
        else:
            self._succeed(gate, start, end)
        return result

    async def _call_permitted(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`call`, with a permit of the machine's: while it is not plainly closed."""
        permit, deadline = self._acquire_limited()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._end(permit, deadline, error)
            raise
        self._end(permit, deadline, None, self._judgement.of_result(result))
        return result

    def _call_sync_permitted(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        permit = self.acquire()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._end(permit, None, error)
            raise
        self.settle(permit, self._judgement.of_result(result))
        return result

    def __call__(self, function: F) -> F:
        """As a decorator: guards a function, coroutine function, generator or async generator."""
        return guard(self, function)

    def protect(self, *, fallback: Callable[[Exception], Any] | None = None) -> Callable[[F], F]:
        """A decorator; ``fallback(error)`` answers for any ``Exception`` that the guarded call ends with."""

        def decorate(function: F) -> F:
            guarded = guard(self, function)
            return guarded if fallback is None else fall_back(guarded, fallback)

        return decorate

    def __enter__(self) -> CircuitBreaker:
        guards.push(self, False, self.acquire(), None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard = guards.pop(self, False)
        if guard is not None:
            self._end(guard[2], None, error)

    async def __aenter__(self) -> CircuitBreaker:
        permit, deadline = self._acquire_limited()
        guards.push(self, True, permit, deadline)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard = guards.pop(self, True)
        if guard is not None:
            self._end(guard[2], guard[3], error)

    # -- permits -----------------------------------------------------------------------------------------------------

    def acquire(self) -> Permit:
        """Leave for one call that the caller makes and then settles. Raises ``CircuitBreakerOpenError``."""
        machine = self._machine
        now = self._clock()
        gate, wall = machine.gate, machine.wall
        if gate is not None:
            return Permit(gate.epoch, now)
        # one stretch without a call or a loop, see Gate
        if wall is not None and now < wall:
            machine.rejected += 1
            raise _new_error(CircuitBreakerOpenError, self.name, OPEN, machine.reason, wall - now)
        answer = self._step(now, machine.acquire, now)
        if isinstance(answer, Rejection):
            raise CircuitBreakerOpenError(self.name, *answer)
        return answer

    def settle(
        self, permit: Permit, outcome: Outcome, *, error: BaseException | None = None, timed_out: bool = False
    ) -> None:
        """How a permitted call ended; it took from the permit's start until now. Settling twice changes nothing."""
        now = self._clock()
        machine = self._machine
        gate = machine.gate
        # no call between the question and the answer: of two threads that settle one permit only one gets in
        if gate is not None and gate.epoch == permit.epoch and not (permit.settled or timed_out):
            permit.settled = True
            if outcome is SUCCESS:
                passed = machine.pass_success(gate, permit.started_at, now)
            else:
                passed = outcome is FAILURE and machine.pass_failure(gate, permit.started_at, now)
            if passed:
                return
            permit.settled = False
        self._settle_at(now, permit, outcome, error, timed_out)

    def judge(self, error: BaseException) -> Outcome:
        """What a call counts as that raised ``error``, by ``ignore`` and ``record``."""
        return self._judgement.of_error(error)

    def _settle_at(
        self,
        now: float,
        permit: Permit,
        outcome: Outcome,
        error: BaseException | None = None,
        timed_out: bool = False,
    ) -> None:
        self._step(now, self._machine.settle, permit, outcome, now, error, timed_out)

    def _succeed(self, gate: Gate, start: float, now: float) -> None:
        """Settles a call that came through ``gate`` and ended well."""
        if not self._machine.pass_success(gate, start, now):
            self._settle_at(now, Permit(gate.epoch, start), SUCCESS)

    def _fail(self, gate: Gate, start: float, error: BaseException) -> None:
        """Settles a call that came through ``gate`` and raised ``error``."""
        judgement = self._judgement
        outcome = FAILURE if judgement.plain and isinstance(error, Exception) else judgement.of_error(error)
        now = self._clock()
        if outcome is not FAILURE or not self._machine.pass_failure(gate, start, now):
            self._settle_at(now, Permit(gate.epoch, start), outcome, error)

    def _acquire_limited(self) -> tuple[Permit, Deadline | None]:
        """A permit, with the deadline of the calling task armed where the config has a timeout."""
        limit = self._machine.config.timeout
        if limit is None:
            return self.acquire(), None
        loop = get_running_loop()
        task = current_task(loop) or no_task()
        permit = self.acquire()
        return permit, Deadline(queue_for(loop, limit, self._clock), task)

    def _end(
        self,
        permit: Permit,
        deadline: Deadline | None,
        error: BaseException | None,
        outcome: Outcome = SUCCESS,
    ) -> None:
        """Settles a call that raised ``error``, else ended as ``outcome``. Raises as :meth:`_end_struck` does."""
        if deadline is None or not deadline.leave():
            self.settle(permit, outcome if error is None else self.judge(error), error=error)
        else:
            self._end_struck(permit, deadline.task, deadline.cancelling, deadline.queue.limit, error)

    def _end_struck(
        self, permit: Permit, task: asyncio.Task[Any], cancelling: int, limit: float, error: BaseException | None
    ) -> None:
        """Settles a call whose deadline has struck, and so has asked ``task`` to cancel; takes that request back.

        ``cancelling`` is how often the task had been asked before the call began: more now is somebody else's request,
        and the task stays cancelled. Else ``TimeoutError`` takes the place of the cancellation.
        """
        alone, cancelled = task.uncancel() <= cancelling, isinstance(error, asyncio.CancelledError)
        if cancelled and not alone:
            self.settle(permit, Outcome.NEUTRAL)
            return
        late = TimeoutError(f"Circuit breaker '{self.name}': no answer within {limit:g} s")
        self.settle(permit, FAILURE, error=late if error is None or cancelled else error, timed_out=True)
        if cancelled:
            raise late from error

    # -- what it says ------------------------------------------------------------------------------------------------

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
            latency={bucket: count for bucket, count in enumerate(machine.latency) if count},
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

    # -- orders ------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """CLOSED, with streak, window and back-off cleared; calls in flight will be late. Lifts no override."""
        now = self._clock()
        self._step(now, self._machine.reset, now)

    def _place(self, state: CircuitBreakerState, note: str) -> None:
        """For :mod:`breakers.testing`: into OPEN from CLOSED, into HALF_OPEN from OPEN."""
        now, machine = self._clock(), self._machine
        self._step(now, machine.trip if state is OPEN else machine.begin_probing, now, note)

    def force_open(self, expires_in: float | None = None, reason: str = "") -> None:
        """Rejects every call until released, or for ``expires_in`` seconds."""
        self._force("code", Override.FORCED_OPEN, expires_in, reason)

    def force_closed(self, expires_in: float | None = None, reason: str = "") -> None:
        """Lets every call through until released, or for ``expires_in`` seconds; the machine goes on judging."""
        self._force("code", Override.FORCED_CLOSED, expires_in, reason)

    def release(self) -> None:
        """Lifts the override that code has set; the fleet's stays."""
        self._force("code", None, None, "")

    def set_fleet_override(
        self, override: Override | None, *, expires_in: float | None = None, reason: str = ""
    ) -> None:
        """The fleet's slot; it outranks the code's. ``None`` empties it."""
        self._force("fleet", override, expires_in, reason)

    def _force(self, origin: Origin, override: Override | None, expires_in: float | None, reason: str) -> None:
        if expires_in is not None:
            _check_duration(expires_in)
        now = self._clock()
        expires_at = inf if expires_in is None else now + expires_in
        forced = None if override is None else Forced(Override(override), expires_at, reason)
        self._step(now, self._machine.set_override, origin, forced, now)

    # -- configuration -----------------------------------------------------------------------------------------------

    @property
    def code_config(self) -> CircuitBreakerConfig:
        """What code gave last; in force unless the fleet has given another."""
        return self._code_config

    @property
    def config_version(self) -> int | None:
        """The version of the fleet's config, ``None`` while the code's is in force."""
        return self._config_version

    def configure(self, config: CircuitBreakerConfig) -> None:
        """A live edit by code: nothing learnt is lost, nothing is judged before the next completion."""
        given = replace(_checked(config), name=self.name)
        self._step(self._clock(), self._adopt_code, given)

    def apply_fleet_config(self, config: CircuitBreakerConfig | None, version: int | None) -> None:
        """The fleet's config outranks the code's; ``None`` returns to the code's."""
        given = None if config is None else replace(_checked(config), name=self.name)
        self._step(self._clock(), self._adopt_fleet, given, version)

    def _adopt_code(self, config: CircuitBreakerConfig) -> None:
        self._code_config = config
        self._machine.configure(self._fleet_config or config)

    def _adopt_fleet(self, config: CircuitBreakerConfig | None, version: int | None) -> None:
        self._fleet_config = config
        self._config_version = None if config is None else version
        self._machine.configure(config or self._code_config)

    @property
    def http_config(self) -> HttpConfig | None:
        """In force; ``None`` until an HTTP breaker of this name is made."""
        return None if self._code_http is None else self._fleet_http or self._code_http

    @property
    def code_http_config(self) -> HttpConfig | None:
        return self._code_http

    def set_http(self, http: HttpConfig) -> None:
        """What code gave to the HTTP breaker of this name."""
        self._code_http = http
        self._machine.revision += 1

    def apply_fleet_http(self, http: HttpConfig | None) -> None:
        """The fleet's outranks the code's; ``None`` returns to the code's."""
        self._fleet_http = http
        self._machine.revision += 1

    # -- steps and what they announce --------------------------------------------------------------------------------

    def on_transition(self, listener: TransitionListener) -> Callable[[], None]:
        """Calls ``listener(transition)`` after each change of state, in their order and outside any lock.

        The thread that caused the change runs it. Returns the function that ends this.
        """
        return self._listeners.subscribe(listener)

    def _step(self, now: float, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One step of the machine under the lock, after the overrides that have expired by ``now`` are lifted."""
        machine = self._machine
        with LOCK:
            machine.shut()
            if now >= machine.expires_at:
                machine.expire(now)
            answer = act(*args, **kwargs)
            machine.reopen()
        if machine.changes:
            self._announce()
        return answer

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
        logger.log(
            logging.WARNING if happened.to_state is OPEN else logging.INFO,
            "Circuit breaker '%s' went from %s to %s (%s): %s",
            self.name, happened.from_state.value, happened.to_state.value, happened.reason.value, happened.cause,
        )  # fmt: skip
        self._listeners.tell(self.name, happened)
        if self._owner is not None:
            self._owner.tell(self.name, self, happened)


def _checked(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    if not isinstance(config, CircuitBreakerConfig):
        raise TypeError(f"expected a CircuitBreakerConfig, not {config!r}")
    return config


def _check_duration(expires_in: float) -> None:
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not 0 < expires_in < inf:
        raise ConfigError({"expires_in": f"must be a finite number of seconds > 0, not {expires_in!r}"})
