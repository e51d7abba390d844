"""Many messages at once: those of one rule one after the other, those of several side by side."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from .messages import Outgoing
from .sending import TIMEOUT, send

BEGIN: Final = 5.0
"""Seconds in which the messages of one rule begin; those that have not wait for the next round."""
WITHIN: Final = BEGIN + TIMEOUT + 1.0
"""Seconds until a round goes on without an attempt that does not end."""

Settled = tuple[Outgoing, str | None]


class Couriers:
    """A target that hangs for ever holds up the messages of its own rule, and nothing else."""

    def __init__(
        self, send: Callable[[Outgoing], str | None] = send, *, begin: float = BEGIN, within: float = WITHIN
    ) -> None:
        self._send, self._begin, self._within = send, begin, within
        self._under_way: dict[int, _Round] = {}

    def deliver(self, messages: Sequence[Outgoing]) -> Iterator[Settled]:
        """Each attempt as it ends, with its problem, ``None`` where it arrived.

        What is not told was not tried: the one before it failed, or one of its rule is still under way.
        """
        self._under_way = {rule: each for rule, each in self._under_way.items() if each.is_alive()}
        ended: queue.SimpleQueue[tuple[_Round, Settled | None]] = queue.SimpleQueue()
        rounds = [
            _Round(self._send, batch, self._begin, ended)
            for rule, batch in _by_rule(messages).items()
            if rule not in self._under_way
        ]
        for each in rounds:
            self._under_way[each.rule] = each
            each.start()
        yield from self._settled(set(rounds), ended)

    def _settled(
        self, rounds: set[_Round], ended: queue.SimpleQueue[tuple[_Round, Settled | None]]
    ) -> Iterator[Settled]:
        until = time.monotonic() + self._within
        while rounds:
            try:
                its, settled = ended.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                break
            if settled is None:
                rounds.discard(its)
            else:
                yield settled
        for hanging in rounds:
            yield hanging.trying, f"no answer within {self._within:g} s"


def _by_rule(messages: Sequence[Outgoing]) -> dict[int, list[Outgoing]]:
    found: dict[int, list[Outgoing]] = {}
    for message in messages:
        found.setdefault(message.rule, []).append(message)
    return found


class _Round(threading.Thread):
    """The messages of one rule, until one does not arrive or the time to begin is over."""

    def __init__(
        self,
        send: Callable[[Outgoing], str | None],
        batch: Sequence[Outgoing],
        begin: float,
        ended: queue.SimpleQueue[tuple[_Round, Settled | None]],
    ) -> None:
        super().__init__(name="notify", daemon=True)
        self.rule, self.trying = batch[0].rule, batch[0]
        self._send, self._batch, self._ended = send, batch, ended
        self._until = time.monotonic() + begin

    def run(self) -> None:
        for message in self._batch:
            if time.monotonic() >= self._until:
                break
            self.trying = message
            problem = self._send(message)
            self._ended.put((self, (message, problem)))
            if problem is not None:
                break
        self._ended.put((self, None))
