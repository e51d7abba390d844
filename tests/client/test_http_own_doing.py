"""What goes wrong by the caller's own doing says nothing of who was asked; what the caller wants to count does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerState, HttpCircuitBreaker, HttpConfig
from breakers.testing import fresh_registry
from tests.misbehaving import Server, answers, hangs

CONFIG = CircuitBreakerConfig(name="data_service", failure_threshold=100)
ONCE = HttpConfig(max_retries=0)
WAYS = ["http", "stream", "middleware"]


def counts(breaker: CircuitBreaker) -> dict[str, int]:
    """The counters that are not zero."""
    metrics = breaker.get_metrics()
    names = ("successes", "failures", "rejected", "ignored", "late", "timeouts")
    return {name: metrics[f"{name}_total"] for name in names if metrics[f"{name}_total"]}


async def posted(way: str, url: str, **options: object) -> dict[str, int]:
    """What the breaker has counted of a POST that raised."""
    with fresh_registry():
        breaker = breakers.get_circuit_breaker("data_service", CONFIG)
        guard = breakers.aiohttp_middleware(lambda request: "data_service", None, ONCE)
        async with aiohttp.ClientSession(middlewares=[guard] if way == "middleware" else []) as session:
            if way == "middleware":
                asked = session.post(url, **options)  # type: ignore[arg-type]  # aiohttp's
            else:
                asked = HttpCircuitBreaker(breaker, ONCE).post(session, url, stream=way == "stream", **options)  # type: ignore[arg-type, assignment]  # aiohttp's
            with pytest.raises(aiohttp.ClientError):
                await asked
        return counts(breaker)


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_that_the_caller_cannot_make_is_no_evidence(server: Server, way: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"the first part"
        raise LookupError("the second part is missing")

    assert await posted(way, server.url, data=body()) == {"ignored": 1}


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_breaks_under_a_body_is_a_failure(server: Server, way: str) -> None:
    reset = asyncio.Event()

    async def resets_meanwhile(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        await request.content.readany()
        request.transport.abort()
        reset.set()
        return web.Response()

    async def body() -> AsyncIterator[bytes]:
        yield b"the first part"
        await reset.wait()
        while True:
            yield b"another part" * 1000
            await asyncio.sleep(0)

    runner = web.ServerRunner(web.Server(resets_meanwhile))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        assert await posted(way, f"http://127.0.0.1:{runner.addresses[0][1]}/", data=body()) == {"failures": 1}
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_session_that_is_closed_under_a_request_is_no_evidence_and_not_asked_again(
    server: Server, stream: bool
) -> None:
    reached = asyncio.Event()

    async def reach(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await hangs(request)

    server.script(reach)
    breaker = CircuitBreaker(CONFIG)
    async with aiohttp.ClientSession() as session:
        http = HttpCircuitBreaker(breaker, HttpConfig(retry_backoff=0.001, retry_non_idempotent=True))
        asking = asyncio.create_task(http.post(session, server.url, stream=stream))
        await reached.wait()
        await session.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asking
    assert counts(breaker) == {"ignored": 1}


async def test_nor_is_one_with_the_middleware(server: Server) -> None:
    reached = asyncio.Event()

    async def reach(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await hangs(request)

    server.script(reach)
    with fresh_registry():
        breaker = breakers.get_circuit_breaker("data_service", CONFIG)
        guard = breakers.aiohttp_middleware(lambda request: breaker.name)
        async with aiohttp.ClientSession(middlewares=[guard]) as session:
            asking = asyncio.create_task(session.post(server.url))
            await reached.wait()
            await session.close()
            with pytest.raises(aiohttp.ClientConnectionError):
                await asking
        assert counts(breaker) == {"ignored": 1}


# -- what the caller wants to count ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_failure_if_judges_responses_too(server: Server, session: aiohttp.ClientSession, stream: bool) -> None:
    server.script(answers(200, b"Sorry", X_Sick="yes"), answers(200, b"fine"), answers(500))
    breaker = CircuitBreaker(CONFIG, failure_if=lambda response: "X-Sick" in response.headers)
    http = HttpCircuitBreaker(breaker, ONCE)
    for status in (200, 200, 500):
        async with http.get(session, server.url, stream=stream) as response:
            assert response.status == status
            await response.read()
    assert counts(breaker) == {"successes": 1, "failures": 2}


async def test_an_attempt_after_the_first_is_judged_by_failure_if_too(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503), answers(200, X_Sick="yes"))
    breaker = CircuitBreaker(CONFIG, failure_if=lambda response: "X-Sick" in response.headers)
    http = HttpCircuitBreaker(breaker, HttpConfig(retry_backoff=0.001))
    assert (await http.get(session, server.url)).status == 200
    assert counts(breaker) == {"failures": 2}


# -- what the caller is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_breakers_limit_says_whose_it_is_and_how_long_it_was(
    server: Server, session: aiohttp.ClientSession, stream: bool
) -> None:
    server.script(hangs)
    breaker = CircuitBreaker(CircuitBreakerConfig(name="data_service", timeout=0.1, failure_threshold=1))
    seen: list[breakers.Transition] = []
    breaker.on_transition(seen.append)
    with pytest.raises(TimeoutError) as raised:
        await HttpCircuitBreaker(breaker, ONCE).get(session, server.url, stream=stream)
    assert str(raised.value) == "Circuit breaker 'data_service': no answer within 0.1 s"
    assert seen[0].cause.endswith(f"TimeoutError: {raised.value}")


async def test_a_shorter_limit_of_the_callers_does_not_pass_for_the_breakers(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(hangs)
    http = HttpCircuitBreaker(CircuitBreaker(CONFIG), ONCE)
    with pytest.raises(TimeoutError) as raised:
        await http.get(session, server.url, timeout=aiohttp.ClientTimeout(total=0.1))
    assert "Circuit breaker" not in str(raised.value)


# -- connections that are something else from now on -----------------------------------------------------------------


async def switches(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tea\r\nConnection: Upgrade\r\n\r\nraw")
    return await hangs(request)


UPGRADE = {"Upgrade": "tea", "Connection": "Upgrade"}


async def test_a_connection_that_switches_protocols_is_the_callers_where_it_is_asked_for_as_a_stream(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(switches)
    breaker = CircuitBreaker(CONFIG)
    async with HttpCircuitBreaker(breaker).get(session, server.url, stream=True, headers=UPGRADE) as response:
        assert response.status == 101
        assert response.connection is not None
    assert counts(breaker) == {"successes": 1}
    server.script(answers())
    async with asyncio.timeout(20), session.get(server.url) as after:
        assert after.status == 200


async def test_else_it_is_closed_as_its_answer_is_here(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(switches)
    breaker = CircuitBreaker(CONFIG)
    async with HttpCircuitBreaker(breaker).get(session, server.url, headers=UPGRADE) as response:
        assert response.status == 101
    assert counts(breaker) == {"successes": 1}
    server.script(answers())
    async with asyncio.timeout(20), session.get(server.url) as after:  # the pool has room for one
        assert after.status == 200


# -- what is given ---------------------------------------------------------------------------------------------------


async def test_an_http_breaker_of_its_own_is_made_of_a_config(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(500))
    http = HttpCircuitBreaker(CircuitBreakerConfig(name="own", failure_threshold=1), ONCE)
    assert (await http.get(session, server.url)).status == 500
    assert (http.name, http.state) == ("own", CircuitBreakerState.OPEN)
    assert "own" not in breakers.registry


def test_what_is_no_breaker_is_named() -> None:
    with pytest.raises(TypeError, match=r"get_http_circuit_breaker\('data_service'\)"):
        HttpCircuitBreaker("data_service")  # type: ignore[arg-type]  # that is what it is about


@pytest.mark.parametrize("http", [{"max_retries": 1}, 3, CONFIG])
def test_what_is_no_http_config_is_named_and_makes_no_breaker(http: object) -> None:
    with pytest.raises(TypeError, match="expected an HttpConfig, not"):
        breakers.get_http_circuit_breaker("of-a-dict", http=http)  # type: ignore[arg-type]  # that is what it is about
    assert "of-a-dict" not in breakers.registry
    with pytest.raises(TypeError, match="expected an HttpConfig, not"):
        HttpCircuitBreaker(CONFIG, http)  # type: ignore[arg-type]  # that is what it is about


def test_what_is_no_config_is_named_and_makes_no_breaker() -> None:
    for get in (breakers.get_http_circuit_breaker, breakers.get_circuit_breaker):
        with pytest.raises(TypeError, match="expected a CircuitBreakerConfig, not"):
            get("of-a-dict", {"failure_threshold": 1})  # type: ignore[operator]  # that is what it is about
    assert "of-a-dict" not in breakers.registry
