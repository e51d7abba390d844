"""Many messages at once: those of one rule one after the other, those of several side by side."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from .messages import Outgoing
from .sending import TIMEOUT, send

PATIENCE: Final = 1.0
"""Seconds that a round waits for what it began; the end of what takes longer is told in a later one."""
BEGIN: Final = 5.0
"""Seconds in which the messages of one rule begin; those that have not wait for another round."""
WITHIN: Final = BEGIN + TIMEOUT + 1.0
"""Seconds until an attempt that does not end counts as failed."""

Settled = tuple[Outgoing, str | None]


class Couriers:
    """A target that hangs holds up the messages of its own rule, and nothing else. For one thread."""

    def __init__(
        self,
        send: Callable[[Outgoing], str | None] = send,
        *,
        patience: float | None = None,
        begin: float = BEGIN,
        within: float = WITHIN,
    ) -> None:
        self._send, self._begin, self._within = send, begin, within
        self._patience = PATIENCE if patience is None else patience
        self._under_way: dict[int, _Trip] = {}
        self._ended: _Ended = queue.SimpleQueue()

    def deliver(self, messages: Sequence[Outgoing]) -> Iterator[Settled]:
        """Each attempt that has ended, with its problem, ``None`` where it arrived; also of an earlier call.

        What is not told yet is under way, or was not tried: the one before it failed, or one of its rule is under way.
        """
        ended = list(self._settled(0.0))
        yield from ended
        known = {message.id for message, _ in ended}
        for rule, batch in _by_rule([message for message in messages if message.id not in known]).items():
            if rule not in self._under_way:
                self._under_way[rule] = _Trip(self._send, batch, self._begin, self._ended)
                self._under_way[rule].start()
        yield from self._settled(self._patience)
        yield from self._given_up()

    def _settled(self, patience: float) -> Iterator[Settled]:
        """What has ended, and what does so soon; nobody waits for who was given up."""
        until = time.monotonic() + patience
        while True:
            waits = any(not trip.given_up for trip in self._under_way.values())
            try:
                trip, settled = self._ended.get(timeout=max(until - time.monotonic(), 0.0) if waits else 0.0)
            except queue.Empty:
                return
            if settled is None:
                del self._under_way[trip.rule]
            elif not trip.given_up:
                yield settled

    def _given_up(self) -> Iterator[Settled]:
        """One thread at most goes on waiting for the target of a rule."""
        for trip in self._under_way.values():
            if not trip.given_up and time.monotonic() - trip.began > self._within:
                trip.given_up = True
                yield trip.trying, f"no answer within {self._within:g} s"


_Ended = queue.SimpleQueue["tuple[_Trip, Settled | None]"]


def _by_rule(messages: Sequence[Outgoing]) -> dict[int, list[Outgoing]]:
    found: dict[int, list[Outgoing]] = {}
    for message in messages:
        found.setdefault(message.rule, []).append(message)
    return found


class _Trip(threading.Thread):
    """The messages of one rule, until one does not arrive or the time to begin is over."""

    def __init__(
        self, send: Callable[[Outgoing], str | None], batch: Sequence[Outgoing], begin: float, ended: _Ended
    ) -> None:
        super().__init__(name="notify", daemon=True)
        self.rule, self.trying, self.began, self.given_up = batch[0].rule, batch[0], time.monotonic(), False
        self._send, self._batch, self._begin, self._ended = send, batch, begin, ended

    def run(self) -> None:
        for message in self._batch:
            if self.given_up or time.monotonic() - self.began >= self._begin:
                break
            self.trying = message
            problem = self._send(message)
            self._ended.put((self, (message, problem)))
            if problem is not None:
                break
        self._ended.put((self, None))
