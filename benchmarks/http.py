"""Requests per second through the HTTP breaker and the middleware, beside plain aiohttp and aiohttp-retry.

A middleware that does nothing is the floor of every middleware: aiohttp builds the chain anew for each request.

One loopback server in a process of its own, a session a way (one that two ways used would be warm more often than the
others, which shows), 16 requests in flight, every body read. The ways take turns in blocks of some milliseconds, each
round in another order; a figure is the median over the rounds, a ratio the median of the rounds' own ratios to plain
aiohttp. The ratio of CPU time is the steadier one: on a shared machine the wall clock spreads by more than what is
measured here. ``make bench`` installs aiohttp-retry.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, HttpCircuitBreaker

ROUNDS = 60
BLOCK = 160
IN_FLIGHT = 16
GOAL = 0.95
BODY = b'{"price": 101.5, "symbol": "TPAL"}'

Request = Callable[[], Awaitable[bytes]]
Rates = tuple[float, float]
"""Requests a second of wall clock, and of CPU time of this process's thread."""


async def serve() -> None:
    """Answers every request with ``BODY``; prints its port, ends when its standard input does."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=BODY, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """The least that a middleware can do."""
    return await handler(request)


async def ways(url: str, stack: AsyncExitStack) -> dict[str, Request]:
    """Each way's name to one request its way."""

    async def session(*middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        return await stack.enter_async_context(aiohttp.ClientSession(middlewares=middlewares))

    bare, own = await session(), await session()
    guarded, passing = await session(breakers.aiohttp_middleware()), await session(pass_on)
    http = HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(name="quotes")))

    async def plain() -> bytes:
        async with bare.get(url) as response:
            return await response.read()

    async def through_http_get() -> bytes:
        async with http.get(own, url) as response:
            return await response.read()

    async def through_middleware() -> bytes:
        async with guarded.get(url) as response:
            return await response.read()

    async def through_nothing() -> bytes:
        async with passing.get(url) as response:
            return await response.read()

    found: dict[str, Request] = {
        "plain aiohttp": plain,
        "http.get(session, url)": through_http_get,
        "aiohttp_middleware()": through_middleware,
        "one that does nothing": through_nothing,
    }
    try:
        from aiohttp_retry import RetryClient
    except ImportError:
        print("aiohttp-retry is not installed: its row is missing")
        return found
    retrying = RetryClient(client_session=await session())

    async def through_aiohttp_retry() -> bytes:
        async with retrying.get(url) as response:
            return await response.read()

    return found | {"aiohttp-retry": through_aiohttp_retry}


async def block(request: Request) -> Rates:
    """``BLOCK`` requests, ``IN_FLIGHT`` at once."""
    left = BLOCK

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            assert await request() == BODY

    wall, cpu = time.perf_counter(), time.thread_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return BLOCK / (time.perf_counter() - wall), BLOCK / (time.thread_time() - cpu)


async def measure(url: str) -> dict[str, list[Rates]]:
    async with AsyncExitStack() as stack:
        requests = await ways(url, stack)
        for request in requests.values():
            await block(request)  # connections made, code warm
        measured: dict[str, list[Rates]] = {name: [] for name in requests}
        names = list(requests)
        for turn in range(ROUNDS):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                measured[name].append(await block(requests[name]))
        return measured


def report(measured: dict[str, list[Rates]]) -> None:
    plain = measured["plain aiohttp"]
    print(f"{'':26}{'requests/s':>12}{'ratio':>8}{'CPU us/request':>16}{'ratio':>8}")
    for name, rates in measured.items():
        wall, cpu = (statistics.median(rate[i] for rate in rates) for i in (0, 1))
        ratios = [statistics.median(rate[i] / base[i] for rate, base in zip(rates, plain, strict=True)) for i in (0, 1)]
        print(f"{name:26}{wall:12,.0f}{ratios[0]:8.3f}{1e6 / cpu:16.1f}{ratios[1]:8.3f}")
    print(f"goal: at least {GOAL} of plain aiohttp")


def main() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            report(asyncio.run(measure(f"http://127.0.0.1:{int(server.stdout.readline())}/quotes/TPAL")))
        finally:
            server.stdin.close()


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:] == ["serve"] else main()
