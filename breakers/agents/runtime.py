"""What runs beside the server's event loop: desired state read on every hint, time told to the fleet, totals kept.

``start()`` is called by the ASGI module; nothing starts on import.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.utils import timezone

from breakers import publish, services
from breakers.access.people import people_remember
from breakers.access.sessions import sessions_end
from breakers.events import bus
from breakers.fleet import fleet
from breakers.notifications import notifier
from breakers.outage import outage
from breakers.precedence import precedence
from breakers.sharing import peers

from .chores import chores, lease
from .hub import hub
from .overhearing import Overhearing
from .writer import writer

logger = logging.getLogger(__name__)

TICK: Final = 1.0
"""Seconds between two looks at the clock for the fleet."""
LOOK: Final = 2.0
"""Seconds between two looks at the database where no hint came: a lost one costs no more."""
KEEP: Final = 10.0
"""Seconds between two writes of totals, and between two looks at whose keys and sessions are good."""
KEEP_ALONE: Final = 5.0
"""Seconds between two writes of who is linked, while other servers have nothing but the database to know it from."""
FLUSH: Final = 5.0
_AGAIN: Final = 1.0


class _Chore:
    """Something to do every ``period`` seconds. Trouble with it is said once, and is not the others'."""

    def __init__(self, act: Callable[[], None], period: float) -> None:
        self._act, self._period = act, period
        self._trouble = False
        self.due = 0.0

    def do_if_due(self, now: float) -> None:
        if now < self.due:
            return
        self.due = now + self._period
        try:
            self._act()
        except Exception as error:
            if isinstance(error, DatabaseError):
                connection.close()
            level = logging.DEBUG if self._trouble else logging.ERROR
            logger.log(level, "The control plane is in trouble", exc_info=True)
            self._trouble = True
        else:
            self._trouble = False


class ControlPlane:
    """The thread. One a process: :data:`control_plane`."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._published = 0

    def start(self) -> None:
        if self._thread is not None:
            return
        writer.start()
        self._stopping.clear()
        self._unsubscribe = publish.subscribe(self._woken.set)
        self._thread = threading.Thread(target=self._run, name="control-plane", daemon=True)
        self._thread.start()
        if settings.REDIS_URL:
            threading.Thread(target=self._listen, name="control-plane-hints", daemon=True).start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Writes what the fleet has observed and what is queued, for a few seconds at most."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        atexit.unregister(self.stop)
        self._unsubscribe()
        self._stopping.set()
        self._woken.set()
        thread.join(FLUSH)
        writer.keep()
        writer.stop(FLUSH)

    def _run(self) -> None:
        chores = [
            _Chore(self._synchronise, LOOK),
            _Chore(Overhearing().look, LOOK),
            _Chore(self._tick, TICK),
            _Chore(self._keep, KEEP),
        ]
        chores += [_Chore(self._keep_alone, KEEP_ALONE)] if settings.REDIS_URL else []
        try:
            while not self._stopping.is_set():
                if self._woken.is_set():
                    self._woken.clear()
                    chores[0].due = 0.0
                for chore in chores:
                    chore.do_if_due(time.monotonic())
                self._woken.wait(max(0.0, min(chore.due for chore in chores) - time.monotonic()))
        finally:
            connection.close()

    def _synchronise(self) -> None:
        with precedence.taken():
            if fleet.synchronise() != self._published:  # also where a view has synchronised before us
                self._published = fleet.revision
                hub.publish()
        close_old_connections()

    def _tick(self) -> None:
        if gone := fleet.tick(timezone.now()):
            writer.persist(gone)

    def _keep(self) -> None:
        writer.keep()
        sessions_end()
        if outage.possible:
            services.keys_remember()
            people_remember()
        hub.dismiss_revoked()

    def _keep_alone(self) -> None:
        if peers.trouble is not None:
            fleet.write_down_links()
            writer.keep()

    def _listen(self) -> None:
        """Hints of other processes, over Redis."""
        while not self._stopping.is_set():
            try:
                asyncio.run(publish.listen())
            except Exception as error:
                logger.warning("Hints of other processes are not heard, looking every %g s: %s", LOOK, error)
                self._stopping.wait(_AGAIN)


control_plane = ControlPlane()


def start() -> None:
    """Idempotent."""
    bus.start()  # first, so that at the interpreter's exit it ends last and sends what the others wrote
    atexit.unregister(_end_rounds)
    atexit.register(_end_rounds)  # before the control plane, so that what agents reported is written first
    control_plane.start()
    if settings.REDIS_URL:
        peers.start(settings.REDIS_URL, writer.server)
    chores.start()
    notifier.start()


def _end_rounds() -> None:
    notifier.stop()
    chores.stop()
    lease.give_back()


def stop() -> None:
    """Flushes, for a few seconds at most. Idempotent."""
    bus.stop_taking()
    _end_rounds()
    control_plane.stop()
    bus.stop()
    peers.stop()  # last: others take over what was observed until now
