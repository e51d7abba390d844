"""A thread that does one thing every so often, and at once when it is woken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, connection

logger = logging.getLogger("breakers.sharing")


class Loop:
    """``act`` runs every ``period`` seconds at the latest, and not more often than every ``rest``. It may raise."""

    def __init__(self, name: str, act: Callable[[], None], *, period: float, rest: float) -> None:
        self._name, self._act, self._period, self._rest = name, act, period, rest
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Idempotent."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Any thread; cheap to call too often."""
        self._woken.set()

    def stop(self, within: float) -> None:
        """Waits for what is under way. Idempotent."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        self._woken.set()
        if thread is not None:
            thread.join(within)

    def _run(self) -> None:
        trouble = False
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                self._woken.clear()
                try:
                    self._act()
                    trouble = False
                except DatabaseError as error:
                    logger.log(
                        logging.DEBUG if trouble else logging.WARNING,
                        "%s waits for the database: %s",
                        self._name,
                        error,
                    )
                    trouble = True
                except Exception:
                    level = logging.DEBUG if trouble else logging.ERROR
                    logger.log(level, "%s failed and is tried again", self._name, exc_info=True)
                    trouble = True
                finally:
                    connection.close()  # where it has one: back into the pool
                self._stopping.wait(max(self._rest - (time.monotonic() - began), 0.0))
                self._woken.wait(max(self._period - (time.monotonic() - began), 0.0))
        finally:
            connection.close()
