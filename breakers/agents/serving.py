"""``manage.py serve``: daphne on uvloop, ready before its port opens, and drained before it ends.

daphne itself drops sockets and requests in flight when it is told to end, and knows neither the fleet nor the garbage
collector. Here nobody is let in before the fleet is known, and nobody is thrown out without a word.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import connection
from twisted.internet import asyncioreactor

from breakers.fleet import fleet

from . import collector, runtime
from .codes import RESTARTING, close

logger = logging.getLogger(__name__)

LOOK: Final = 0.05
"""Seconds between two looks at who is still here."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Refused(Exception):
    """The port cannot be had."""


def serve(
    load: Callable[[], Any],
    *,
    bind: str,
    port: int,
    patience: float,
    announce: Callable[[str], None],
    descriptor: int | None = None,
) -> None:
    """Serves the ASGI application that ``load`` gives until SIGTERM or SIGINT; a second one ends at once.

    With ``descriptor``, of a socket that listens already, instead of ``bind`` and ``port``: several may share it.

    In the main thread, once a process, before anything has installed a Twisted reactor. When it is to end, requests
    in flight have ``patience`` seconds; then what agents reported is written. Raises :class:`Refused`.
    """
    loop = _new_loop()
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]  # Twisted has types for some of itself
    from daphne.endpoints import build_endpoint_description_strings  # after the reactor: daphne takes what it finds
    from daphne.server import Server

    class DrainedServer(Server):  # daphne ships no types
        """Remembers its ports, so that they can be closed before it ends."""

        def run(self) -> None:
            self.ports: list[Any] = []
            super().run()

        def listen_success(self, port: Any) -> None:
            self.ports.append(port)
            super().listen_success(port)

    application = load()
    warm_up()
    place = {"host": bind, "port": port} if descriptor is None else {"file_descriptor": descriptor}
    where = build_endpoint_description_strings(**place)
    server = DrainedServer(application=application, endpoints=where, signal_handlers=False)
    server.ready_callable = lambda: announce(_greeting(server, loop))
    drain = Drain(server, loop, patience)
    for sign in SIGNALS:
        loop.add_signal_handler(sign, drain.begin)
    server.run()
    runtime.stop()
    if server.abort_start:
        raise Refused(f"{bind}:{port} cannot be listened on.")
    if not drain.complete:
        _leave_now()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _greeting(server: Any, loop: asyncio.AbstractEventLoop) -> str:
    places = ", ".join(f"http://{host}:{port}" for host, port in server.listening_addresses)
    return f"Serving on {places} (daphne on {type(loop).__module__.partition('.')[0]}, pid {os.getpid()})"


def warm_up() -> None:
    """Knows the fleet before anybody asks, and keeps the garbage collector off what will stay."""
    try:
        fleet.synchronise()
        fleet.rows()
    except DatabaseError as error:  # /health says so, and the runtime tries again
        logger.warning("Starting without the database: %s", error)
    finally:
        connection.close()
    collector.settle()


class Drain:
    """The end of a server: no new connections, sockets told to come back, requests in flight seen through."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._server, self._loop, self._patience = server, loop, patience
        self.complete = False
        """Whether everybody had left."""

    def begin(self) -> None:
        for sign in SIGNALS:  # the next one is for the operating system
            self._loop.remove_signal_handler(sign)
            signal.signal(sign, signal.SIG_DFL)
        logger.info("Draining: no new connections; requests in flight have %g s", self._patience)
        for port in self._server.ports:
            port.stopListening()
        self._deadline = self._loop.time() + self._patience
        self._look()

    def _look(self) -> None:
        present = self._present()
        _send_home(present)
        self.complete = not present
        if present and self._loop.time() < self._deadline:
            self._loop.call_later(LOOK, self._look)
        else:
            self._server.stop()

    def _present(self) -> list[Any]:
        """Open sockets and requests in flight; a connection that is merely kept alive is neither."""
        connections = self._server.connections
        return [protocol for protocol, facts in connections.items() if "disconnected" not in facts]


def _send_home(protocols: Iterable[Any]) -> None:
    for protocol in protocols:
        if hasattr(protocol, "sendCloseFrame") and protocol.state == protocol.STATE_OPEN:
            close(protocol, RESTARTING)  # one that is still opening gets it at the next look


def _leave_now() -> None:
    """Threads of requests that were cut off must not hold up the end; all that counts is written."""
    logging.shutdown()
    os._exit(0)
