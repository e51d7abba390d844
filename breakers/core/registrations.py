"""Which breakers have still to be made known to the control plane."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import islice

from .breaker import CircuitBreaker
from .wire import Registration

REGISTER_AGAIN_AFTER = 5.0
"""Seconds between learning that a config was deleted and registering the name again: people see it gone first."""


class Registrations:
    """Names with the moment (seconds, monotonic) before which they are not due. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def add(self, name: str, *, not_before: float = 0.0) -> None:
        with self._lock:
            self._due[name] = not_before

    def cancel(self, name: str) -> None:
        with self._lock:
            self._due.pop(name, None)

    def cancel_later(self, name: str) -> None:
        """The control plane knows the name again: nothing is to be said of it later. What is due at once stays."""
        with self._lock:
            if self._due.get(name, 0.0) > 0.0:
                del self._due[name]

    def due(self, now: float, limit: int) -> list[str]:
        with self._lock:
            return list(islice((name for name, at in self._due.items() if at <= now), limit))

    def said(self, registrations: Iterable[Registration]) -> None:
        with self._lock:
            for registration in registrations:
                self._due.pop(registration.name, None)


def registration_of(breaker: CircuitBreaker) -> Registration:
    """With what it has in code, whatever the fleet says."""
    http = breaker.code_http_config
    return Registration(breaker.name, breaker.code_config.as_dict(), None if http is None else http.as_dict())
