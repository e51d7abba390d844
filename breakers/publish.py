"""The hint that goes out when a write commits: "look at the database now". Losing one costs seconds, no more."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

logger = logging.getLogger("breakers")

GROUP: Final = "revisions"
_SEND_TIMEOUT: Final = 1.0

_subscribers: list[Callable[[], None]] = []
_lock = threading.Lock()


def subscribe(callback: Callable[[], None]) -> Callable[[], None]:
    """``callback`` runs after each hint, in any thread: it must be quick. Returns what ends the subscription."""
    with _lock:
        _subscribers.append(callback)

    def unsubscribe() -> None:
        with _lock:
            if callback in _subscribers:
                _subscribers.remove(callback)

    return unsubscribe


def wake() -> None:
    """Runs every subscriber of this process; one that raises is logged and the others still run."""
    with _lock:
        waiting = list(_subscribers)
    for callback in waiting:
        try:
            callback()
        except Exception:
            logger.exception("A subscriber to revisions failed")


def on_commit(revision: int) -> None:
    """Once the transaction commits, wakes this process and, where there is a Redis, tells the others ``revision``."""
    transaction.on_commit(lambda: _publish(revision), robust=True)


def _publish(revision: int) -> None:
    wake()
    if getattr(settings, "REDIS_URL", ""):  # the in-process layer reaches nobody else
        try:
            async_to_sync(send)(revision)
        except Exception as error:  # whatever a layer raises: the others look every two seconds anyway
            logger.warning("Other servers are not told of revision %d: %r", revision, error)


async def send(revision: int) -> None:
    """Tells the group :data:`GROUP`, waiting at most a second: the commit stands, and its caller wants an answer."""
    message = {"type": "revision.changed", "revision": revision}
    await asyncio.wait_for(get_channel_layer().group_send(GROUP, message), _SEND_TIMEOUT)


async def listen() -> None:
    """Wakes this process for each message that another one sends to :data:`GROUP`; runs until it is cancelled."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    wake()  # what was said meanwhile was not heard
    try:
        while True:
            await layer.receive(channel)
            wake()
    finally:
        await layer.group_discard(GROUP, channel)
