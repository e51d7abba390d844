"""Each way in which a server misbehaves, through each way of asking: what the caller gets, what the breaker counts, and
that the pool has its one connection back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, HttpCircuitBreaker, HttpConfig
from breakers.testing import fresh_registry
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
from tests.servers import free_port

SHORT = 0.3
NAME = "misbehaving"
PATIENT = CircuitBreakerConfig(name=NAME, failure_threshold=100)
HASTY = replace(PATIENT, timeout=SHORT)
ONCE = HttpConfig(max_retries=0)


async def refuses(request: web.Request) -> web.StreamResponse:
    raise AssertionError("nobody is there to be asked")


async def trickles_headers(request: web.Request) -> web.StreamResponse:
    """A letter now and then: no wait for one is ever long."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not request.transport.is_closing():
        request.transport.write(b"x")
        await asyncio.sleep(0.02)
    return web.Response()


@dataclass(frozen=True)
class Case:
    steps: tuple[Step, ...]
    gets: int | type[BaseException]
    """A status, or what is raised."""
    counts: str
    also: str = ""
    """Another counter that goes up."""


BODY = {
    "slow body": Case((hangs_mid_body,), TimeoutError, "failures", "timeouts"),
    "trickling body": Case((trickles_body,), TimeoutError, "failures", "timeouts"),
}
CASES = {
    "refused": Case((refuses,), aiohttp.ClientConnectorError, "failures"),
    "reset": Case((resets,), aiohttp.ServerDisconnectedError, "failures"),
    "reset mid-headers": Case((resets_mid_headers,), aiohttp.ClientError, "failures"),
    "reset mid-body": Case((resets_mid_body,), aiohttp.ClientPayloadError, "failures"),
    "slow headers": Case((hangs,), TimeoutError, "failures", "timeouts"),
    "trickling headers": Case((trickles_headers,), TimeoutError, "failures", "timeouts"),
    "500": Case((answers(500),), 500, "failures"),
    "429 with Retry-After": Case((answers(429, Retry_After="3600"),), 429, "failures"),
    "404": Case((answers(404),), 404, "successes"),
    "huge body": Case((answers(body=b"x" * 20_000_000),), 200, "successes"),
    "keep-alive closed": Case((closes_after_the_answer,), 200, "successes"),
}


async def through(way: str, session: aiohttp.ClientSession, url: str, **options: object) -> int:
    """A POST, which neither aiohttp nor we send again; its status when its body has been read."""
    http = HttpCircuitBreaker(breakers.get_circuit_breaker(NAME), ONCE)
    if way == "http.post":
        return (await http.post(session, url, **options)).status  # type: ignore[arg-type]  # aiohttp's
    asked = session.post(url, **options) if way == "middleware" else http.post(session, url, stream=True, **options)  # type: ignore[arg-type]  # aiohttp's
    async with asked as response:
        await response.read()
        return response.status


def session_of(way: str, config: CircuitBreakerConfig = PATIENT) -> aiohttp.ClientSession:
    """With a breaker by this config in the registry."""
    breakers.get_circuit_breaker(NAME, config)
    guard = breakers.aiohttp_middleware(lambda request: NAME, None, ONCE)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1), middlewares=(guard,) if way == "middleware" else ()
    )


def unread(way: str, session: aiohttp.ClientSession, url: str) -> Awaitable[aiohttp.ClientResponse]:
    """A POST whose body is not read."""
    if way == "middleware":
        return session.post(url)
    return HttpCircuitBreaker(breakers.get_circuit_breaker(NAME), ONCE).post(session, url, stream=True)


def counted(name: str = NAME) -> dict[str, int]:
    metrics = breakers.get_circuit_breaker(name).get_metrics()
    names = ("successes", "failures", "rejected", "ignored", "late", "timeouts")
    return {name: metrics[f"{name}_total"] for name in names if metrics[f"{name}_total"]}


async def the_pool_is_whole(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers())
    async with asyncio.timeout(60), session.get(server.url, middlewares=()) as response:
        assert await response.read() == b"fine"


@pytest.mark.parametrize("way", ["http.post", "http.post(stream=True)", "middleware"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_the_caller_gets_what_counts_and_what_the_pool_keeps(server: Server, case: Case, way: str) -> None:
    server.script(*case.steps)
    url = f"http://127.0.0.1:{free_port()}/" if case.steps == (refuses,) else server.url
    with fresh_registry():
        async with session_of(way, HASTY if case.also == "timeouts" else PATIENT) as session:
            if isinstance(case.gets, int):
                assert await through(way, session, url) == case.gets
            else:
                with pytest.raises(case.gets):
                    await through(way, session, url)
            assert counted() == {case.counts: 1} | ({case.also: 1} if case.also else {})
            await the_pool_is_whole(server, session)


@pytest.mark.parametrize("case", BODY.values(), ids=BODY.keys())
async def test_the_breakers_limit_covers_a_body_that_is_read_for_the_caller(server: Server, case: Case) -> None:
    server.script(*case.steps)
    with fresh_registry():
        async with session_of("http.post", HASTY) as session:
            with pytest.raises(TimeoutError):
                await through("http.post", session, server.url)
            assert counted() == {"failures": 1, "timeouts": 1}
            await the_pool_is_whole(server, session)


@pytest.mark.parametrize("way", ["http.post(stream=True)", "middleware"])
@pytest.mark.parametrize("case", BODY.values(), ids=BODY.keys())
async def test_a_body_that_the_caller_reads_has_the_callers_limit(server: Server, case: Case, way: str) -> None:
    server.script(*case.steps)
    with fresh_registry():
        async with session_of(way) as session:
            with pytest.raises(TimeoutError):
                await through(way, session, server.url, timeout=aiohttp.ClientTimeout(total=SHORT))
            assert counted() == {"failures": 1, "timeouts": 1}
            await the_pool_is_whole(server, session)


@pytest.mark.parametrize("way", ["http.post", "http.post(stream=True)", "middleware"])
@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_a_cancelled_caller_is_no_evidence(server: Server, step: Step, way: str) -> None:
    reached = asyncio.Event()

    async def reach(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await step(request)

    server.script(reach)
    with fresh_registry():
        async with session_of(way) as session:
            asking = asyncio.create_task(through(way, session, server.url))
            await reached.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert counted() == {"ignored": 1}
            await the_pool_is_whole(server, session)


@pytest.mark.parametrize("way", ["http.post(stream=True)", "middleware"])
async def test_a_reply_that_comes_as_the_limit_strikes_is_the_callers_and_a_timeout(server: Server, way: str) -> None:
    """As of ``breaker.call()``."""

    async def holds_on_to_it(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        with suppress(asyncio.CancelledError):  # which is the limit striking
            await asyncio.sleep(3600)
        return response

    with fresh_registry():
        async with session_of(way, HASTY) as session:
            guards = (breakers.aiohttp_middleware(lambda request: NAME, None, ONCE),) if way == "middleware" else ()
            for turn in (1, 2):  # the first request of a host goes another way than the next
                assert await through(way, session, server.url, middlewares=(*guards, holds_on_to_it)) == 200
                assert counted() == {"failures": turn, "timeouts": turn}
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await the_pool_is_whole(server, session)


@pytest.mark.parametrize("way", ["http.post", "http.post(stream=True)"])
async def test_a_chain_of_redirects_is_one_call_and_for_the_middleware_each_is_one(server: Server, way: str) -> None:
    for asked, expected in ((way, 1), ("middleware", 3)):
        server.script(redirects("/a"), redirects("/b"), answers())
        with fresh_registry():
            async with session_of(asked) as session:
                assert await through(asked, session, server.url) == 200
                assert counted() == {"successes": expected}
                await the_pool_is_whole(server, session)
        breakers.registry.forget(NAME)


async def nothing_of_it(response: aiohttp.ClientResponse) -> None:
    assert response.status == 200


async def a_part_of_it(response: aiohttp.ClientResponse) -> None:
    assert await response.content.readexactly(10) == b"x" * 10


async def a_part_of_it_in_a_loop(response: aiohttp.ClientResponse) -> None:
    async for part in response.content.iter_any():
        assert part
        break


@pytest.mark.filterwarnings("ignore:Unclosed response:ResourceWarning")  # aiohttp's word about what is forgotten
@pytest.mark.parametrize("way", ["http.post(stream=True)", "middleware"])
@pytest.mark.parametrize("read", [nothing_of_it, a_part_of_it, a_part_of_it_in_a_loop])
async def test_a_response_that_is_forgotten_counts_at_once_and_its_connection_is_free(
    server: Server, read: Callable[[aiohttp.ClientResponse], Awaitable[None]], way: str
) -> None:
    with fresh_registry():
        async with session_of(way) as session:
            for turn in (1, 2):  # the first request of a host goes another way than the next
                server.script(hangs_mid_body)
                response = await unread(way, session, server.url)
                await read(response)
                assert counted() == ({"successes": turn - 1} if turn > 1 else {})
                gc.disable()  # by its references alone
                try:
                    del response
                    assert counted() == {"successes": turn}
                finally:
                    gc.enable()
                await the_pool_is_whole(server, session)
            assert counted() == {"successes": 2}


@pytest.mark.filterwarnings("ignore:Unclosed response:ResourceWarning")
@pytest.mark.parametrize("way", ["http.post(stream=True)", "middleware"])
async def test_a_failing_response_that_is_forgotten_frees_its_connection(server: Server, way: str) -> None:
    async def fails_slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await asyncio.sleep(3600)
        return response

    server.script(fails_slowly)
    with fresh_registry():
        async with session_of(way) as session:
            assert (await unread(way, session, server.url)).status == 500
            assert counted() == {"failures": 1}
            await the_pool_is_whole(server, session)


@pytest.mark.filterwarnings("ignore:Unclosed response:ResourceWarning")
async def test_a_stream_through_both_counts_for_each_when_it_ends_breaks_or_is_forgotten(server: Server) -> None:
    inner = breakers.aiohttp_middleware(lambda request: "inner")
    with fresh_registry():
        async with session_of("http.post(stream=True)") as session:

            async def ask(step: Step) -> aiohttp.ClientResponse:
                server.script(step)
                http = HttpCircuitBreaker(breakers.get_circuit_breaker(NAME), ONCE)
                return await http.post(session, server.url, stream=True, middlewares=(inner,))

            def both(**expected: int) -> None:
                assert counted() == counted("inner") == expected

            response = await ask(answers(body=b"x" * 3_000_000))
            assert len(await response.read()) == 3_000_000
            both(successes=1)
            response = await ask(resets_mid_body)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()  # the response is held still, and with it the connection
            both(successes=1, failures=1)
            response.close()
            response = await ask(hangs_mid_body)
            del response
            both(successes=2, failures=1)
            await the_pool_is_whole(server, session)


async def by_lines(content: aiohttp.StreamReader) -> bytes:
    return b"".join([line async for line in content])


async def by_chunks(content: aiohttp.StreamReader) -> bytes:
    return b"".join([chunk async for chunk, _ in content.iter_chunks()])


async def by_sizes(content: aiohttp.StreamReader) -> bytes:
    return b"".join([part async for part in content.iter_chunked(1000)])


@pytest.mark.parametrize("read", [aiohttp.StreamReader.read, by_lines, by_chunks, by_sizes])
async def test_who_keeps_the_reader_of_a_stream_keeps_the_response(
    server: Server, session: aiohttp.ClientSession, read: Callable[[aiohttp.StreamReader], Awaitable[bytes]]
) -> None:
    """More than a reader takes in advance, so that the connection is still needed."""
    body = b"x" * 99_999 + b"\n"
    server.script(answers(body=body * 30))
    http = HttpCircuitBreaker(CircuitBreaker(PATIENT), ONCE)
    response = await http.post(session, server.url, stream=True)
    assert isinstance(response, aiohttp.ClientResponse)
    content = response.content
    assert isinstance(content, aiohttp.StreamReader)
    del response
    gc.collect()
    assert await read(content) == body * 30
    assert (content.at_eof(), content.exception(), content.total_bytes) == (True, None, len(body) * 30)
    assert http.get_metrics()["successes_total"] == 1
    await the_pool_is_whole(server, session)


@pytest.mark.parametrize("way", ["http.post(stream=True)", "middleware"])
@pytest.mark.parametrize("read", [aiohttp.StreamReader.read, by_lines, by_chunks, by_sizes])
async def test_a_body_that_breaks_counts_at_once_whoever_holds_the_response_still(
    server: Server, read: Callable[[aiohttp.StreamReader], Awaitable[bytes]], way: str
) -> None:
    server.script(resets_mid_body)
    with fresh_registry():
        async with session_of(way) as session:
            http = HttpCircuitBreaker(breakers.get_circuit_breaker(NAME), ONCE)
            asked = session.post(server.url) if way == "middleware" else http.post(session, server.url, stream=True)
            response = await asked
            with pytest.raises(aiohttp.ClientPayloadError):
                await read(response.content)
            assert counted() == {"failures": 1}
            response.close()
            assert counted() == {"failures": 1}
            await the_pool_is_whole(server, session)


class Own(aiohttp.ClientResponse):
    """A response class of the session's own."""


async def test_a_stream_stays_of_the_sessions_own_class(server: Server) -> None:
    http = HttpCircuitBreaker(CircuitBreaker(PATIENT), ONCE)
    server.script(hangs_mid_body)
    async with aiohttp.ClientSession(response_class=Own) as session:
        response = await http.get(session, server.url, stream=True)
        assert isinstance(response, Own)
        del response
        assert http.get_metrics()["successes_total"] == 1


async def test_a_probe_whose_body_nobody_reads_does_not_hold_the_breaker_half_open(server: Server) -> None:
    server.script(hangs_mid_body)
    breaker = CircuitBreaker(CircuitBreakerConfig(name="a", failure_threshold=1, success_threshold=1, timeout=0.1))
    with pytest.raises(OSError), breaker:
        raise OSError
    breaker.configure(CircuitBreakerConfig(recovery_timeout=1e-9, success_threshold=1, timeout=0.1))
    async with aiohttp.ClientSession() as session:
        http = HttpCircuitBreaker(breaker, ONCE)
        held = await http.get(session, server.url, stream=True)
        with pytest.raises(breakers.CircuitBreakerOpenError):
            await http.get(session, server.url)
        await asyncio.sleep(0.11)  # the probe's lease
        server.script(answers())
        assert (await http.get(session, server.url)).status == 200
        assert breaker.state is breakers.CircuitBreakerState.CLOSED
        held.close()
        assert breaker.get_metrics()["late_total"] == 1
