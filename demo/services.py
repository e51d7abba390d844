"""The three services of the fleet: ``python -m demo.services trading_service``.

Each works through breakers in the ways that ours can be used, and goes on with what it has when one rejects.
``CIRCUIT_BREAKER_SERVICE_URL`` and ``CIRCUIT_BREAKER_SERVICE_TOKEN`` say where the control plane is, ``DEMO_FLAKY_URL``
where the flaky service.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import statistics
import sys
import urllib.request
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

import breakers
from breakers import CircuitBreakerConfig, CircuitBreakerOpenError, HttpConfig

from .lifeline import asked_to_end, follow_parent

log = logging.getLogger("demo")

# Short waits, so that a person who watches sees a breaker open, probe and close within a minute.
CONFIGS = {
    config.name: config
    for config in (
        CircuitBreakerConfig(
            "data_service", failure_threshold=5, recovery_timeout=3.0, success_threshold=3, timeout=2.0
        ),
        CircuitBreakerConfig(
            "news_feed",
            failure_threshold=0,
            recovery_timeout=4.0,
            timeout=2.0,
            window_size=20,
            minimum_calls=8,
            slow_call_duration=0.3,
            slow_call_rate_threshold=0.5,
        ),
        CircuitBreakerConfig(
            "broker_api",
            failure_threshold=0,
            recovery_timeout=3.0,
            success_threshold=5,
            timeout=2.0,
            window_size=20,
            minimum_calls=10,
            failure_rate_threshold=0.3,
        ),
        CircuitBreakerConfig(
            "order_router",
            failure_threshold=4,
            recovery_timeout=2.0,
            recovery_backoff=1.5,
            max_recovery_timeout=10.0,
            recovery_jitter=0.2,
            timeout=2.0,
        ),
        CircuitBreakerConfig(
            "risk_engine",
            timeout=2.0,
            window_type="time",
            window_size=30,
            minimum_calls=20,
            failure_rate_threshold=0.25,
        ),
        CircuitBreakerConfig("price_feed", timeout=1.0),
        CircuitBreakerConfig("auth_service", timeout=1.0),
        CircuitBreakerConfig("ledger", recovery_timeout=5.0),
    )
}
HTTP = {
    **dict.fromkeys(CONFIGS, HttpConfig()),
    **dict.fromkeys(("data_service", "news_feed", "broker_api"), HttpConfig(max_retries=1)),
    "order_router": HttpConfig(max_retries=0),  # an order that may have arrived must not be sent twice
}


class Desk:
    """What a service works with: a session, the flaky service's address, and its last good answers."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base
        self.known: dict[str, Mapping[str, object]] = {}
        self.tally: Counter[str] = Counter()

    def url(self, route: str) -> str:
        return f"{self.base}/{route}"

    async def fetch(self, route: str, body: Mapping[str, object] | None = None) -> Mapping[str, object]:
        """Unguarded. Raises what aiohttp raises, failing statuses included."""
        method = "GET" if body is None else "POST"
        async with self.session.request(method, self.url(route), json=body, raise_for_status=True) as response:
            answer: Mapping[str, object] = await response.json()
            return answer

    def fetch_sync(self, route: str) -> bytes:
        with urllib.request.urlopen(self.url(route), timeout=2) as response:  # noqa: S310  # our own http address
            content: bytes = response.read()
            return content


Step = Callable[[], Awaitable[Mapping[str, object]]]


def through_http(desk: Desk, name: str) -> Step:
    """The breaker around aiohttp, with retries."""
    http = breakers.get_http_circuit_breaker(name, CONFIGS[name], HTTP[name])

    async def step() -> Mapping[str, object]:
        async with http.get(desk.session, desk.url(name), raise_for_status=True) as response:
            answer: Mapping[str, object] = await response.json()
            return answer

    return step


def through_order(desk: Desk, name: str) -> Step:
    """A POST, which is not repeated."""
    http = breakers.get_http_circuit_breaker(name, CONFIGS[name], HTTP[name])

    async def step() -> Mapping[str, object]:
        order = {"symbol": "AAPL", "side": random.choice(("buy", "sell")), "quantity": random.randint(1, 100)}
        response = await http.post(desk.session, desk.url(name), json=order, raise_for_status=True)
        answer: Mapping[str, object] = await response.json()
        return answer

    return step


def through_call(desk: Desk, name: str) -> Step:
    """``breaker.call`` around any coroutine function."""
    breaker = breakers.get_circuit_breaker(name, CONFIGS[name])
    return lambda: breaker.call(desk.fetch, name)


def through_decorator(desk: Desk, name: str) -> Step:
    breaker = breakers.get_circuit_breaker(name, CONFIGS[name])

    @breaker
    async def assess() -> Mapping[str, object]:
        return await desk.fetch(name, {"exposure": random.uniform(0, 1e6)})

    return assess


def through_body(desk: Desk, name: str) -> Step:
    breaker = breakers.get_circuit_breaker(name, CONFIGS[name])

    async def step() -> Mapping[str, object]:
        async with breaker:
            return await desk.fetch(name)

    return step


def through_thread(desk: Desk, name: str) -> Step:
    """``call_sync`` in a worker thread, as a blocking driver would be used."""
    breaker = breakers.get_circuit_breaker(name, CONFIGS[name])

    async def step() -> Mapping[str, object]:
        content = await asyncio.to_thread(breaker.call_sync, desk.fetch_sync, name)
        return {"bytes": len(content)}

    return step


Way = Callable[[Desk, str], Step]
SERVICES: dict[str, dict[str, tuple[Way, float]]] = {
    "trading_service": {
        "order_router": (through_order, 0.25),
        "broker_api": (through_http, 0.25),
        "risk_engine": (through_decorator, 0.35),
        "auth_service": (through_body, 1.0),
    },
    "portfolio_service": {
        "data_service": (through_http, 0.3),
        "price_feed": (through_call, 0.25),
        "risk_engine": (through_decorator, 0.5),
        "ledger": (through_thread, 0.5),
    },
    "market_data_service": {
        "data_service": (through_http, 0.3),
        "news_feed": (through_http, 0.25),
        "price_feed": (through_call, 0.2),
    },
}
"""What each service calls, how, and how often (seconds between two calls)."""


async def keep_calling(desk: Desk, name: str, step: Step, every: float) -> None:
    """Calls for ever; a rejection or a failure leaves the last good answer in use."""
    while True:
        try:
            desk.known[name] = await step()
            desk.tally[f"{name} answered"] += 1
        except CircuitBreakerOpenError:
            desk.tally[f"{name} rejected"] += 1
        except (aiohttp.ClientError, OSError):  # OSError: TimeoutError, and urllib's
            desk.tally[f"{name} failed"] += 1
        await asyncio.sleep(every * random.uniform(0.7, 1.3))


async def value_portfolio(desk: Desk) -> None:
    """What the answers are for: mean and spread of the prices over half a minute, logged every ten seconds."""
    means: deque[float] = deque(maxlen=30)
    while True:
        for _ in range(10):
            await asyncio.sleep(1)
            prices = next((answer["prices"] for answer in desk.known.values() if "prices" in answer), None)
            if isinstance(prices, dict):
                means.append(statistics.fmean(prices.values()))
        value = f"{statistics.fmean(means):.2f} ± {statistics.pstdev(means):.2f}" if means else "unknown"
        log.info("market %s; %s", value, ", ".join(f"{what} {n}" for what, n in sorted(desk.tally.items())))


async def work(service: str, base: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        desk = Desk(session, base)
        tasks = [asyncio.create_task(value_portfolio(desk))]
        for name, (way, every) in SERVICES[service].items():
            tasks.append(asyncio.create_task(keep_calling(desk, name, way(desk, name), every)))
        ended = asyncio.create_task(asked_to_end())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def main(service: str) -> None:
    logging.basicConfig(
        level=logging.INFO, format="{asctime} {levelname} {name} {message}", style="{", stream=sys.stdout
    )
    follow_parent()
    link = breakers.connect(service=service)
    try:
        asyncio.run(work(service, os.environ["DEMO_FLAKY_URL"]))
    finally:
        link.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", choices=SERVICES)
    main(parser.parse_args().service)
