"""A thread that does things every so often, for as long as the server runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import close_old_connections, connection

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Chore:
    """``act`` runs every ``period`` seconds, the first time ``after`` seconds from the start."""

    act: Callable[[], object]
    period: float
    after: float = 0.0
    due: float = field(default=0.0, init=False)
    trouble: bool = field(default=False, init=False)


class Rounds:
    """One daemon thread for a few chores, one after the other. Trouble is said once and ends nothing."""

    def __init__(self, name: str, *chores: Chore) -> None:
        self._name = name
        self._chores = chores
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Idempotent."""
        if self._thread is not None:
            return
        self._stopping.clear()
        for chore in self._chores:
            chore.due = time.monotonic() + chore.after
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, within: float = 2.0) -> None:
        """Waits ``within`` seconds for a chore that is under way. Idempotent."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join(within)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(max(min(chore.due for chore in self._chores) - time.monotonic(), 0.0)):
                for chore in self._chores:
                    if chore.due <= time.monotonic():
                        chore.due = time.monotonic() + chore.period
                        self._do(chore)
        finally:
            connection.close()

    def _do(self, chore: Chore) -> None:
        try:
            chore.act()
            close_old_connections()
        except Exception:
            connection.close()  # whatever it was, the next round begins with a sound one
            level = logging.DEBUG if chore.trouble else logging.ERROR
            logger.log(level, "%s: a chore failed and is tried again in %g s", self._name, chore.period, exc_info=True)
            chore.trouble = True
        else:
            chore.trouble = False
