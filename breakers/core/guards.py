"""The permits that ``with`` and ``async with`` bodies hold.

In a context variable: each task and each thread has its own stack, so bodies that share a breaker never mix up their
permits, and one body may be entered inside another. The body of a generator is found by its frame instead: a generator
is resumed in whichever context its reader has, and two of them interleave in one.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from typing import TYPE_CHECKING, Union

from .deadlines import Deadline, current_task
from .states import Permit

if TYPE_CHECKING:
    from .breaker import CircuitBreaker

Guard = tuple["CircuitBreaker", bool, Permit, Deadline | None, int, Union["Guard", None]]
"""One body being guarded: breaker, whether by ``async with``, permit, deadline, the identity of the frame that entered,
and the guard around it. A plain tuple, because a named one costs more than the rest of entering."""

# one variable for all breakers: contexts keep every variable they have seen alive
innermost: ContextVar[Guard | None] = ContextVar("breakers_guards", default=None)

_generators: dict[tuple[int, CircuitBreaker, bool], Guard] = {}
"""The newest body of each generator's frame. Only that frame touches its own entries."""

_GENERATOR = CO_GENERATOR | CO_ASYNC_GENERATOR


def push(breaker: CircuitBreaker, asynchronous: bool, permit: Permit, deadline: Deadline | None) -> None:
    """To be called by ``__enter__`` and ``__aenter__`` themselves: the frame that called those has the body."""
    frame = sys._getframe(2)
    body = id(frame)  # no reference: it would keep all that the body has in hand
    if frame.f_code.co_flags & _GENERATOR:
        key = (body, breaker, asynchronous)
        _generators[key] = (breaker, asynchronous, permit, deadline, body, _generators.get(key))
    else:
        innermost.set((breaker, asynchronous, permit, deadline, body, innermost.get()))


def pop(breaker: CircuitBreaker, asynchronous: bool) -> Guard | None:
    """The body that ends now; to be called by ``__exit__`` and ``__aexit__`` themselves.

    Bodies may end in another order than they began, and not where they began: an ``ExitStack`` enters in one frame and
    exits in another. Then it is the newest of ``breaker`` in this context; of those with a deadline the running task's
    own comes first, because tasks may share a context.
    """
    newest = innermost.get()
    body = id(sys._getframe(2))
    if _generators and (guard := _generators.pop((body, breaker, asynchronous), None)) is not None:
        if guard[5] is not None:
            _generators[body, breaker, asynchronous] = guard[5]
        return guard
    found = newest
    if newest is not None and (newest[4] != body or newest[0] is not breaker or newest[1] is not asynchronous):
        found = _search(newest, breaker, asynchronous, body)
    if found is not None:
        innermost.set(found[5] if found is newest else _without(found, newest))
    return found


def _search(guard: Guard | None, breaker: CircuitBreaker, asynchronous: bool, body: int) -> Guard | None:
    newest: Guard | None = None
    own: Guard | None = None
    while guard is not None:
        if guard[0] is breaker and guard[1] is asynchronous:
            if guard[4] == body:
                return guard
            newest = newest or guard
            if own is None and (guard[3] is None or current_task(guard[3].queue.loop) is guard[3].task):
                own = guard
        guard = guard[5]
    return own or newest


def _without(left: Guard, guard: Guard | None) -> Guard | None:
    inside = []
    while guard is not None and guard is not left:
        inside.append(guard)
        guard = guard[5]
    around = left[5]
    for kept in reversed(inside):
        around = (*kept[:5], around)
    return around
