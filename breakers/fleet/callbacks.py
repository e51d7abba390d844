"""Who wants to be called, and calling them so that none can harm another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")

logger = logging.getLogger("breakers.fleet")


class Callbacks(Generic[P]):
    """Added, taken out and called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[P, None]] = {}

    def add(self, callback: Callable[P, None]) -> Callable[[], None]:
        """Returns what takes it out again; a second time changes nothing."""
        ticket = object()
        with self._lock:
            self._callbacks[ticket] = callback

        def end() -> None:
            with self._lock:
                self._callbacks.pop(ticket, None)

        return end

    def call(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Each with these arguments; one that raises is logged, and the others still run."""
        with self._lock:
            callbacks = tuple(self._callbacks.values())
        for callback in callbacks:
            try:
                callback(*args, **kwargs)
            except Exception:
                logger.exception("A subscriber of the fleet failed; the others still run")
