"""From the outbox into the stream: each event once, in the order in which it was written.

A server may be killed between the two, and the row be sent again by it or by another: so that the stream has it once
all the same, the script that adds an event leaves a mark beside it, in one step, and adds none that is marked. The mark
outlives the row by ten minutes, for a server that slept while another sent what it had read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.utils import timezone
from redis import Redis

from breakers import services
from breakers.core.events import FIELD, STREAM, STREAM_LENGTH
from breakers.leases import HeldLease
from breakers.models import OutgoingEvent
from breakers.services.outbox import woken

from . import counts
from .upkeep import Upkeep

LEASE: Final = 5.0
LOOK: Final = 1.0
"""Seconds between two looks where nobody woke us: another server's rows."""
AT_ONCE: Final = 200
MARKED: Final = 30 * 86_400
"""Seconds that a mark stands while its row does: a server may be away for so long between the two steps."""
MARKED_AFTERWARDS: Final = 600
_ADD: Final = f"""
local added = {{}}
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', '{FIELD}', ARGV[i + 1])
    redis.call('SET', KEYS[i], '1', 'EX', ARGV[2])
    added[#added + 1] = i - 2
  end
end
return added
"""


def send(redis: Redis, rows: Sequence[OutgoingEvent]) -> None:
    """Puts those into the stream that are not in it."""
    length = getattr(settings, "CIRCUIT_BREAKER_EVENTS_LENGTH", STREAM_LENGTH)
    keys, bodies = [STREAM, *map(_mark, rows)], [row.body for row in rows]
    for index in redis.register_script(_ADD)(keys=keys, args=[length, MARKED, *bodies]):
        counts.SENT.labels(rows[index].event_type).inc()


def settle(redis: Redis, rows: Sequence[OutgoingEvent]) -> None:
    """They are in the stream: the rows go, and the marks a little later."""
    services.events_settle(ids=[row.pk for row in rows])
    with redis.pipeline(transaction=False) as pipe:
        for row in rows:
            pipe.expire(_mark(row), MARKED_AFTERWARDS)
        pipe.execute()


def _mark(row: OutgoingEvent) -> str:
    return f"{STREAM}.sent:{row.event_id}"


class Relay:
    """One server of several does it at a time: two at once would lose nothing but the order."""

    def __init__(self) -> None:
        self._lease = HeldLease("events-relay", LEASE)
        self._upkeep = Upkeep()

    def begin(self, redis: Redis) -> None:
        pass

    def step(self, redis: Redis) -> None:
        woken.clear()
        self._upkeep.do_if_due(time.monotonic())
        while self._lease.is_mine(timezone.now()) and self.pass_on(redis):
            pass
        woken.wait(LOOK)

    def end(self, redis: Redis) -> None:
        """What the server wrote last goes out with it."""
        while self._lease.is_mine(timezone.now()) and self.pass_on(redis):
            pass

    def give_back(self) -> None:
        self._lease.give_back()

    def pass_on(self, redis: Redis) -> bool:
        """One handful; whether there was one."""
        rows = services.events_due(most=AT_ONCE)
        if rows:
            send(redis, rows)
            settle(redis, rows)
        return bool(rows)
