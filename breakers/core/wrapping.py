"""The decorators: each kind of function stays the kind it is."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .kinds import is_async_generator_function, is_coroutine_function, is_generator_function
from .states import Outcome

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

F = TypeVar("F", bound=Callable[..., Any])


def guard(breaker: CircuitBreaker, function: F) -> F:
    """``function``, guarded by ``breaker``. Generators are judged by how they end; closing one early is neutral."""
    if isinstance(function, staticmethod | classmethod):
        return cast(F, type(function)(guard(breaker, function.__func__)))
    if not callable(function):
        raise TypeError(f"a breaker decorates functions, not {function!r}")
    if is_async_generator_function(function):
        return cast(F, _async_generator(breaker, function))
    if is_generator_function(function):
        return cast(F, _generator(breaker, function))
    if is_coroutine_function(function):
        return cast(F, _coroutine(breaker, function))
    return cast(F, _plain(breaker, function))


def fall_back(guarded: F, fallback: Callable[[Exception], Any]) -> F:
    """``guarded``, answering with ``fallback(error)`` where it would raise an ``Exception``."""
    if isinstance(guarded, staticmethod | classmethod):
        return cast(F, type(guarded)(fall_back(guarded.__func__, fallback)))
    if not callable(fallback):
        raise TypeError(f"a fallback is a function of the error, not {fallback!r}")
    if inspect.isgeneratorfunction(guarded) or inspect.isasyncgenfunction(guarded):
        raise TypeError("a fallback answers for a plain or a coroutine function, not for a generator")
    if is_coroutine_function(guarded):
        return cast(F, _coroutine_with_fallback(guarded, fallback))
    if is_coroutine_function(fallback):
        raise TypeError("the fallback of a plain function must be a plain function")
    return cast(F, _plain_with_fallback(guarded, fallback))


def _coroutine(breaker: CircuitBreaker, function: Callable[..., Any]) -> Callable[..., Any]:
    call, machine, clock = breaker.call, breaker._machine, breaker._clock
    judged = breaker._failure_if is not None

    @wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        gate = machine.gate
        if gate is None or gate.timeout is not None or judged:
            return await call(function, *args, **kwargs)
        # the healthy half of CircuitBreaker.call: a coroutine inside a coroutine would cost a third more
        start = clock()
        try:
            result = await (function(*args, **kwargs) if kwargs else function(*args))
        except BaseException as error:
            breaker._fail(gate, start, error)
            raise
        end = clock()
        # one stretch without a call or a loop, see Gate
        if machine.gate is gate and gate.low < end - start <= gate.high:
            gate.latency[gate.bucket] += 1
            machine.streak = 0
            machine.last_success = end
        else:
            breaker._succeed(gate, start, end)
        return result

    return guarded


def _plain(breaker: CircuitBreaker, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return breaker.call_sync(function, *args, **kwargs)

    return guarded


def _generator(breaker: CircuitBreaker, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        permit = breaker.acquire()
        try:
            result = yield from function(*args, **kwargs)
        except BaseException as error:
            breaker.settle_error(permit, error)
            raise
        breaker.settle(permit, Outcome.SUCCESS)
        return result

    return guarded


def _async_generator(breaker: CircuitBreaker, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        permit = breaker.acquire()
        try:
            source = function(*args, **kwargs)
            step = source.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    break
                try:
                    step = source.asend((yield item))
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as thrown:
                    step = source.athrow(thrown)
        except BaseException as error:
            breaker.settle_error(permit, error)
            raise
        breaker.settle(permit, Outcome.SUCCESS)

    return guarded


def _coroutine_with_fallback(guarded: Callable[..., Any], fallback: Callable[[Exception], Any]) -> Callable[..., Any]:
    @wraps(guarded)
    async def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return await guarded(*args, **kwargs)
        except Exception as error:
            answer = fallback(error)
            return await answer if inspect.isawaitable(answer) else answer

    return answered


def _plain_with_fallback(guarded: Callable[..., Any], fallback: Callable[[Exception], Any]) -> Callable[..., Any]:
    @wraps(guarded)
    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return guarded(*args, **kwargs)
        except Exception as error:
            return fallback(error)

    return answered
