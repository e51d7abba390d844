"""The time limits of a request: the caller's for all attempts together, the breaker's for each."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Any

from aiohttp import ClientSession, ClientTimeout
from aiohttp.helpers import sentinel


def total_of(session: ClientSession, options: Mapping[str, Any]) -> ClientTimeout:
    """The limits that the caller set for the whole request, as aiohttp reads them. Raises ``TypeError``."""
    given = options.get("timeout", session.timeout)
    if isinstance(given, ClientTimeout):
        return given
    if given is None or isinstance(given, int | float):
        return ClientTimeout(total=given)
    if given is sentinel:
        return session.timeout
    raise TypeError(f"timeout must be a ClientTimeout or a number of seconds, not {given!r}")


def what_remains(limits: ClientTimeout, spent: float) -> ClientTimeout | None:
    """The limits of an attempt that begins ``spent`` seconds after the first; ``None``: the time is up."""
    if limits.total is None or limits.total <= 0:  # no limit
        return limits
    return _with_total(limits, limits.total - spent, limits.ceil_threshold) if spent < limits.total else None


def time_is_up(limits: ClientTimeout, started: float) -> bool:
    """Whether a request that began at ``started`` (seconds, monotonic) is past its total limit."""
    return what_remains(limits, monotonic() - started) is None


_last: tuple[ClientTimeout | None, float | None, ClientTimeout] = (None, None, ClientTimeout())


def bounded(limits: ClientTimeout, most: float | None) -> ClientTimeout:
    """``limits`` with at most ``most`` seconds in total: aiohttp's own timer then watches over the attempt for nothing.

    To the moment: aiohttp would put off what is longer than 5 s to a whole second.
    """
    global _last
    known, bound, found = _last
    if known is limits and bound == most:  # one session and one breaker, again and again
        return found
    found = (
        limits
        if most is None or (limits.total is not None and 0 < limits.total <= most)
        else _with_total(limits, most, inf)
    )
    _last = limits, most, found
    return found


def _with_total(limits: ClientTimeout, total: float, ceil_threshold: float) -> ClientTimeout:
    return ClientTimeout(
        total=total,
        connect=limits.connect,
        sock_read=limits.sock_read,
        sock_connect=limits.sock_connect,
        ceil_threshold=ceil_threshold,
    )
