"""What a program that uses httpx gets and what its breakers count, sync and async, when the server misbehaves."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

import breakers
from breakers import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpenError, CircuitBreakerState, HttpConfig
from breakers.client.httpx_attempts import Waits
from breakers.client.httpx_transport import (
    AsyncCircuitBreakerTransport,
    CircuitBreakerTransport,
    HttpxCircuitBreakerOpenError,
    HttpxCircuitBreakerTimeout,
)
from breakers.testing import FakeClock
from tests.misbehaving import (
    Server,
    Step,
    answers,
    hangs,
    hangs_mid_body,
    redirects,
    resets,
    resets_mid_body,
    resets_mid_headers,
    talks_nonsense,
)
from tests.servers import free_port

OPEN, CLOSED = CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED
NO_RETRIES = HttpConfig(max_retries=0)
QUICK = HttpConfig(retry_backoff=0.001)

Ask = Callable[..., Awaitable[httpx.Response]]


class Guarded:
    """A client through a breaker of its own, plain or async."""

    def __init__(self, kind: str, http: HttpConfig, config: CircuitBreakerConfig | None = None) -> None:
        name = f"httpx-{uuid4().hex}"
        self.breaker: CircuitBreaker = breakers.get_circuit_breaker(name, config)
        make = AsyncCircuitBreakerTransport if kind == "async" else CircuitBreakerTransport
        self.transport = make(name, http=http)
        self.kind = kind

    async def ask(self, method: str, url: str, **options: object) -> httpx.Response:
        timeout = httpx.Timeout(options.pop("limit", 10.0))
        if self.kind == "async":
            async with httpx.AsyncClient(transport=self.transport, timeout=timeout, trust_env=False) as client:
                return await client.request(method, url, **options)
        return await asyncio.to_thread(self._ask, method, url, timeout, options)

    def _ask(self, method: str, url: str, timeout: httpx.Timeout, options: dict[str, object]) -> httpx.Response:
        with httpx.Client(transport=self.transport, timeout=timeout, trust_env=False) as client:
            return client.request(method, url, **options)

    def counted(self) -> tuple[int, int, int, int]:
        """Successes, failures, ignored, rejected."""
        metrics = self.breaker.get_metrics()
        return tuple(metrics[f"{name}_total"] for name in ("successes", "failures", "ignored", "rejected"))


@pytest.fixture(params=["sync", "async"])
def guarded(request: pytest.FixtureRequest) -> Callable[..., Guarded]:
    def make(http: HttpConfig = NO_RETRIES, config: CircuitBreakerConfig | None = None) -> Guarded:
        return Guarded(request.param, http, config)

    return make


@pytest.mark.parametrize("status", [200, 404, 429, 500, 503])
async def test_the_last_response_is_returned_and_its_status_counted(
    server: Server, guarded: Callable[..., Guarded], status: int
) -> None:
    server.script(answers(status, b"body"))
    made = guarded()
    response = await made.ask("GET", server.url)
    assert (response.status_code, response.content) == (status, b"body")
    assert made.counted() == ((1, 0, 0, 0) if status in (200, 404) else (0, 1, 0, 0))


@pytest.mark.parametrize("step", [resets, resets_mid_headers, resets_mid_body, talks_nonsense])
async def test_a_broken_connection_is_a_failure(server: Server, guarded: Callable[..., Guarded], step: Step) -> None:
    server.script(step)
    made = guarded()
    with pytest.raises(httpx.TransportError):
        await made.ask("GET", server.url)
    assert made.counted() == (0, 1, 0, 0)


async def test_a_refused_connection_is_a_failure_and_a_wrong_address_is_not(guarded: Callable[..., Guarded]) -> None:
    made = guarded()
    with pytest.raises(httpx.ConnectError):
        await made.ask("GET", f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(httpx.UnsupportedProtocol):
        await made.ask("GET", "gopher://127.0.0.1/")
    assert made.counted() == (0, 1, 1, 0)


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_a_time_limit_of_httpx_is_a_failure(server: Server, guarded: Callable[..., Guarded], step: Step) -> None:
    server.script(step)
    made = guarded()
    with pytest.raises(httpx.ReadTimeout):
        await made.ask("GET", server.url, limit=0.1)
    assert made.counted() == (0, 1, 0, 0)
    assert made.breaker.get_metrics()["timeouts_total"] == 1


async def test_an_open_breaker_rejects_with_an_error_that_handlers_of_httpx_catch(
    server: Server, guarded: Callable[..., Guarded]
) -> None:
    server.script(answers(500))
    made = guarded(NO_RETRIES, CircuitBreakerConfig(failure_threshold=2))
    for _ in range(2):
        await made.ask("GET", server.url)
    with pytest.raises(httpx.ConnectError) as caught:
        await made.ask("GET", server.url)
    error = caught.value
    assert isinstance(error, HttpxCircuitBreakerOpenError)
    assert isinstance(error, CircuitBreakerOpenError)
    assert (error.name, error.state, error.reason) == (made.breaker.name, OPEN, "consecutive_failures")
    assert error.retry_after is not None
    assert str(error).startswith(f"Circuit breaker '{made.breaker.name}' is open")
    assert error.request.url == server.url
    twin = pickle.loads(pickle.dumps(HttpxCircuitBreakerOpenError("a", OPEN, "forced_open", 1.5)))
    assert (twin.name, twin.state, twin.reason, twin.retry_after) == ("a", OPEN, "forced_open", 1.5)
    assert len(server.requests) == 2
    assert made.counted() == (0, 2, 0, 1)


async def test_idempotent_requests_are_sent_again_each_through_the_breaker(
    server: Server, guarded: Callable[..., Guarded]
) -> None:
    server.script(answers(503), resets, answers(200, b"well"))
    made = guarded(QUICK)
    assert (await made.ask("PUT", server.url, content=b"order")).content == b"well"
    assert server.requests == [("PUT", "/", b"order")] * 3
    assert made.counted() == (1, 2, 0, 0)


@pytest.mark.parametrize(("method", "body"), [("POST", b"order"), ("PUT", "generator")])
async def test_what_must_or_can_not_be_sent_twice_is_sent_once(
    server: Server, guarded: Callable[..., Guarded], method: str, body: object
) -> None:
    server.script(answers(503), answers(200))
    made = guarded(QUICK)
    content = body
    if body == "generator":
        content = parts_async() if made.kind == "async" else iter([b"or", b"der"])
    assert (await made.ask(method, server.url, content=content)).status_code == 503
    assert server.requests == [(method, "/", b"order")]


async def parts_async():  # type: ignore[no-untyped-def]  # an async generator of bytes
    yield b"or"
    yield b"der"


async def test_retries_end_with_the_last_answer_and_when_the_breaker_opens(
    server: Server, guarded: Callable[..., Guarded]
) -> None:
    server.script(answers(503, b"first"), answers(503, b"second"), answers(503, b"third"), answers(200))
    assert (await guarded(QUICK).ask("GET", server.url)).content == b"third"
    server.requests.clear()
    server.script(answers(503, b"first", Retry_After="60"), answers(503, b"second", Retry_After="60"))
    opening = guarded(HttpConfig(max_retry_wait=60), CircuitBreakerConfig(failure_threshold=1))
    async with asyncio.timeout(20):
        assert (await opening.ask("GET", server.url)).content == b"first"
    assert len(server.requests) == 1


async def test_an_order_to_open_ends_a_wait_at_once(server: Server, guarded: Callable[..., Guarded]) -> None:
    server.script(answers(503, b"last", Retry_After="3600"))
    made = guarded(HttpConfig(max_retry_wait=3600))
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(made.ask("GET", server.url))
        while not made.breaker._listeners:
            await asyncio.sleep(0.001)
        made.breaker.force_open()
        assert (await waiting).content == b"last"
    assert len(server.requests) == 1


async def test_a_failed_connection_is_raised_when_no_attempt_is_left(
    server: Server, guarded: Callable[..., Guarded]
) -> None:
    server.script(resets)
    made = guarded(QUICK)
    with pytest.raises(httpx.RemoteProtocolError):
        await made.ask("GET", server.url)
    assert len(server.requests) == 3
    assert made.counted() == (0, 3, 0, 0)


async def test_each_redirect_is_an_attempt(server: Server, guarded: Callable[..., Guarded]) -> None:
    server.script(redirects("/there"), answers(200, b"here"))
    made = guarded()
    assert (await made.ask("GET", server.url, follow_redirects=True)).content == b"here"
    assert made.counted() == (2, 0, 0, 0)


async def test_without_a_name_each_host_and_port_has_a_breaker_of_the_registry(server: Server) -> None:
    server.script(answers(500))
    transport = AsyncCircuitBreakerTransport(config=CircuitBreakerConfig(failure_threshold=1), http=NO_RETRIES)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        await client.get(server.url)
        with pytest.raises(HttpxCircuitBreakerOpenError) as caught:
            await client.get(server.url)
        assert caught.value.name == server.url.removeprefix("http://").rstrip("/")
        with pytest.raises(httpx.ConnectError) as refused:
            await client.get(f"http://127.0.0.1:{free_port()}/")
        assert not isinstance(refused.value, CircuitBreakerOpenError)
    assert caught.value.name in breakers.registry


async def test_a_function_may_name_the_breaker(server: Server) -> None:
    name = f"httpx-{uuid4().hex}"
    transport = AsyncCircuitBreakerTransport(lambda request: f"{name}-{request.method}", http=NO_RETRIES)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        await client.get(server.url)
    found = breakers.registry.get(f"{name}-GET")
    assert found is not None
    assert found.get_metrics()["successes_total"] == 1


async def test_the_breakers_own_limit_covers_the_headers(server: Server) -> None:
    server.script(hangs)
    made = Guarded("async", NO_RETRIES, CircuitBreakerConfig(timeout=0.05))
    with pytest.raises(HttpxCircuitBreakerTimeout) as caught:
        await made.ask("GET", server.url)
    assert isinstance(caught.value, httpx.TimeoutException)
    assert isinstance(caught.value, TimeoutError)
    assert made.counted() == (0, 1, 0, 0)


async def test_in_plain_functions_it_bounds_what_httpx_waits_for_up_to_the_headers(server: Server) -> None:
    made = Guarded("sync", NO_RETRIES, CircuitBreakerConfig(timeout=0.1))
    server.script(hangs)
    with pytest.raises(httpx.ReadTimeout):
        await made.ask("GET", server.url, limit=None)
    assert made.counted() == (0, 1, 0, 0)
    assert made.breaker.get_metrics()["timeouts_total"] == 1

    async def pauses_mid_body(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "2"})
        await response.prepare(request)
        await response.write(b"a")
        await asyncio.sleep(0.3)  # longer than the breaker's limit
        await response.write(b"b")
        return response

    server.script(pauses_mid_body)
    assert (await made.ask("GET", server.url, limit=None)).content == b"ab"
    assert made.counted() == (1, 1, 0, 0)


def test_each_wait_of_an_attempt_has_what_the_ones_before_left() -> None:
    clock = FakeClock()
    waits = Waits({"connect": None, "read": 4.0, "write": 20.0, "pool": None}, 10.0, clock)
    assert [waits.get(wait) for wait in ("connect", "read", "write", "pool")] == [10.0, 4.0, 10.0, None]
    clock.advance(8.0)
    assert [waits.get(wait) for wait in ("connect", "read", "write", "pool")] == [2.0, 2.0, 2.0, None]
    assert not waits.is_over
    clock.advance(2.0)
    assert waits.is_over
    assert 0 < (waits.get("read") or 0) < 0.1
    waits.lift()
    assert [waits.get(wait) for wait in ("connect", "read", "write", "pool")] == [None, 4.0, 20.0, None]


async def test_in_plain_functions_headers_that_trickle_past_the_limit_are_a_timeout_when_they_are_here(
    server: Server,
) -> None:
    made = Guarded("sync", NO_RETRIES, CircuitBreakerConfig(timeout=0.5))

    async def trickles_headers(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Slow: ")
        for _ in range(16):  # 0.8 s, of which no wait is long
            await asyncio.sleep(0.05)
            request.transport.write(b"x")
        request.transport.write(b"\r\n\r\nfine")
        request.transport.close()
        return web.Response()

    server.script(trickles_headers)
    assert (await made.ask("GET", server.url, limit=None)).content == b"fine"
    assert made.counted() == (0, 1, 0, 0)
    assert made.breaker.get_metrics()["timeouts_total"] == 1


async def test_in_plain_functions_a_shorter_limit_of_the_callers_stays(server: Server) -> None:
    made = Guarded("sync", NO_RETRIES, CircuitBreakerConfig(timeout=30.0))
    server.script(hangs)
    with pytest.raises(httpx.ReadTimeout):
        await made.ask("GET", server.url, limit=0.1)
    assert made.counted() == (0, 1, 0, 0)


async def test_a_stream_counts_when_its_body_ends_or_is_let_go(server: Server) -> None:
    made = Guarded("async", NO_RETRIES)
    server.script(answers(200, b"x" * 100_000))
    async with httpx.AsyncClient(transport=made.transport, trust_env=False) as client:
        async with client.stream("GET", server.url) as response:
            assert made.counted() == (0, 0, 0, 0)
            async for _ in response.aiter_bytes():
                break
        assert made.counted() == (1, 0, 0, 0)
        server.script(resets_mid_body)
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("GET", server.url) as response:
                await response.aread()
        assert made.counted() == (1, 1, 0, 0)


async def test_a_cancelled_caller_is_no_evidence(server: Server) -> None:
    reached = asyncio.Event()

    async def reach_and_hang(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await hangs(request)

    async def reach_and_hang_mid_body(request: web.Request) -> web.StreamResponse:
        reached.set()
        return await hangs_mid_body(request)

    for step in (reach_and_hang, reach_and_hang_mid_body):
        reached.clear()
        server.script(step)
        made = Guarded("async", NO_RETRIES)
        task = asyncio.create_task(made.ask("GET", server.url))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert made.counted() == (0, 0, 1, 0)
        assert made.breaker.state is CLOSED


async def test_no_free_connection_of_our_own_is_no_evidence(server: Server) -> None:
    made = Guarded("async", NO_RETRIES)
    inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1))
    transport = AsyncCircuitBreakerTransport(made.breaker.name, http=NO_RETRIES, transport=inner)
    server.script(hangs_mid_body)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client, client.stream("GET", server.url):
        with pytest.raises(httpx.PoolTimeout):
            await client.get(server.url, timeout=httpx.Timeout(10.0, pool=0.05))
    assert made.counted() == (1, 0, 1, 0)
    assert len(server.requests) == 1
