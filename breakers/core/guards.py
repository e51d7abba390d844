"""The permits that ``with`` and ``async with`` bodies hold, in a context variable.

Each task and each thread has its own stack, so bodies that share a breaker never mix up their permits, and one body may
be entered inside another.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Union

from .deadlines import Deadline, current_task
from .states import Permit

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

Guard = tuple["CircuitBreaker", bool, Permit, Deadline | None, Union["Guard", None]]
"""One body being guarded: breaker, whether by ``async with``, permit, deadline, and the guard around it. A plain tuple,
because a named one costs more than the rest of entering."""

# one variable for all breakers: contexts keep every variable they have seen alive
innermost: ContextVar[Guard | None] = ContextVar("breakers_guards", default=None)


def pop(breaker: CircuitBreaker, asynchronous: bool) -> Guard | None:
    """The newest body of ``breaker`` in this context; bodies may end in another order than they began.

    Of those with a deadline the running task's own comes first: tasks may share a context.
    """
    newest = guard = innermost.get()
    found: Guard | None = None
    while guard is not None:
        if guard[0] is breaker and guard[1] is asynchronous:
            found = found or guard
            if guard[3] is None or current_task(guard[3].queue.loop) is guard[3].task:
                found = guard
                break
        guard = guard[4]
    if found is not None:
        innermost.set(found[4] if found is newest else _without(found, newest))
    return found


def _without(left: Guard, guard: Guard | None) -> Guard | None:
    inside = []
    while guard is not None and guard is not left:
        inside.append(guard)
        guard = guard[4]
    around = left[4]
    for kept in reversed(inside):
        around = (*kept[:4], around)
    return around
