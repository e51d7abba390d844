"""Which process of a service handles an event: one at a time, also when the event stands in the stream twice."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from breakers.core.events import STREAM

DONE: Final = 86_400
"""Seconds for which an event that comes again is known to have been handled."""
_DONE: Final = b"1"
_CLAIM: Final = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""


class Claim(Enum):
    """What became of asking for an event."""

    MINE = auto()
    THEIRS = auto()
    """Another process is at it, or died at it a moment ago."""
    DONE = auto()


class Claims:
    """Of the process ``me`` in one consumer group. A claim that is not renewed ends after ``lease`` seconds."""

    def __init__(self, redis: Redis, group: str, me: str, lease: float) -> None:
        self._redis, self._prefix, self._me = redis, f"{STREAM}.done:{group}:", me.encode()
        self._milliseconds = max(int(lease * 1000), 1)
        self._held: str | None = None

    async def take(self, event_id: str) -> Claim:
        """Asks for the event; who has it already keeps it. One at a time."""
        claim = await self._ask(event_id)
        if claim is Claim.MINE:
            self._held = event_id
        return claim

    async def renew(self) -> None:
        """While its handlers run."""
        if self._held is not None:
            await self._ask(self._held)

    def settle(self, pipe: Pipeline, event_id: str, *, handled: bool) -> None:
        """Adds to ``pipe`` what ends the claim. Not ``handled``: who sends the event again wants it tried again."""
        self._held = None
        if handled:
            pipe.set(self._key(event_id), _DONE, ex=DONE)
        else:
            pipe.delete(self._key(event_id))

    async def _ask(self, event_id: str) -> Claim:
        claim = self._redis.register_script(_CLAIM)
        owner: Any = await claim(keys=[self._key(event_id)], args=[self._me, self._milliseconds])
        if owner == self._me:
            return Claim.MINE
        return Claim.DONE if owner == _DONE else Claim.THEIRS

    def _key(self, event_id: str) -> str:
        return self._prefix + event_id
