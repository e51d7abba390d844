"""Which kind of function one is given, and which exceptions nobody may swallow."""

from __future__ import annotations

import inspect
from collections.abc import Callable

STOPS_THE_PROGRAM = (KeyboardInterrupt, SystemExit)
"""Whatever else a predicate or a listener raises is a bug of theirs, and no harm to the caller."""


def is_coroutine_function(function: object) -> bool:
    return _is(inspect.iscoroutinefunction, function)


def is_generator_function(function: object) -> bool:
    return _is(inspect.isgeneratorfunction, function)


def is_async_generator_function(function: object) -> bool:
    return _is(inspect.isasyncgenfunction, function)


def _is(kind: Callable[[object], bool], function: object) -> bool:
    """Also of an object whose ``__call__`` is one; not of a class whose instances are such objects."""
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004  # not whether it is callable
