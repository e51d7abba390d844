"""The permits that ``with`` and ``async with`` bodies hold, in a context variable.

Each task and each thread has its own stack, so bodies that share a breaker never mix up their permits, and one body may
be entered inside another.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from .deadlines import Deadline
from .states import Permit

if TYPE_CHECKING:
    from .breaker import CircuitBreaker


class Guard(NamedTuple):
    """One body being guarded."""

    breaker: CircuitBreaker
    permit: Permit
    deadline: Deadline | None
    asynchronous: bool


# one variable for all breakers: contexts keep every variable they have seen alive
_guards: ContextVar[tuple[Guard, ...]] = ContextVar("breakers_guards", default=())


def push(guard: Guard) -> None:
    _guards.set((*_guards.get(), guard))


def pop(breaker: CircuitBreaker, *, asynchronous: bool) -> Guard | None:
    """The newest body of ``breaker`` in this context; bodies may end in another order than they began."""
    stack = _guards.get()
    for place in range(len(stack) - 1, -1, -1):
        found = stack[place]
        if found.breaker is breaker and found.asynchronous is asynchronous:
            _guards.set(stack[:place] + stack[place + 1 :])
            return found
    return None
