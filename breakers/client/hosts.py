"""Breakers of hosts that come and go: one a host and port, outside the registry, bounded in number."""

from __future__ import annotations

import functools
import re
import threading
from dataclasses import replace

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig


class Hosts:
    """At most ``most`` breakers, the longest unused dropped first, and each ``idle_after`` seconds after its last use.

    Finding one takes no lock; what is unused is looked for when a new host comes. ``now``: seconds, monotonic.
    """

    def __init__(self, config: CircuitBreakerConfig, most: int, idle_after: float) -> None:
        self._config = config
        self._most = most
        self._idle_after = idle_after
        self._breakers: dict[str, CircuitBreaker] = {}
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()  # sessions of several event loops may share one middleware

    def named(self, name: str, now: float) -> CircuitBreaker:
        found = self._breakers.get(name)
        if found is None or now - self._used.get(name, now) > self._idle_after:
            found = self._new(name, now)
        self._used[name] = now
        return found

    def _new(self, name: str, now: float) -> CircuitBreaker:
        with self._lock:
            kept = sorted((used, name) for name, used in self._used.items() if now - used <= self._idle_after)
            self._used = {name: used for used, name in kept[max(0, len(kept) + 1 - self._most) :]}
            self._breakers = {name: breaker for name, breaker in self._breakers.items() if name in self._used}
            self._used[name] = now
            return self._breakers.setdefault(name, CircuitBreaker(replace(self._config, name=name)))


@functools.lru_cache(maxsize=1024)
def name_of(host: str | None, port: int | None) -> str:
    """``host:port`` in the letters that a breaker's name may have."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "-", f"{host}:{port}")[-100:]
