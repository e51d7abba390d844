"""From the stream into the fleet: a service that is well again has its breakers reset.

Servers share one consumer group. A message is acknowledged when the database has what it asked for; a server that dies
before leaves it pending, and another claims it. What was applied already, the database knows.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.db import InterfaceError, OperationalError
from redis import Redis, ResponseError

from breakers import services
from breakers.core.events import (
    DEAD,
    DEAD_LENGTH,
    FIELD,
    MAX_BYTES,
    RECOVERY,
    STREAM,
    STREAM_LENGTH,
    EventError,
    read_event,
    recovered_service,
)

from . import counts

logger = logging.getLogger(__name__)

GROUP: Final = "circuit_breaker_service"
AT_ONCE: Final = 100
PATIENCE: Final = 1.0
"""Seconds that Redis may keep us waiting for a message."""
RECLAIM: Final = 10.0
"""Seconds after which a message is taken over that somebody else did not acknowledge."""
FORGOTTEN: Final = 3600.0
"""Seconds without a sign after which a consumer's name is dropped from the group."""
MAX_AGE: Final = 3600
ATTEMPTS: Final = 3
_TRANSIENT: Final = (OperationalError, InterfaceError)
_BURY: Final = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 4))
  return 1
end
return 0
"""
Message = tuple[bytes, Mapping[bytes, bytes] | None]


class Consumer:
    """This server in the group; ``reclaim`` as :data:`RECLAIM`, ``patience`` as :data:`PATIENCE`."""

    def __init__(self, *, name: str | None = None, reclaim: float = RECLAIM, patience: float = PATIENCE) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._reclaim_after = reclaim
        self._reclaim_due = 0.0
        self._block = int(patience * 1000)  # what Redis counts in
        self._from = "0"
        """``0``: what we took and never acknowledged; ``>``: what is new."""
        self._attempts: Counter[bytes] = Counter()
        self.lag = 0
        """Messages that no server of the group has settled, at the last look."""

    def begin(self, redis: Redis) -> None:
        try:
            redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._from = "0"

    def step(self, redis: Redis) -> None:
        if time.monotonic() >= self._reclaim_due:
            self._reclaim_due = time.monotonic() + self._reclaim_after
            self._reclaim(redis)
            self._forget_others(redis)
            length = getattr(settings, "CIRCUIT_BREAKER_EVENTS_LENGTH", STREAM_LENGTH)
            redis.xtrim(STREAM, maxlen=length)  # whoever else writes into it may not
            self._look_behind(redis)
        answer: Any = redis.xreadgroup(GROUP, self.name, {STREAM: self._from}, count=AT_ONCE, block=self._block)
        messages = answer[0][1] if answer else []
        if not messages:
            self._from = ">"
        self._take_all(redis, messages)

    def end(self, redis: Redis) -> None:
        """The name goes with the server, unless something is pending under it."""
        pending: Any = redis.xpending_range(STREAM, GROUP, "-", "+", 1, self.name)
        if not pending:
            redis.xgroup_delconsumer(STREAM, GROUP, self.name)

    def _reclaim(self, redis: Redis) -> None:
        cursor: bytes | str = "0-0"
        while True:
            idle = int(self._reclaim_after * 1000)
            answer: Any = redis.xautoclaim(STREAM, GROUP, self.name, idle, cursor, count=AT_ONCE)
            cursor = answer[0]
            self._take_all(redis, [message for message in answer[1] if message[0]])  # Redis 6.2: trimmed ones are nil
            if cursor in (b"0-0", "0-0"):
                return

    def _look_behind(self, redis: Redis) -> None:
        groups: Any = redis.xinfo_groups(STREAM)
        mine = next(group for group in groups if group["name"] == GROUP.encode())
        self.lag = mine["pending"] + (mine.get("lag") or 0)  # Redis 7 says the second, where it can be known
        counts.LAG.set(self.lag)

    def _forget_others(self, redis: Redis) -> None:
        known: Any = redis.xinfo_consumers(STREAM, GROUP)
        for other in known:
            if other["pending"] == 0 and other["idle"] > FORGOTTEN * 1000:
                redis.xgroup_delconsumer(STREAM, GROUP, other["name"])

    def _take_all(self, redis: Redis, messages: Sequence[Message]) -> None:
        done = []
        try:
            for key, fields in messages:
                outcome = self._take(redis, key, fields)
                counts.RECEIVED.labels(outcome).inc()
                done.append(key)
        finally:
            if done:
                redis.xack(STREAM, GROUP, *done)

    def _take(self, redis: Redis, key: bytes, fields: Mapping[bytes, bytes] | None) -> str:
        """What became of the message. Raises where it must come again."""
        if not fields:
            return "stale"  # trimmed away while it was pending
        try:
            outcome = self._apply(key, fields)
        except EventError as error:
            return self._bury(redis, key, fields, str(error))
        except _TRANSIENT:
            raise
        except Exception as error:
            self._attempts[key] += 1
            if self._attempts[key] < ATTEMPTS:
                raise
            logger.exception("An event cannot be applied")
            outcome = self._bury(redis, key, fields, f"{type(error).__name__}: {error}")
        self._attempts.pop(key, None)
        return outcome

    def _apply(self, key: bytes, fields: Mapping[bytes, bytes]) -> str:
        event = read_event(fields, (RECOVERY,))
        if event is None:
            return "ignored"
        service = recovered_service(event)
        if _age(key) > getattr(settings, "CIRCUIT_BREAKER_EVENTS_MAX_AGE", MAX_AGE):
            logger.warning("Event %s is too old: %r is not reset", event.event_id, service)
            return "stale"
        names = services.recovery_apply(event_id=event.event_id, service=service, source=event.source)
        if names is None:
            return "duplicate"
        logger.info("Event %s: %r has recovered; reset: %s", event.event_id, service, ", ".join(names) or "nothing")
        return "applied"

    def _bury(self, redis: Redis, key: bytes, fields: Mapping[bytes, bytes], problem: str) -> str:
        """Into the stream of the dead, once, with the reason; what is too long, cut."""
        content = fields.get(FIELD.encode(), b"")
        facts: list[str | bytes] = [FIELD, content[:MAX_BYTES], "problem", problem, "message", key, "group", GROUP]
        buried = redis.register_script(_BURY)(keys=[STREAM, DEAD], args=[GROUP, key, DEAD_LENGTH, *facts])
        if not buried:  # another server has
            return "duplicate"
        logger.warning("Message %s of %s goes to %s: it %s", key.decode(), STREAM, DEAD, problem)
        return "dead"


def _age(key: bytes) -> float:
    """Seconds since Redis took the message in, whatever the message says of itself."""
    return time.time() - int(key.partition(b"-")[0]) / 1000
