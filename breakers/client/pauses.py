"""The wait between two attempts: it ends at once when the breaker would reject the next."""

from __future__ import annotations

import asyncio
import threading

from breakers.core.breaker import CircuitBreaker
from breakers.core.states import CircuitBreakerState, Override, Transition

_OPEN = CircuitBreakerState.OPEN
_FORCED_OPEN = Override.FORCED_OPEN


async def pause(breaker: CircuitBreaker, seconds: float) -> bool:
    """Whether ``seconds`` have passed; ``False`` when the breaker rejects."""
    loop, opened = asyncio.get_running_loop(), asyncio.Event()

    def look(transition: Transition) -> None:
        if _rejects(breaker):
            loop.call_soon_threadsafe(opened.set)

    unsubscribe = breaker.on_transition(look)
    try:
        if _rejects(breaker):
            return False
        async with asyncio.timeout(seconds):
            await opened.wait()
    except TimeoutError:
        return True
    finally:
        unsubscribe()
    return False


def pause_sync(breaker: CircuitBreaker, seconds: float) -> bool:
    """The same for plain functions."""
    opened = threading.Event()

    def look(transition: Transition) -> None:
        if _rejects(breaker):
            opened.set()

    unsubscribe = breaker.on_transition(look)
    try:
        return not _rejects(breaker) and not opened.wait(seconds)
    finally:
        unsubscribe()


def _rejects(breaker: CircuitBreaker) -> bool:
    seen = breaker.snapshot()
    return seen.override is _FORCED_OPEN or (seen.override is None and seen.state is _OPEN)
