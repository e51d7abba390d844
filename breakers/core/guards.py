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

Guard = tuple["CircuitBreaker", bool, Permit, Deadline | None, Union["Guard", None]]
"""One body being guarded: breaker, whether by ``async with``, permit, deadline, and the guard around it. A plain tuple,
because a named one costs more than the rest of entering."""

# one variable for all breakers: contexts keep every variable they have seen alive
innermost: ContextVar[Guard | None] = ContextVar("breakers_guards", default=None)

_GENERATOR = CO_GENERATOR | CO_ASYNC_GENERATOR

_in_generators: dict[tuple[int, CircuitBreaker, bool], Guard] = {}
"""The newest body of each generator, by the identity of its frame, which nobody else has while a body in it is open. No
reference: that would keep all that the frame has in hand."""


def push(breaker: CircuitBreaker, asynchronous: bool, permit: Permit, deadline: Deadline | None) -> None:
    """A body begins. For ``__enter__`` and ``__aenter__``, whose caller's frame is that of the body."""
    frame = sys._getframe(2)
    if frame.f_code.co_flags & _GENERATOR:
        key = (id(frame), breaker, asynchronous)
        _in_generators[key] = (breaker, asynchronous, permit, deadline, _in_generators.get(key))
    else:
        innermost.set((breaker, asynchronous, permit, deadline, innermost.get()))


def pop(breaker: CircuitBreaker, asynchronous: bool) -> Guard | None:
    """The body that ends. For ``__exit__`` and ``__aexit__``, as :func:`push`.

    That of the calling generator, else the newest of ``breaker`` in this context; bodies may end in another order than
    they began. Of those with a deadline the running task's own comes first: tasks may share a context.
    """
    if _in_generators:
        key = (id(sys._getframe(2)), breaker, asynchronous)
        carried = _in_generators.pop(key, None)
        if carried is not None:
            if carried[4] is not None:
                _in_generators[key] = carried[4]
            return carried
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
