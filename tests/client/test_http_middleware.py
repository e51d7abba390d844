"""A breaker a host and port, for every request of a session."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import breakers
import breakers.testing as breakers_testing
from breakers import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitBreakerState,
    ConfigError,
    HttpConfig,
)
from breakers.core.deadlines import queue_for
from tests.misbehaving import (
    Everywhere,
    Server,
    Step,
    answers,
    hangs,
    hangs_mid_body,
    misbehaving,
    redirects,
    resets,
    resets_mid_body,
)

ONE = CircuitBreakerConfig(failure_threshold=1)


@pytest.fixture
async def other() -> AsyncIterator[Server]:
    async with misbehaving() as made:
        yield made


def session_with(*middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), middlewares=middlewares)


def seen_at(server: Server) -> CircuitBreaker:
    """The breaker of the server's host and port."""
    found = breakers.registry.get(URL(server.url).authority)
    assert found is not None
    return found


async def test_hosts_fail_each_by_itself(server: Server, other: Server) -> None:
    server.script(answers(503))
    async with session_with(breakers.aiohttp_middleware(config=ONE)) as session:
        async with session.get(server.url) as response:
            assert response.status == 503
        with pytest.raises(aiohttp.ClientConnectionError) as rejection:
            await session.get(server.url)
        assert isinstance(rejection.value, CircuitBreakerOpenError)
        assert rejection.value.name == server.url.removeprefix("http://").rstrip("/")
        async with session.get(other.url) as response:
            assert response.status == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("step", [resets, resets_mid_body])
async def test_broken_answers_count(server: Server, step: object) -> None:
    server.script(step)  # type: ignore[arg-type]  # a step
    async with session_with(breakers.aiohttp_middleware(config=ONE)) as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.post(server.url) as response:
                await response.read()
        with pytest.raises(CircuitBreakerOpenError):
            await session.post(server.url)


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_aiohttps_total_limit_counts(server: Server, step: object) -> None:
    server.script(step)  # type: ignore[arg-type]  # a step
    async with session_with(breakers.aiohttp_middleware(config=ONE)) as session:
        with pytest.raises(TimeoutError):
            async with session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.2)) as response:
                await response.read()
        with pytest.raises(CircuitBreakerOpenError):
            await session.get(server.url)


async def test_a_connection_that_is_never_made_counts(server: Server) -> None:
    """As of a host that swallows packets: the total limit passes before there is a connection."""
    server.script(hangs)

    async def never_connects(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await asyncio.sleep(3600)
        return await handler(request)

    async with session_with(breakers.aiohttp_middleware(config=ONE), never_connects) as session:
        with pytest.raises(TimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.1))
        with pytest.raises(CircuitBreakerOpenError):
            await session.get(server.url)


async def test_a_caller_who_leaves_is_no_evidence(server: Server) -> None:
    server.script(hangs)
    async with session_with(breakers.aiohttp_middleware(config=ONE)) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.get(server.url)
        server.script(answers())
        async with session.get(server.url) as response:
            assert response.status == 200


async def test_the_breakers_timeout_covers_an_attempt(server: Server) -> None:
    server.script(hangs)
    middleware = breakers.aiohttp_middleware(config=CircuitBreakerConfig(failure_threshold=1, timeout=0.1))
    async with session_with(middleware) as session:
        with pytest.raises(TimeoutError):
            await session.get(server.url)
        with pytest.raises(CircuitBreakerOpenError):
            await session.get(server.url)


async def test_an_answer_to_a_request_from_before_a_reset_is_late(server: Server) -> None:
    async def resets_meanwhile(request: web.Request) -> web.StreamResponse:
        seen_at(server).reset()
        return await answers()(request)

    async with session_with(breakers.aiohttp_middleware()) as session:
        await session.get(server.url)
        server.script(resets_meanwhile)
        await session.get(server.url)
    metrics = seen_at(server).get_metrics()
    assert (metrics["successes_total"], metrics["late_total"]) == (1, 1)


async def test_the_time_of_the_last_success_is_that_of_the_last_request(server: Server) -> None:
    def takes(seconds: float) -> Step:
        async def step(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return await answers()(request)

        return step

    server.script(
        answers(), takes(0.2), takes(0.05)
    )  # one that takes less than another before it needs the fewest steps
    async with session_with(breakers.aiohttp_middleware()) as session:
        await session.get(server.url)
        await session.get(server.url)
        before = time.time()
        await session.get(server.url)
    assert seen_at(server).get_metrics()["last_success_time"] > before + 0.02


async def test_durations_are_by_the_breakers_own_clock(server: Server) -> None:
    with breakers_testing.fresh_registry(breakers_testing.FakeClock()):
        async with session_with(breakers.aiohttp_middleware()) as session:
            for _ in range(3):
                await session.get(server.url)
        assert seen_at(server).get_metrics()["latency"]["p99"] < 1e-5  # that clock stands still


@pytest.mark.parametrize(
    ("asked_before", "rested"),
    [(0, False), (1, False), (0, True)],
    ids=["", "in a task asked to cancel", "after a rest"],
)
async def test_the_breakers_timeout_covers_a_later_attempt(server: Server, asked_before: int, rested: bool) -> None:
    """The first request of a host goes another way than the next."""
    deadlines = queue_for(asyncio.get_running_loop(), 1.0, time.monotonic)

    async def asks() -> None:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(asked_before):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="no answer within 1 s"):
            await session.get(server.url)
        assert task.cancelling() == asked_before

    async with session_with(breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=1.0))) as session:
        await session.get(server.url)
        server.script(hangs)
        async with asyncio.timeout(20):
            while rested and deadlines.armed:
                await asyncio.sleep(0.01)
            await asyncio.create_task(asks())
    metrics = seen_at(server).get_metrics()
    assert (metrics["successes_total"], metrics["timeouts_total"]) == (1, 1)


async def test_a_later_reply_that_comes_as_the_limit_strikes_is_the_callers_and_a_timeout(server: Server) -> None:
    holds = False

    async def may_hold(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if holds:
            with suppress(asyncio.CancelledError):  # which is the limit striking
                await asyncio.sleep(3600)
        return response

    guard = breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=1.0))
    async with session_with(guard, may_hold) as session:
        await session.get(server.url)
        holds = True
        async with asyncio.timeout(20), session.get(server.url) as response:
            assert await response.read() == b"fine"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
    metrics = seen_at(server).get_metrics()
    assert (metrics["successes_total"], metrics["failures_total"], metrics["timeouts_total"]) == (1, 1, 1)


async def test_the_breakers_timeout_covers_an_attempt_inside_a_call_that_has_the_same_limit(server: Server) -> None:
    """The task has a deadline already; the attempt's is another one, and neither takes the other's away."""
    server.script(answers(), hangs)
    outer = CircuitBreaker(CircuitBreakerConfig(name="outer", timeout=1.0))
    guard = breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=1.0))
    async with session_with(guard) as session:
        await outer.call(session.get, server.url)
        assert outer.get_metrics()["successes_total"] == 1
        with pytest.raises(TimeoutError):
            await outer.call(session.get, server.url)
    assert outer.get_metrics()["failures_total"] == 1
    assert seen_at(server).get_metrics()["requests_total"] == 2


async def test_a_request_leaves_the_call_around_it_its_deadline(server: Server) -> None:
    """Both have the same limit, and the task of both is the same."""
    outer = CircuitBreaker(CircuitBreakerConfig(name="outer"))

    async def asks() -> int:
        async with session.get(server.url) as response:
            return response.status

    async with session_with(breakers.aiohttp_middleware()) as session:
        await asks()  # the first request of a host goes another way than the next
        assert [await outer.call(asks), await outer.call(asks)] == [200, 200]
    assert outer.get_metrics()["successes_total"] == 2
    assert seen_at(server).get_metrics()["successes_total"] == 3


async def test_sessions_of_two_event_loops_share_a_middleware_and_have_each_its_own_deadlines() -> None:
    guard = breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=0.3))
    addresses: SimpleQueue[str] = SimpleQueue()
    may_ask = threading.Event()

    async def serves_and_asks() -> None:
        async with misbehaving() as server, session_with(guard) as session:
            addresses.put(server.url)
            await asyncio.to_thread(may_ask.wait)
            server.script(hangs)
            before = seen_at(server).get_metrics()["timeouts_total"]
            with pytest.raises(TimeoutError, match="no answer within"):
                async with asyncio.timeout(20):
                    await session.get(server.url)
            assert seen_at(server).get_metrics()["timeouts_total"] == before + 1

    with ThreadPoolExecutor() as threads:
        elsewhere = threads.submit(asyncio.run, serves_and_asks())
        try:
            address = await asyncio.to_thread(addresses.get, timeout=20)
            async with session_with(guard) as session:
                with suppress(TimeoutError):  # on a machine that is busy
                    await session.get(address)
        finally:
            may_ask.set()
        elsewhere.result()  # this loop is in the midst of a task meanwhile, and strikes no deadline


async def test_a_caller_who_leaves_as_the_deadline_strikes_stays_cancelled(server: Server) -> None:
    server.script(hangs)
    guard = breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=0.2))
    async with session_with(guard) as session:
        asking = asyncio.ensure_future(session.get(server.url))
        asyncio.get_running_loop().call_later(0.2, asking.cancel)
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await asking
        server.script(answers())
        async with session.get(server.url) as response:
            assert response.status == 200


async def test_probes_and_orders_hold_for_a_session_too(server: Server) -> None:
    clock = breakers_testing.FakeClock()
    with breakers_testing.fresh_registry(clock):
        guard = breakers.aiohttp_middleware(
            config=CircuitBreakerConfig(failure_threshold=1, recovery_timeout=10, success_threshold=1)
        )
        async with session_with(guard) as session:
            server.script(answers(500), answers())
            await session.get(server.url)
            breaker = seen_at(server)
            assert breaker.state is CircuitBreakerState.OPEN
            clock.advance(10)
            await session.get(server.url)
            assert breaker.state is CircuitBreakerState.CLOSED
            breaker.force_open()
            with pytest.raises(CircuitBreakerOpenError):
                await session.get(server.url)


async def test_a_config_without_a_limit_has_none(server: Server) -> None:
    guard = breakers.aiohttp_middleware(config=CircuitBreakerConfig(timeout=None))
    async with session_with(guard) as session:
        for _ in range(2):
            async with session.get(server.url) as response:
                assert await response.read() == b"fine"
    assert seen_at(server).get_metrics()["successes_total"] == 2


async def test_a_stream_counts_when_its_body_ends(server: Server) -> None:
    server.script(answers(body=b"x" * 5_000_000))
    async with session_with(breakers.aiohttp_middleware()) as session, session.get(server.url) as response:
        assert seen_at(server).get_metrics()["requests_total"] == 0
        assert len(await response.read()) == 5_000_000
        assert seen_at(server).get_metrics()["successes_total"] == 1


async def test_of_a_websocket_the_handshake_counts(server: Server) -> None:
    """Else one that is open for an hour would be a call of an hour, or a probe that never ends."""

    async def echoes(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    server.script(echoes)
    async with session_with(breakers.aiohttp_middleware()) as session, session.ws_connect(server.url) as socket:
        assert seen_at(server).get_metrics()["successes_total"] == 1
        await socket.send_str("still open")
        assert await socket.receive_str() == "still open"
    assert seen_at(server).get_metrics()["requests_total"] == 1


async def test_each_attempt_on_the_wire_is_counted(server: Server) -> None:
    middleware = breakers.aiohttp_middleware(name=lambda request: "counted-on-the-wire")
    server.script(redirects("/a"), redirects("/b"), answers())
    async with session_with(middleware) as session, session.get(server.url) as response:
        assert await response.read() == b"fine"
    breaker = breakers.registry.get("counted-on-the-wire")
    assert breaker is not None
    assert breaker.get_metrics()["successes_total"] == 3


async def test_a_named_breaker_is_the_registrys(server: Server) -> None:
    server.script(answers(404))
    middleware = breakers.aiohttp_middleware(
        lambda request: "named-by-function", ONE, HttpConfig(failure_statuses="404")
    )
    async with session_with(middleware) as session:
        await session.get(server.url)
        with pytest.raises(CircuitBreakerOpenError, match="named-by-function"):
            await session.get(server.url)
    assert "named-by-function" in breakers.registry


async def test_a_host_is_known_fleet_wide_by_its_name_and_port(server: Server) -> None:
    rules = HttpConfig(failure_statuses="418")
    async with session_with(breakers.aiohttp_middleware(http=rules)) as session, session.get(server.url):
        breaker = breakers.registry.get(URL(server.url).authority)
        assert breaker is not None
        assert breaker.http_config == rules


@pytest.mark.parametrize("host", ["b~c", "x" * 200, "under_score"])
async def test_any_host_can_have_a_breaker(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    connector = aiohttp.TCPConnector(resolver=Everywhere())
    guard = breakers.aiohttp_middleware()
    async with (
        aiohttp.ClientSession(connector=connector, middlewares=[guard]) as session,
        session.get(f"http://{host}:{port}") as response,
    ):
        assert response.status == 200


async def test_breakers_named_by_a_function_are_bounded_too(server: Server) -> None:
    with breakers_testing.fresh_registry():
        guard = breakers.aiohttp_middleware(name=lambda request: f"shard{request.url.path[1:]}", max_breakers=2)
        async with session_with(guard) as session:
            for shard in range(5):
                await session.get(f"{server.url}{shard}")
        assert [number for number in range(5) if f"shard{number}" in breakers.registry] == [3, 4]


async def test_what_a_session_remembers_of_names_is_bounded_too(server: Server) -> None:
    with breakers_testing.fresh_registry():
        guard = breakers.aiohttp_middleware(name=lambda request: f"one{request.url.path[1:]}", max_breakers=2)
        async with session_with(guard) as session:
            for name in range(9):
                await session.get(f"{server.url}{name}")
    remembered = inspect.getclosurevars(guard).nonlocals["lanes"]
    assert 1 <= sum(map(len, remembered.values())) <= 4


async def test_of_the_named_the_longest_unused_goes_first(server: Server) -> None:
    with breakers_testing.fresh_registry():
        guard, second = (
            breakers.aiohttp_middleware(lambda request: f"part{request.url.path[1:]}", max_breakers=2) for _ in range(2)
        )
        async with session_with(guard) as session, session_with(second) as sharing:
            await session.get(f"{server.url}0")
            await sharing.get(f"{server.url}0")  # which makes it nobody's own
            for part in (1, 0, 2):
                await session.get(f"{server.url}{part}")
            assert [part for part in range(3) if f"part{part}" in breakers.registry] == [0, 2]
            for part in (3, 4):
                await session.get(f"{server.url}{part}")
        assert [part for part in range(5) if f"part{part}" in breakers.registry] == [3, 4]


async def test_a_session_counts_for_the_registrys_breaker_also_after_one_was_forgotten(server: Server) -> None:
    async with session_with(breakers.aiohttp_middleware()) as session:
        await session.get(server.url)
        breakers.registry.forget(seen_at(server).name)
        await session.get(server.url)
        assert seen_at(server).get_metrics()["successes_total"] == 1


async def test_a_named_breaker_with_another_config_is_a_config_error(server: Server) -> None:
    with breakers_testing.fresh_registry():
        breakers.get_circuit_breaker("payments", ONE)
        guard = breakers.aiohttp_middleware(lambda request: "payments", CircuitBreakerConfig(failure_threshold=2))
        async with session_with(guard) as session:
            for _ in range(2):
                with pytest.raises(ConfigError, match="failure_threshold"):
                    await session.get(server.url)


async def test_one_host_with_and_without_tls_is_two_ports(server: Server) -> None:
    """Where the address names no port, its scheme does."""
    connector = aiohttp.TCPConnector(resolver=Everywhere(int(URL(server.url).port or 0)))
    with breakers_testing.fresh_registry():
        async with aiohttp.ClientSession(connector=connector, middlewares=[breakers.aiohttp_middleware()]) as session:
            for _ in range(3):
                async with session.get("http://data-service/") as response:
                    assert response.status == 200
                with pytest.raises(aiohttp.ClientError):  # the server speaks no TLS
                    await session.get("https://data-service/")
        counted = {breaker.name: breaker.get_metrics() for breaker in breakers.registry.all()}
        assert counted["data-service:80"]["successes_total"] == 3
        assert counted["data-service:443"]["failures_total"] == 3


async def test_an_edit_of_the_http_rules_is_in_force_at_the_next_request(server: Server) -> None:
    server.script(answers(404))
    async with session_with(breakers.aiohttp_middleware()) as session:
        await session.get(server.url)
        for rules in (None, HttpConfig(failure_statuses="404"), HttpConfig(failure_statuses=""), None):
            seen_at(server).apply_fleet_http(rules)
            for _ in range(2):
                await session.get(server.url)
    metrics = seen_at(server).get_metrics()
    assert (metrics["successes_total"], metrics["failures_total"]) == (7, 2)


async def test_with_an_aiohttp_that_keeps_things_elsewhere_it_counts_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.client.middleware._KNOWN_INSIDE", False)
    server.script(answers(200), answers(500))
    async with session_with(breakers.aiohttp_middleware()) as session:
        for _ in range(3):
            await session.get(server.url)
    async with session_with(breakers.aiohttp_middleware(lambda request: seen_at(server).name)) as session:
        await session.get(server.url)
    metrics = seen_at(server).get_metrics()
    assert (metrics["successes_total"], metrics["failures_total"]) == (1, 3)


async def test_who_was_idle_for_too_long_starts_anew_at_a_request_too(server: Server) -> None:
    async with session_with(breakers.aiohttp_middleware(idle_after=1e-9)) as session:
        for _ in range(3):
            await session.get(server.url)
            assert seen_at(server).get_metrics()["requests_total"] == 1


async def test_a_session_counts_exactly_when_others_read_and_edit_meanwhile(server: Server) -> None:
    async with session_with(breakers.aiohttp_middleware()) as session:
        for turn in range(30):
            async with session.get(server.url) as response:
                await response.read()
            assert seen_at(server).get_metrics()["successes_total"] == turn + 1
            if turn % 3 == 0:
                seen_at(server).configure(CircuitBreakerConfig(failure_threshold=turn + 1))
