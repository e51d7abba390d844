"""The breaker that code uses: it awaits; the machine decides."""

from __future__ import annotations

import asyncio
import time
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from math import inf, nextafter
from threading import get_ident
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from .config import CircuitBreakerConfig
from .deadlines import Deadline, current_task, no_task, queue_for
from .errors import CircuitBreakerOpenError
from .gate import Gate
from .guards import pop, push
from .judgement import ErrorFilter, Judgement
from .listeners import Listeners
from .machine import OPEN, Rejection
from .orders import Orderly, checked
from .states import Outcome, Permit
from .wrapping import fall_back, guard

__all__ = ["CircuitBreaker"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# without __init__, see there
_new_error: Callable[..., CircuitBreakerOpenError] = CircuitBreakerOpenError.__new__
SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE


_watchers: Listeners[CircuitBreakerOpenError] = Listeners()


def on_rejection(listener: Callable[[CircuitBreakerOpenError], object]) -> Callable[[], None]:
    """``listener(error)`` hears of each rejection of every breaker, where it happens; returns what ends this.

    While somebody listens, something else makes the errors: where nobody does, no call pays for it.
    """
    global _new_error
    end = _watchers.subscribe(listener)
    _new_error = _make_and_tell

    def unsubscribe() -> None:
        global _new_error
        end()
        if not _watchers:
            _new_error = CircuitBreakerOpenError.__new__

    return unsubscribe


def _make_and_tell(kind: type[CircuitBreakerOpenError], name: str, *facts: object) -> CircuitBreakerOpenError:
    error = CircuitBreakerOpenError.__new__(kind, name, *facts)
    _watchers.tell(name, error)
    return error


class CircuitBreaker(Orderly):
    """Guards the calls to one dependency. Shared freely between tasks, event loops and threads.

    ``clock`` (seconds, monotonic) is the only source of time. ``ignore`` and ``record`` are exception classes or a
    predicate: ignored exceptions are no evidence, those outside ``record`` are successes. ``failure_if(result)`` is
    true of a result that counts as a failure; the caller gets the result all the same.
    """

    __slots__ = ("__weakref__", "_failure_if", "_judgement")

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        ignore: ErrorFilter = (),
        record: ErrorFilter = (Exception,),
        failure_if: Callable[[Any], bool] | None = None,
    ) -> None:
        super().__init__(CircuitBreakerConfig() if config is None else checked(config), clock)
        self._judgement = Judgement(self.name, ignore, record, failure_if)
        self._failure_if = failure_if

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
                left = wall - start
                left = left if start + left >= wall else nextafter(left, inf)  # as until(), without its call
                raise _new_error(CircuitBreakerOpenError, self.name, OPEN, machine.reason, left)
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
            try:
                del entries[task]
            except KeyError:
                self._end_struck(Permit(gate.epoch, start), task, cancelling, gate.timeout, None)
                return result
        if self._failure_if is not None and self._settle_if_failure(Permit(gate.epoch, start), result):
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
        if self._failure_if is not None and self._settle_if_failure(Permit(gate.epoch, start), result):
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
        if deadline is not None and deadline.leave():
            self._end_struck(permit, deadline.task, deadline.cancelling, deadline.queue.limit, None)
        else:
            self._settle_result(permit, result)
        return result

    def _call_sync_permitted(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        permit = self.acquire()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self.settle_error(permit, error)
            raise
        self._settle_result(permit, result)
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
        gate = self._machine.gate
        push(self, False, self.acquire() if gate is None else Permit(gate.epoch, self._clock()), None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard = pop(self, False)
        if guard is None:
            return
        if error is None:
            self.settle(guard[2], SUCCESS)
        else:
            self.settle_error(guard[2], error)

    async def __aenter__(self) -> CircuitBreaker:
        gate = self._machine.gate
        if gate is None or gate.timeout is not None:
            permit, deadline = self._acquire_limited()
        else:
            permit, deadline = Permit(gate.epoch, self._clock()), None
        push(self, True, permit, deadline)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        guard = pop(self, True)
        if guard is None or guard[2].settled:  # a task with a copy of this context may have ended the body
            return
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
            left = wall - now
            left = left if now + left >= wall else nextafter(left, inf)  # as until(), without its call
            raise _new_error(CircuitBreakerOpenError, self.name, OPEN, machine.reason, left)
        answer = self._step(now, machine.acquire, now)
        if isinstance(answer, Rejection):
            raise _new_error(CircuitBreakerOpenError, self.name, *answer)
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
                # still one stretch without a call or a loop, see Gate
                if gate.low < now - permit.started_at <= gate.high:
                    gate.latency[gate.bucket] += 1
                    machine.streak = 0
                    machine.last_success = now
                    return
                passed = machine.pass_success(gate, permit.started_at, now)
            else:
                passed = outcome is FAILURE and machine.pass_failure(gate, permit.started_at, now)
            if passed:
                return
            permit.settled = False
        self._settle_at(now, permit, outcome, error, timed_out)

    def settle_error(self, permit: Permit, error: BaseException) -> None:
        """A permitted call raised ``error``, which ``ignore`` and ``record`` judge."""
        try:
            outcome = self.judge(error)
        except BaseException:  # a predicate that stops the program gives the slot back
            self.settle(permit, Outcome.NEUTRAL)
            raise
        self.settle(permit, outcome, error=error)

    def judge(self, error: BaseException) -> Outcome:
        """What a call counts as that raised ``error``, by ``ignore`` and ``record``."""
        return self._judgement.of_error(error)

    def _settle_result(self, permit: Permit, result: object) -> None:
        if not self._settle_if_failure(permit, result):
            self.settle(permit, SUCCESS)

    def _settle_if_failure(self, permit: Permit, result: object) -> bool:
        """Whether ``failure_if`` takes ``result`` for a failure."""
        try:
            outcome = self._judgement.of_result(result)
        except BaseException:  # as in settle_error
            self.settle(permit, Outcome.NEUTRAL)
            raise
        if outcome is FAILURE:
            self.settle(permit, FAILURE)
        return outcome is FAILURE

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
        if not (self._judgement.plain and isinstance(error, Exception)):
            self.settle_error(Permit(gate.epoch, start), error)
            return
        now = self._clock()
        if not self._machine.pass_failure(gate, start, now):
            self._settle_at(now, Permit(gate.epoch, start), FAILURE, error)

    def _acquire_limited(self) -> tuple[Permit, Deadline | None]:
        """A permit, with the deadline of the calling task armed where the config has a timeout."""
        machine, clock = self._machine, self._clock
        gate = machine.gate
        limit = machine.config.timeout if gate is None else gate.timeout
        if limit is None:
            return self.acquire(), None
        queue = None if gate is None else gate.queue
        if queue is None or queue.runner._thread_id != get_ident():
            queue = queue_for(get_running_loop(), limit, clock)
            if gate is not None:
                gate.queue = queue
        task = current_task(queue.loop) or no_task()
        permit = self.acquire()
        return permit, Deadline(queue, task, permit.started_at if queue.shared else queue.loop.time())

    def _end(self, permit: Permit, deadline: Deadline | None, error: BaseException | None) -> None:
        """Settles a call that ended well or raised ``error``. Raises as :meth:`_end_struck` does."""
        if deadline is not None and deadline.leave():
            self._end_struck(permit, deadline.task, deadline.cancelling, deadline.queue.limit, error)
        elif error is None:
            self.settle(permit, SUCCESS)
        else:
            self.settle_error(permit, error)

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
