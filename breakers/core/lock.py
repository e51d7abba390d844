"""The lock of every rare step of every breaker, and what keeps it whole across ``fork``.

One for all: steps take a microsecond, and a finaliser that the garbage collector runs in the middle of a step may
settle a permit of another breaker; with a lock each, two threads could then wait for each other for ever. Re-entrant
for the same reason. Healthy calls do not take it at all, see :class:`~breakers.core.gate.Gate`.
"""

from __future__ import annotations

import os
import threading

LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):  # not on Windows
    # the child starts between two steps, never inside one that a vanished thread has begun
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
