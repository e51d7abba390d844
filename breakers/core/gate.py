"""The way through a closed circuit that takes no lock."""

from __future__ import annotations

import sys
from math import inf
from typing import TYPE_CHECKING

from .config import CircuitBreakerConfig
from .windows import CountWindow, TimeWindow, Window

if TYPE_CHECKING:
    from .deadlines import DeadlineQueue

LOCK_FREE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""False in a free-threaded interpreter: there the gate stays shut, and every step takes the lock."""


class Gate:
    """One is made for each epoch and each config of a closed circuit; also the permit of the calls that pass it.

    Another is made when its HTTP rules or its place in the registry change, too: what was learnt of a breaker holds for
    as long as the gate stands.

    A call reads ``machine.gate`` when it comes and, if that is not ``None``, is let in. When it has ended well it may
    count itself without the lock, in one stretch of code that begins with ``if machine.gate is gate`` and holds
    neither a call nor a loop. CPython hands the GIL to another thread only at calls and at backward jumps, so nothing
    comes between the question and the counting. Every locked step shuts the gate before it touches anything and
    opens it when it is done: no stretch runs during a locked step, and none outlives its epoch. (A debugger that traces
    every line of several threads calls between any two lines; under one, a count may be off.)
    """

    __slots__ = (
        "bucket", "count_window", "epoch", "failure_rate", "free", "high", "latency", "low", "minimum_calls", "near",
        "queue", "slow_after", "slow_rate", "streak_limit", "time_window", "timeout",
    )  # fmt: skip

    def __init__(self, epoch: int, config: CircuitBreakerConfig, window: Window | None, latency: list[int]) -> None:
        self.epoch = epoch
        self.timeout = config.timeout
        self.queue: DeadlineQueue | None = None
        """The deadlines of the event loop that called last."""
        self.latency = latency
        """The machine's own; empty until a locked step has counted the first call."""
        self.streak_limit = config.failure_threshold or inf
        self.minimum_calls = config.minimum_calls
        self.failure_rate = inf if config.failure_rate_threshold is None else config.failure_rate_threshold
        self.slow_rate = inf if config.slow_call_rate_threshold is None else config.slow_call_rate_threshold
        self.slow_after = inf if config.slow_call_duration is None else config.slow_call_duration
        # told apart here, because asking for a type would be a call
        self.count_window = window if isinstance(window, CountWindow) else None
        self.time_window = window if isinstance(window, TimeWindow) else None
        self.bucket, self.low, self.high = 0, inf, inf
        """A success that took more than ``low`` and at most ``high`` seconds changes nothing but three fields."""
        self.free = -inf
        """The same of one of at most ``free`` seconds, for those who find its bucket themselves: over a network hardly
        two take equally long. Learnt and forgotten with ``low``."""
        self.near = 0
        """The bucket that those found last: the next one is not far, and a few steps cost less than a search."""
