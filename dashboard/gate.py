"""Whether a socket still takes bytes: daphne's ``send`` never waits, so one that does not read would grow memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any


class Gate:
    """Closed while the socket's write buffer is full; the push producer that Twisted's transport pauses and resumes."""

    def __init__(self, on_open: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_open = on_open
        self._clock = clock
        self._closed_at: float | None = None

    @property
    def closed(self) -> bool:
        return self._closed_at is not None

    @property
    def closed_for(self) -> float:
        """Seconds since the socket took the last of what it was sent; 0 while it takes more."""
        return 0.0 if self._closed_at is None else self._clock() - self._closed_at

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's IPushProducer
        if self._closed_at is None:
            self._closed_at = self._clock()

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's IPushProducer
        self._closed_at = None
        self._on_open()

    def stopProducing(self) -> None:  # noqa: N802  # Twisted's IPushProducer
        self.pauseProducing()


def watch(send: Any, on_open: Callable[[], None]) -> Gate:  # an ASGI send callable of any server
    """A gate on the transport behind daphne's ``send``; elsewhere one that never closes: their ``send`` waits."""
    gate = Gate(on_open)
    protocol = send.args[0] if isinstance(send, partial) and send.args else None
    transport: Any = getattr(protocol, "transport", None)
    if hasattr(transport, "registerProducer"):
        transport.unregisterProducer()  # the HTTP channel's, left there by the upgrade
        transport.registerProducer(gate, True)
    return gate
