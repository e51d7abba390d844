"""Who of a service's processes has an event, in a real Redis; leases so long that none ends by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from redis.asyncio import Redis

from breakers.client.claims import Claim, Claims
from tests.redis_server import RedisServer

HOUR = 3600.0


@pytest_asyncio.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Empty."""
    async with Redis.from_url(redis_server.url) as store:
        await store.flushall()
        yield store


def claims_of(store: Redis, process: str, group: str = "trading_service:service.recovery") -> Claims:
    return Claims(store, group, process, HOUR)


async def settle(store: Redis, claims: Claims, event_id: str, *, handled: bool) -> None:
    async with store.pipeline(transaction=True) as pipe:
        claims.settle(pipe, event_id, handled=handled)
        await pipe.execute()


async def test_of_two_processes_one_has_an_event_and_whoever_has_it_may_take_it_again(store: Redis) -> None:
    one, two = claims_of(store, "one"), claims_of(store, "two")
    assert await one.take("a") is Claim.MINE
    assert await two.take("a") is Claim.THEIRS
    assert await one.take("a") is Claim.MINE, "as after a connection that broke before the end was told"
    assert await claims_of(store, "two", "risk_service:service.recovery").take("a") is Claim.MINE


async def test_what_was_handled_is_done_for_all(store: Redis) -> None:
    one, two = claims_of(store, "one"), claims_of(store, "two")
    await one.take("a")
    await settle(store, one, "a", handled=True)
    assert [await each.take("a") for each in (one, two)] == [Claim.DONE, Claim.DONE]


async def test_what_was_not_handled_is_free_at_once(store: Redis) -> None:
    one, two = claims_of(store, "one"), claims_of(store, "two")
    await one.take("a")
    await settle(store, one, "a", handled=False)
    assert await two.take("a") is Claim.MINE


async def test_what_was_settled_is_not_claimed_anew_by_renewing(store: Redis) -> None:
    one, two = claims_of(store, "one"), claims_of(store, "two")
    await one.take("a")
    await settle(store, one, "a", handled=False)
    await one.renew()
    assert await two.take("a") is Claim.MINE
