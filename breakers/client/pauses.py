"""The wait between two attempts: it ends at once when the breaker would reject the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from breakers.core.breaker import CircuitBreaker
from breakers.core.states import CircuitBreakerState, Override

_OPEN = CircuitBreakerState.OPEN
_FORCED_OPEN = Override.FORCED_OPEN


async def pause(breaker: CircuitBreaker, seconds: float) -> bool:
    """Whether ``seconds`` have passed; ``False`` when the breaker rejects."""
    loop, rejecting = asyncio.get_running_loop(), asyncio.Event()
    with _watching(breaker, lambda: loop.call_soon_threadsafe(rejecting.set)):
        if _rejects(breaker):
            return False
        try:
            async with asyncio.timeout(seconds):
                await rejecting.wait()
        except TimeoutError:
            return True
    return False


def pause_sync(breaker: CircuitBreaker, seconds: float) -> bool:
    """The same for plain functions."""
    rejecting = threading.Event()
    with _watching(breaker, rejecting.set):
        return not _rejects(breaker) and not rejecting.wait(seconds)


@contextmanager
def _watching(breaker: CircuitBreaker, call: Callable[[], object]) -> Iterator[None]:
    """Inside, ``call()`` when the breaker begins to reject, in the thread that has opened it or has had it forced."""

    def look(*_: object) -> None:
        if _rejects(breaker):
            call()

    ends = breaker.on_transition(look), breaker._orders.subscribe(look)
    try:
        yield
    finally:
        for end in ends:
            end()


def _rejects(breaker: CircuitBreaker) -> bool:
    seen = breaker.snapshot()
    return seen.override is _FORCED_OPEN or (seen.override is None and seen.state is _OPEN)
