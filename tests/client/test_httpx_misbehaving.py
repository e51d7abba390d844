"""As ``test_http_misbehaving``, for httpx, sync and async: what the caller gets, what the breaker counts, and that the
pool has its one connection back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreakerConfig, HttpConfig
from breakers.client.httpx_transport import AsyncCircuitBreakerTransport, CircuitBreakerTransport
from tests.misbehaving import (
    Server,
    Step,
    answers,
    closes_after_the_answer,
    hangs,
    hangs_mid_body,
    redirects,
    resets,
    resets_mid_body,
    resets_mid_headers,
    trickles_body,
)

ONCE = HttpConfig(max_retries=0)
LIMITS = httpx.Limits(max_connections=1)
HUGE = b"x" * 20_000_000
PART = 10
LONG = 60.0


class Guarded:
    """One client with a pool of one connection, and the breaker of its requests."""

    def __init__(self, kind: str) -> None:
        self.kind, name = kind, f"httpx-{uuid4().hex}"
        self.breaker = breakers.get_circuit_breaker(name, CircuitBreakerConfig(failure_threshold=100))
        if kind == "async":
            pool = httpx.AsyncHTTPTransport(limits=LIMITS)
            transport = AsyncCircuitBreakerTransport(name, http=ONCE, transport=pool)
            self.client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=True, timeout=LONG)
        else:
            pool = httpx.HTTPTransport(limits=LIMITS)
            transport = CircuitBreakerTransport(name, http=ONCE, transport=pool)
            self.client = httpx.Client(transport=transport, trust_env=False, follow_redirects=True, timeout=LONG)

    async def post(self, url: str, limit: float | httpx.Timeout = LONG) -> httpx.Response:
        """Its body is read."""
        if self.kind == "async":
            return await self.client.post(url, timeout=limit)
        return await asyncio.to_thread(self.client.post, url, timeout=limit)

    async def begin(self, url: str) -> bytes:
        """Reads the first bytes of the body and leaves."""
        if self.kind == "async":
            async with self.client.stream("POST", url) as response:
                async for part in response.aiter_bytes(PART):
                    return part
        return await asyncio.to_thread(self._begin, url)

    def _begin(self, url: str) -> bytes:
        with self.client.stream("POST", url) as response:
            return next(response.iter_bytes(PART))

    async def close(self) -> None:
        if self.kind == "async":
            await self.client.aclose()
        else:
            self.client.close()

    def counted(self) -> dict[str, int]:
        metrics = self.breaker.get_metrics()
        names = ("successes", "failures", "rejected", "ignored", "late")
        return {name: metrics[f"{name}_total"] for name in names if metrics[f"{name}_total"]}

    async def pool_is_whole(self, server: Server) -> None:
        """Who asks next waits for no connection of the one before, twice: a broken one is not kept."""
        server.script(answers())
        for _ in range(2):
            assert (await self.post(server.url, httpx.Timeout(LONG, pool=5.0))).content == b"fine"


@pytest.fixture(params=["sync", "async"])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[Guarded]:
    made = Guarded(request.param)
    yield made
    await made.close()
    breakers.registry.forget(made.breaker.name)


@pytest.mark.parametrize("step", [resets, resets_mid_headers, resets_mid_body])
async def test_a_broken_connection_is_a_failure_and_not_kept(server: Server, guarded: Guarded, step: Step) -> None:
    server.script(step)
    with pytest.raises(httpx.TransportError):
        await guarded.post(server.url)
    assert guarded.counted() == {"failures": 1}
    await guarded.pool_is_whole(server)


@pytest.mark.parametrize("read", ["post", "begin"])
async def test_a_body_that_cannot_be_decoded_is_a_failure(server: Server, guarded: Guarded, read: str) -> None:
    """httpx decodes it above its transports."""
    server.script(answers(body=b"not in that encoding", Content_Encoding="gzip"))
    with pytest.raises(httpx.DecodingError):
        await getattr(guarded, read)(server.url)
    assert guarded.counted() == {"failures": 1}
    await guarded.pool_is_whole(server)


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_who_waited_for_too_long_leaves_no_connection_behind(
    server: Server, guarded: Guarded, step: Step
) -> None:
    server.script(step)
    with pytest.raises(httpx.ReadTimeout):
        await guarded.post(server.url, httpx.Timeout(LONG, read=0.3))
    assert guarded.counted() == {"failures": 1}
    await guarded.pool_is_whole(server)


@pytest.mark.parametrize(("status", "counts"), [(404, "successes"), (429, "failures"), (500, "failures")])
async def test_an_answer_is_the_callers_whatever_its_status(
    server: Server, guarded: Guarded, status: int, counts: str
) -> None:
    server.script(answers(status, b"told", Retry_After="3600"))
    response = await guarded.post(server.url)
    assert (response.status_code, response.content, response.headers["Retry-After"]) == (status, b"told", "3600")
    assert guarded.counted() == {counts: 1}
    await guarded.pool_is_whole(server)


async def test_a_huge_body_arrives_whole(server: Server, guarded: Guarded) -> None:
    server.script(answers(body=HUGE))
    assert (await guarded.post(server.url)).content == HUGE
    assert guarded.counted() == {"successes": 1}
    await guarded.pool_is_whole(server)


@pytest.mark.parametrize("step", [answers(body=HUGE), trickles_body, hangs_mid_body])
async def test_who_leaves_a_body_in_its_middle_gives_the_connection_back(
    server: Server, guarded: Guarded, step: Step
) -> None:
    server.script(step)
    assert (await guarded.begin(server.url))[:1] == b"x"
    assert guarded.counted() == {"successes": 1}
    await guarded.pool_is_whole(server)


async def test_a_connection_that_was_closed_after_the_answer_is_not_used_again(
    server: Server, guarded: Guarded
) -> None:
    for turn in (1, 2, 3):
        server.script(closes_after_the_answer)
        assert (await guarded.post(server.url)).content == b"fine"
        assert guarded.counted() == {"successes": turn}
    await guarded.pool_is_whole(server)


async def test_a_chain_of_redirects_needs_one_connection(server: Server, guarded: Guarded) -> None:
    server.script(redirects("/a"), redirects("/b"), answers())
    assert (await guarded.post(server.url)).content == b"fine"
    assert guarded.counted() == {"successes": 3}
    await guarded.pool_is_whole(server)


@pytest.mark.parametrize("step", [hangs, trickles_body])
async def test_a_cancelled_caller_gives_the_connection_back(server: Server, step: Step) -> None:
    reached = asyncio.Event()

    async def reach(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await step(request)

    server.script(reach)
    guarded = Guarded("async")
    asking = asyncio.create_task(guarded.post(server.url))
    await reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert guarded.counted() == {"ignored": 1}
    await guarded.pool_is_whole(server)
    await guarded.close()
    breakers.registry.forget(guarded.breaker.name)
