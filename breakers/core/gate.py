"""The way through a closed circuit that takes no lock."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .config import CircuitBreakerConfig
from .windows import Window

if TYPE_CHECKING:
    from .deadlines import DeadlineQueue

LOCK_FREE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""False in a free-threaded interpreter: there the gate stays shut, and every step takes the lock."""


class Gate:
    """One is made for each epoch and each config of a closed circuit; also the permit of the calls that pass it.

    A call reads ``machine.gate`` when it comes and, if that is not ``None``, is let in. When it has ended well it may
    count itself without the lock, in one stretch of code that begins with ``if machine.gate is gate`` and holds
    neither a call nor a loop. CPython hands the GIL to another thread only at calls and at backward jumps, so nothing
    comes between the question and the counting. Every locked step shuts the gate before it touches anything and
    opens it when it is done: no stretch runs during a locked step, and none outlives its epoch.
    """

    __slots__ = ("epoch", "plain", "queue", "slow_after", "timeout", "window")

    def __init__(self, epoch: int, config: CircuitBreakerConfig, window: Window | None) -> None:
        self.epoch = epoch
        self.timeout = config.timeout
        self.queue: DeadlineQueue | None = None
        """The deadlines of the event loop that called last."""
        self.slow_after = config.slow_call_duration
        self.window = window
        self.plain = window is None and self.slow_after is None
