"""What each server lays down in Redis for the others, for a few seconds: gone by itself when nobody renews it.

Of a server there are three keys: its ``head`` (who is linked, what was spent), its ``facts`` (an instance to a blob),
and their ``order`` (an instance to the version at which it last changed), so that a reader takes only what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgpack
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from breakers.fleet import PassedInstance

FORMAT: Final = 2
"""Servers of another format are strangers, not misunderstood."""
LIFETIME: Final = 10
"""Seconds that a share outlives its server."""
PATIENCE: Final = 1.0
"""Seconds that an answer may take."""
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Head:
    """``beat`` rises with each writing, ``version`` with each change; ``now`` is its server's clock (epoch seconds)."""

    beat: int
    version: int
    now: float
    presence: Mapping[UUID, float] = field(default_factory=dict)
    """Who is linked there, and when each was heard."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """Tokens that callers took from their buckets there since the last beat."""
    dated: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Breakers that moved lately: their state, and since when it is that."""
    ended: Collection[str] = ()
    """Digests of sessions that ended there and that the database could not be told of yet."""


class Shelf:
    """One process's place among the others'. Each method asks Redis once or a few times; raises ``RedisError``."""

    def __init__(self, url: str, server: str) -> None:
        self._redis = connect(url)
        self._server = server
        self._prefix = prefix()
        self._version = 0

    def write(self, changed: Collection[PassedInstance], gone: Collection[UUID], head: Head) -> bool:
        """Lays down what changed, takes away ``gone``, renews the rest. False: what was there before is lost."""
        self._version += 1
        facts, order = self._key(self._server, "facts"), self._key(self._server, "order")
        pipe = self._redis.pipeline(transaction=True)
        pipe.expire(facts, LIFETIME)  # first: whether it was still there
        for passed in changed:
            pipe.hset(facts, mapping={passed.id: msgpack.packb(passed)})
            pipe.zadd(order, {passed.id: self._version})
        if gone:
            pipe.hdel(facts, *map(str, gone))
            pipe.zrem(order, *map(str, gone))
        pipe.set(self._key(self._server, "head"), _packed(head, self._version), ex=LIFETIME)
        pipe.sadd(self._key("servers"), self._server)
        pipe.expire(facts, LIFETIME)
        pipe.expire(order, LIFETIME)
        return bool(pipe.execute()[0])

    def wake(self) -> None:
        """Tells the others to look now."""
        self._redis.publish(channel(), self._server)

    def others(self) -> dict[str, Head]:
        """The heads of the servers that are there."""
        known: Any = self._redis.smembers(self._key("servers"))
        names = sorted(name.decode() for name in known if name.decode() != self._server)
        if not names:
            return {}
        heads: Any = self._redis.mget([self._key(name, "head") for name in names])
        gone = [name for name, head in zip(names, heads, strict=True) if head is None]
        if gone:
            self._redis.srem(self._key("servers"), *gone)
        return {name: _unpacked(head) for name, head in zip(names, heads, strict=True) if head is not None}

    def changed(self, server: str, after: int) -> Iterator[PassedInstance]:
        """What ``server`` laid down after that version."""
        ids: Any = self._redis.zrange(self._key(server, "order"), f"({after}", "+inf", byscore=True)
        waiting = iter(ids)
        while some := list(islice(waiting, _AT_ONCE)):
            blobs: Any = self._redis.hmget(self._key(server, "facts"), some)
            for blob in blobs:
                if blob is not None:
                    yield PassedInstance(*msgpack.unpackb(blob))

    def close(self) -> None:
        self._redis.close()

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def connect(url: str) -> Redis:
    """A client that says soon when it cannot."""
    return Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0))


def prefix() -> str:
    """Of all keys and channels: servers of one control plane share a secret, so two can share one Redis."""
    return f"breakers:{FORMAT}:{hashlib.sha256(settings.SECRET_KEY.encode()).hexdigest()[:16]}"


def channel() -> str:
    return f"{prefix()}:wake"


def _packed(head: Head, version: int) -> bytes:
    presence = {str(one): heard for one, heard in head.presence.items()}
    packed: bytes = msgpack.packb((head.beat, version, head.now, presence, head.spent, head.dated, head.ended))
    return packed


def _unpacked(blob: bytes) -> Head:
    beat, version, now, presence, spent, dated, ended = msgpack.unpackb(blob)
    return Head(beat, version, now, {UUID(one): heard for one, heard in presence.items()}, spent, dated, ended)
