"""Breakers of hosts that come and go: one a host and port in the process's registry, bounded in number."""

from __future__ import annotations

import functools
import re
import threading

from breakers.client.link import get_circuit_breaker
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.registry import registry


class Hosts:
    """At most ``most`` breakers of its own making, the longest unused dropped first, and each ``idle_after`` seconds
    after its last use here.

    Finding one takes no lock; what is unused is looked for when a new host comes. ``now``: seconds, monotonic.
    """

    def __init__(self, config: CircuitBreakerConfig | None, http: HttpConfig, most: int, idle_after: float) -> None:
        self._config, self._http = config, http
        self._most = most
        self._idle_after = idle_after
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()  # sessions of several event loops may share one middleware

    def named(self, name: str, now: float) -> CircuitBreaker:
        found = registry.get(name)
        if found is None or now - self._used.get(name, now) > self._idle_after:
            found = self._new(name, now)
        if name in self._used:
            self._used[name] = now
        return found

    def _new(self, name: str, now: float) -> CircuitBreaker:
        with self._lock:
            self._drop_unused(now)
            found = registry.get(name)
            if found is None:  # else the program made one of this name itself, and it is not ours to drop
                found = get_circuit_breaker(name, self._config, http=self._http)
                self._used[name] = now
            return found

    def _drop_unused(self, now: float) -> None:
        by_use = sorted(self._used, key=self._used.__getitem__)
        excess = len(by_use) + 1 - self._most
        for position, name in enumerate(by_use):
            if position < excess or now - self._used[name] > self._idle_after:
                del self._used[name]
                registry.forget(name)


@functools.lru_cache(maxsize=1024)
def name_of(host: str | None, port: int | None) -> str:
    """``host:port`` in the letters that a breaker's name may have."""
    return re.sub(r"[^A-Za-z0-9_.:-]", "-", f"{host}:{port}")[-100:]
