"""The two threads of a server: one takes events from the stream, one puts events into it."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Final, NamedTuple

from django.conf import settings

from breakers import services
from breakers.services.outbox import woken

if TYPE_CHECKING:
    from .consumer import Consumer
    from .relay import Relay
    from .workers import Worker

PATIENCE: Final = 2.0
"""Seconds that each has to end."""
LATE: Final = 60.0
"""Seconds that an event may wait for the stream before ``/health`` says so."""


class Standing(NamedTuple):
    """How events go at this server. ``lag``: messages of the stream that no server has settled."""

    taking: bool
    sending: bool
    lag: int
    waiting: int
    waiting_seconds: float

    @property
    def late(self) -> bool:
        """Whether somebody should look."""
        return not self.taking or not self.sending or self.waiting_seconds > LATE


class EventBus:
    """One a process: :data:`bus`."""

    def __init__(self) -> None:
        self._in: Worker | None = None
        self._out: Worker | None = None
        self._relay: Relay | None = None
        self._consumer: Consumer | None = None

    def start(self) -> None:
        """Idempotent; nothing unless ``CIRCUIT_BREAKER_EVENTS``."""
        if self._in is not None or not settings.CIRCUIT_BREAKER_EVENTS:
            return
        from .consumer import Consumer  # a server without Redis loads nothing for it
        from .relay import Relay
        from .workers import Worker

        self._relay, self._consumer = Relay(), Consumer()
        self._in = Worker("events-in", settings.REDIS_URL, self._consumer)
        self._out = Worker("events-out", settings.REDIS_URL, self._relay)
        self._in.start()
        self._out.start()
        atexit.register(self.stop)

    def standing(self) -> Standing | None:
        """``None`` where there is no stream. Asks the database, what waits there."""
        if self._in is None or self._out is None or self._consumer is None:
            return None
        waiting, seconds = services.events_waiting()
        return Standing(
            taking=self._in.well, sending=self._out.well, lag=self._consumer.lag, waiting=waiting,
            waiting_seconds=seconds,
        )  # fmt: skip

    def stop_taking(self) -> None:
        """Takes nothing in any more: before the rest of the server ends. Idempotent."""
        consumer, self._in = self._in, None
        if consumer is not None:
            consumer.stop(PATIENCE)

    def stop(self) -> None:
        """Sends what has been written until now, while Redis answers: after all else has ended. Idempotent."""
        self.stop_taking()
        sender, self._out = self._out, None
        if sender is not None and self._relay is not None:
            atexit.unregister(self.stop)
            woken.set()
            sender.stop(PATIENCE)
            self._relay.give_back()


bus = EventBus()
"""Of this process."""
