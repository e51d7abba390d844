"""What a guarded call costs, beside the peers that are installed: as ratios, against the goals.

Every way runs in blocks, all ways in turn, in another order each round; the clock is the thread's CPU time. A figure is
the median over the rounds, a ratio the median of the rounds' own ratios. ``make bench`` installs the peers; those that
are missing are left out.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import Outcome

ROUNDS, BLOCK = 60, 500
BIG = 2147483647

Block = Callable[[int], Awaitable[None]]

GOALS = [
    ("call, no timeout", "circuitbreaker decorator", 0.65),
    ("call, 30 s timeout", "circuitbreaker decorator", 1.0),
    ("decorated coroutine function, no timeout", "circuitbreaker decorator", 0.8),
    ("count window of 100, both rates", "interlock call_async", 0.18),
    ("time window of 60 s, both rates", "interlock call_async, time", 0.2),
    ("rejection", "circuitbreaker rejection", 0.7),
    ("failing call", "circuitbreaker failing call", 1.0),
    ("call_sync", "circuitbreaker decorator on a function", 0.7),
]


def optional(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


async def answer() -> int:
    return 1


def answer_sync() -> int:
    return 1


async def fail() -> None:
    raise ConnectionError


def awaited(function: Callable[[], Awaitable[Any]]) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            await function()

    return block


def passed(call: Callable[[Any], Awaitable[Any]], function: Callable[[], Any] = answer) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            await call(function)

    return block


def called(function: Callable[[], Any]) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            function()

    return block


def passed_sync(call: Callable[[Any], Any]) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            call(answer_sync)

    return block


def caught(expected: type[BaseException], function: Callable[[], Awaitable[Any]]) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            try:  # noqa: SIM105  # suppress() would cost more than what is measured
                await function()
            except expected:
                pass

    return block


def caught_passed(expected: type[BaseException], call: Callable[[Any], Awaitable[Any]], function: Any) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            try:  # noqa: SIM105  # see above
                await call(function)
            except expected:
                pass

    return block


def guarded(guard: Any) -> Block:
    async def block(times: int) -> None:
        for _ in range(times):
            async with guard:
                await answer()

    return block


async def asyncio_timeout(times: int) -> None:
    for _ in range(times):
        async with asyncio.timeout(30.0):
            await answer()


def breaker(**options: Any) -> CircuitBreaker:
    return CircuitBreaker(CircuitBreakerConfig(**{"timeout": None, **options}))


def ours() -> dict[str, Block]:
    both = {"failure_rate_threshold": 0.5, "slow_call_duration": 2.0, "slow_call_rate_threshold": 0.5}
    opened = breaker(failure_threshold=1, recovery_timeout=3000.0)
    sick = breaker(window_size=100, **both)
    for bad in (opened, sick):
        bad.settle(bad.acquire(), Outcome.FAILURE)

    async def one_in_fifty(times: int) -> None:
        for turn in range(times):
            try:  # noqa: SIM105  # see above
                await sick.call(fail if turn % 50 == 0 else answer)
            except ConnectionError:
                pass

    return {
        "call, no timeout": passed(breaker().call),
        "call, 30 s timeout": passed(CircuitBreaker().call),
        "decorated coroutine function, no timeout": awaited(breaker()(answer)),
        "count window of 100, both rates": passed(breaker(window_size=100, **both).call),
        "count window of 100, 1 failure in 50": one_in_fifty,
        "time window of 60 s, both rates": passed(breaker(window_type="time", window_size=60, **both).call),
        "rejection": caught_passed(CircuitBreakerOpenError, opened.call, answer),
        "failing call": caught_passed(ConnectionError, breaker(failure_threshold=BIG).call, fail),
        "call_sync": passed_sync(breaker().call_sync),
        "async with, no timeout": guarded(breaker()),
        "async with, 30 s timeout": guarded(CircuitBreaker()),
    }


def peers() -> dict[str, Block]:
    """The installed ones; each set up like ours, with what it can do."""
    ways: dict[str, Block] = {"bare await": awaited(answer), "asyncio.timeout by itself": asyncio_timeout}
    for add in (_circuitbreaker, _interlock, _purgatory, _aiobreaker, _pybreaker, _fluxgate):
        ways |= add()
    return ways


def _circuitbreaker() -> dict[str, Block]:
    names = [
        "circuitbreaker decorator", "circuitbreaker decorator on a function", "circuitbreaker failing call",
        "circuitbreaker rejection",
    ]  # fmt: skip
    module = optional("circuitbreaker")
    if module is None:
        return {}
    opened = module.CircuitBreaker(failure_threshold=1, recovery_timeout=3000, name="opened")
    opened._CircuitBreaker__call_failed()
    return dict(
        zip(
            names,
            [
                awaited(module.CircuitBreaker(name="ok")(answer)),
                called(module.CircuitBreaker(name="sync")(answer_sync)),
                caught(ConnectionError, module.CircuitBreaker(name="bad", failure_threshold=BIG)(fail)),
                caught(module.CircuitBreakerError, opened(answer)),
            ],
            strict=True,
        )
    )


def _interlock() -> dict[str, Block]:
    module = optional("interlock")
    if module is None:
        return {}
    window_type = import_module("interlock.window").WindowType

    def made(kind: str, **options: Any) -> Any:
        settings = {"slow_call_duration_threshold": 2.0, "slow_call_rate_threshold": 0.5, **options}
        return module.CircuitBreaker(name=kind, config=module.Config(**settings))

    opened = made("opened")
    opened.force_open()
    return {
        "interlock call_async": passed(made("count").call_async),
        "interlock call_async, time": passed(
            made("time", window_type=window_type.TIME_BASED, window_size=60).call_async
        ),
        "interlock rejection": caught_passed(module.CircuitOpenError, opened.call_async, answer),
    }


def _purgatory() -> dict[str, Block]:
    module = optional("purgatory")
    if module is None:
        return {}
    cached: list[Any] = []

    async def block(times: int) -> None:
        if not cached:
            cached.append(await module.AsyncCircuitBreakerFactory().get_breaker("api"))
        for _ in range(times):
            async with cached[0]:
                await answer()

    return {"purgatory async with, cached": block}


def _aiobreaker() -> dict[str, Block]:
    module = optional("aiobreaker")
    return {} if module is None else {"aiobreaker call_async": passed(module.CircuitBreaker().call_async)}


def _pybreaker() -> dict[str, Block]:
    module = optional("pybreaker")
    return {} if module is None else {"pybreaker call": passed_sync(module.CircuitBreaker().call)}


def _fluxgate() -> dict[str, Block]:
    module = optional("fluxgate")
    return {} if module is None else {"fluxgate call": passed(module.AsyncCircuitBreaker().call)}


async def measure(ways: dict[str, Block]) -> dict[str, list[float]]:
    """Nanoseconds of CPU a call, a round each, for every way."""
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for block in ways.values():
        await block(BLOCK)
    gc.collect()
    gc.disable()
    order = list(ways)
    for _ in range(ROUNDS):
        random.shuffle(order)
        for name in order:
            began = time.thread_time_ns()
            await ways[name](BLOCK)
            figures[name].append((time.thread_time_ns() - began) / BLOCK)
    gc.enable()
    return figures


def memory() -> tuple[float, float]:
    """Bytes that a fresh breaker takes, its config included, and what a million calls and rejections add to one."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [CircuitBreaker(CircuitBreakerConfig(name=f"api-{number}")) for number in range(1000)]
    fresh = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    used = breaker(failure_threshold=1, failure_rate_threshold=0.5, slow_call_duration=1.0, recovery_timeout=3000.0)
    work(used, 10_000)
    before = tracemalloc.get_traced_memory()[0]
    work(used, 1_000_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return fresh, grown


def work(used: CircuitBreaker, times: int) -> None:
    """So many calls, and as many rejections."""
    used.reset()
    for _ in range(times):
        used.call_sync(answer_sync)
    used.settle(used.acquire(), Outcome.FAILURE)
    for _ in range(times):
        try:  # noqa: SIM105  # a million contexts more would be measured
            used.acquire()
        except CircuitBreakerOpenError:
            pass


def report(figures: dict[str, list[float]]) -> bool:
    """Prints the table and the goals; whether every goal that could be compared was reached."""
    for name, rounds in figures.items():
        print(f"{name:44} {statistics.median(rounds):8.0f} ns")
    print()
    reached = True
    for name, peer, goal in GOALS:
        if peer not in figures:
            print(f"{name:44} {'-':>6}     goal {goal:<5} {peer}: not installed")
            continue
        ratio = statistics.median(a / b for a, b in zip(figures[name], figures[peer], strict=True))
        verdict = "reached" if ratio <= goal else "MISSED"
        reached = reached and ratio <= goal
        print(f"{name:44} {ratio:6.2f} x   goal {goal:<5} {peer}: {verdict}")
    return reached


def main() -> int:
    logging.disable()
    reached = report(asyncio.run(measure(ours() | peers())))
    fresh, grown = memory()
    print(f"\n{'a fresh breaker':44} {fresh:8.0f} B   goal 1500")
    print(f"{'grown by a million calls and rejections':44} {grown:8.0f} B")
    return int(not reached or fresh > 1500 or grown > 1000)


if __name__ == "__main__":
    sys.exit(main())
