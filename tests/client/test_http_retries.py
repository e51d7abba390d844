"""Whether a request is sent again, after how long, and when that stops."""

from __future__ import annotations

import asyncio
import io
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp.payload import BytesPayload
from hypothesis import given
from hypothesis import strategies as st

from breakers import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerState, HttpCircuitBreaker, HttpConfig, Override
from breakers.client.http import HttpCircuitBreakerOpenError
from breakers.client.limits import bounded, total_of, what_remains
from breakers.client.retries import may_send_again, retry_after, wait_before
from tests.misbehaving import Server, answers, hangs, resets, resets_mid_body
from tests.servers import free_port

OPEN = CircuitBreakerState.OPEN
QUICK = HttpConfig(retry_backoff=0.001)


def guard(http: HttpConfig = QUICK, **config: object) -> HttpCircuitBreaker:
    """An HTTP breaker of its own, outside any registry."""
    return HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(name="data_service", **config)), http)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
async def test_idempotent_methods_are_sent_again_until_an_answer_stands(
    server: Server, session: aiohttp.ClientSession, method: str
) -> None:
    server.script(answers(503), answers(503), answers(200))
    http = guard()
    response = await http.request(session, method, server.url)
    assert response.status == 200
    assert len(server.requests) == 3
    metrics = http.get_metrics()
    assert (metrics["failures_total"], metrics["successes_total"]) == (2, 1)  # each attempt through the breaker


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_other_methods_are_sent_again_only_where_told(
    server: Server, session: aiohttp.ClientSession, method: str
) -> None:
    server.script(answers(503))
    await guard().request(session, method, server.url)
    assert len(server.requests) == 1
    await guard(HttpConfig(retry_backoff=0.001, retry_non_idempotent=True)).request(session, method, server.url)
    assert len(server.requests) == 1 + 3


async def test_the_last_response_is_returned_when_attempts_run_out(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"1"), answers(503, b"2"), answers(503, b"3"))
    response = await guard(failure_threshold=100).get(session, server.url)
    assert await response.text() == "3"


async def test_statuses_that_are_not_for_retrying_stand_at_once(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(500))  # a failure, and not among the default retry_statuses
    assert (await guard().get(session, server.url)).status == 500
    assert len(server.requests) == 1


async def test_no_retries_where_the_config_says_none(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503))
    await guard(HttpConfig(max_retries=0)).get(session, server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("step", [resets, resets_mid_body])
async def test_broken_connections_and_bodies_are_tried_again(
    server: Server, session: aiohttp.ClientSession, step: object
) -> None:
    server.script(step, step, answers())  # type: ignore[arg-type]  # steps
    assert (await guard().put(session, server.url, data=b"whole")).status == 200
    assert server.requests[-1][2] == b"whole"


async def test_the_last_error_is_raised_when_attempts_run_out(session: aiohttp.ClientSession) -> None:
    http = guard(failure_threshold=100)
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(session, f"http://127.0.0.1:{free_port()}/")
    assert http.get_metrics()["failures_total"] == 3


async def test_a_timed_out_attempt_is_tried_again(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(hangs, answers())
    http = guard(timeout=0.2)
    assert (await http.get(session, server.url)).status == 200
    assert http.get_metrics()["timeouts_total"] == 1


async def test_discarded_streams_are_released(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503, b"x" * 5_000_000), answers(503, b"x" * 5_000_000), answers())
    async with asyncio.timeout(20), guard().get(session, server.url, stream=True) as response:
        assert response.status == 200  # the pool has room for one connection


async def test_a_caller_who_leaves_between_attempts_leaks_nothing(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"x" * 5_000_000, Retry_After="60"))
    http = guard(HttpConfig(max_retry_wait=60.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await http.get(session, server.url, stream=True)
    server.script(answers())
    async with asyncio.timeout(20), session.get(server.url) as response:
        assert response.status == 200


# -- the breaker -----------------------------------------------------------------------------------------------------


async def test_retries_stop_at_once_when_the_breaker_opens(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503, b"1", Retry_After="60"), answers(503, b"2", Retry_After="60"))
    http = guard(HttpConfig(max_retries=5, max_retry_wait=60.0), failure_threshold=1)
    async with asyncio.timeout(20):
        response = await http.get(session, server.url)
    assert await response.text() == "1"  # the answer that tripped it, not the rejection
    assert http.state is OPEN


async def test_a_waiting_retry_ends_when_another_call_opens_the_breaker(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"1", Retry_After="60"), answers(500, b"2"))
    http = guard(HttpConfig(max_retry_wait=60.0), failure_threshold=2)
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(http.get(session, server.url))
        while not http.get_metrics()["failures_total"]:
            await asyncio.sleep(0)
        await http.get(session, server.url)
        assert await (await waiting).text() == "1"
    assert http.get_metrics()["rejected_total"] == 0


async def test_an_order_to_open_ends_the_retries_with_what_there_is(
    server: Server, session: aiohttp.ClientSession
) -> None:
    http = guard(HttpConfig(max_retry_wait=60.0))

    async def forces_open(request: object) -> object:
        http.breaker.force_open(reason="INC-1")
        return await answers(503, b"last", Retry_After="60")(request)  # type: ignore[arg-type]  # a request

    server.script(forces_open)  # type: ignore[arg-type]  # a step
    async with asyncio.timeout(20):
        assert await (await http.get(session, server.url)).text() == "last"
    assert len(server.requests) == 1
    with pytest.raises(HttpCircuitBreakerOpenError) as rejection:
        await http.get(session, server.url)
    assert rejection.value.retry_after is None


@pytest.mark.parametrize("ordered_by", ["code", "the fleet", "code, in the end of shadow mode"])
async def test_an_order_to_open_ends_a_wait_at_once(
    server: Server, session: aiohttp.ClientSession, ordered_by: str
) -> None:
    """From another thread, as the link's is."""
    server.script(answers(503, b"last", Retry_After="3600"))
    http = guard(HttpConfig(max_retry_wait=3600.0), failure_threshold=1 if "shadow" in ordered_by else 100)
    if "shadow" in ordered_by:
        http.force_closed()
    orders = {
        "code": http.force_open,
        "the fleet": lambda: http.breaker.set_fleet_override(Override.FORCED_OPEN),
        "code, in the end of shadow mode": http.release,  # its machine is open underneath
    }
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(http.get(session, server.url, timeout=aiohttp.ClientTimeout(total=None)))
        while not http.breaker._listeners:
            await asyncio.sleep(0)
        await asyncio.to_thread(orders[ordered_by])
        assert await (await waiting).text() == "last"
    assert len(server.requests) == 1
    assert not http.breaker._listeners


async def test_an_order_that_lets_through_does_not_end_a_wait(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503, Retry_After="0.3"), answers())
    http = guard(failure_threshold=100)
    waiting = asyncio.create_task(http.get(session, server.url))
    while not http.breaker._listeners:
        await asyncio.sleep(0)
    http.force_closed()
    http.release()
    assert (await waiting).status == 200


async def test_a_retry_that_is_rejected_after_its_wait_leaves_the_last_response(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"last", Retry_After="0.3"))
    http = guard()
    waiting = asyncio.create_task(http.get(session, server.url))
    while not http.get_metrics()["failures_total"]:
        await asyncio.sleep(0)
    http.breaker.force_open()
    assert await (await waiting).text() == "last"
    assert len(server.requests) == 1


async def test_waiting_leaves_no_listener_behind(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503))
    http = guard(failure_threshold=100)
    await http.get(session, server.url)
    assert http.breaker._listeners._cells == ()


async def test_in_shadow_mode_retries_go_on(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503), answers(503), answers(200))
    http = guard(failure_threshold=1)
    http.breaker.force_closed()
    assert (await http.get(session, server.url)).status == 200
    assert http.get_metrics()["override"] is Override.FORCED_CLOSED


async def test_a_rejection_by_a_breaker_further_inside_is_neither_evidence_nor_tried_again(
    server: Server, session: aiohttp.ClientSession
) -> None:
    calls = 0

    async def rejects(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal calls
        calls += 1
        raise HttpCircuitBreakerOpenError("inner", OPEN)

    http = guard()
    with pytest.raises(HttpCircuitBreakerOpenError, match="inner"):
        await http.get(session, server.url, middlewares=[rejects])
    assert calls == 1
    assert http.get_metrics()["ignored_total"] == 1


# -- the caller's time -----------------------------------------------------------------------------------------------


async def test_the_callers_total_covers_all_attempts(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503), hangs)
    http = guard(timeout=None)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await http.get(session, server.url, timeout=aiohttp.ClientTimeout(total=0.4))
    assert len(server.requests) == 2
    assert http.get_metrics()["failures_total"] == 2
    assert time.monotonic() - began < 30


class Recording:
    """A session that remembers the limits of each request."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.totals: list[float | None] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.session, name)

    def request(self, method: str, url: str, **options: object) -> object:
        limits = options.get("timeout", self.session.timeout)
        assert isinstance(limits, aiohttp.ClientTimeout)
        self.totals.append(limits.total)
        return self.session.request(method, url, **options)  # type: ignore[arg-type]  # aiohttp's own


async def test_each_attempt_has_what_is_left_of_the_total(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(503))
    recording = Recording(session)
    limits = aiohttp.ClientTimeout(total=1000)
    await guard(failure_threshold=100, timeout=None).get(recording, server.url, timeout=limits)  # type: ignore[arg-type]  # as one
    first, second, third = recording.totals
    assert first == 1000
    assert 900 < third < second < 1000  # type: ignore[operator]  # all of them limited


async def test_a_wait_longer_than_the_callers_total_is_not_begun(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"1", Retry_After="30"))
    http = guard(HttpConfig(max_retry_wait=60.0))
    async with asyncio.timeout(20):
        response = await http.get(session, server.url, timeout=aiohttp.ClientTimeout(total=20))
    assert await response.text() == "1"


def test_what_remains_of_the_callers_limits() -> None:
    limits = aiohttp.ClientTimeout(total=10, connect=1, sock_read=2, sock_connect=3)
    assert what_remains(limits, 4) == aiohttp.ClientTimeout(total=6, connect=1, sock_read=2, sock_connect=3)
    assert what_remains(limits, 10) is None
    unlimited = aiohttp.ClientTimeout(total=None, sock_read=2)
    assert what_remains(unlimited, 1e9) is unlimited


async def test_limits_are_read_as_aiohttp_reads_them(session: aiohttp.ClientSession) -> None:
    own = aiohttp.ClientTimeout(total=3)
    assert total_of(session, {}) is session.timeout
    assert total_of(session, {"timeout": own}) is own
    assert total_of(session, {"timeout": 7}) == aiohttp.ClientTimeout(total=7)
    assert total_of(session, {"timeout": None}).total is None


@pytest.mark.parametrize("nonsense", ["5", object(), aiohttp.ClientTimeout(total="5")])  # type: ignore[arg-type]  # nonsense
async def test_a_limit_that_cannot_be_is_aiohttps_error(
    server: Server, session: aiohttp.ClientSession, nonsense: object
) -> None:
    http = guard(failure_threshold=1)
    with pytest.raises(TypeError):
        await http.get(session, server.url, timeout=nonsense)  # type: ignore[arg-type]  # that is the point
    metrics = http.get_metrics()
    assert metrics["requests_total"] == metrics["ignored_total"]  # no evidence, and none in flight
    assert (await http.get(session, server.url)).status == 200


@pytest.mark.parametrize("total", [None, 0, -1])
def test_a_total_that_aiohttp_takes_for_no_limit_is_none_here_either(total: float | None) -> None:
    limits = aiohttp.ClientTimeout(total=total)
    assert what_remains(limits, 1e9) is limits
    assert bounded(limits, 30).total == 30


# -- Retry-After -----------------------------------------------------------------------------------------------------


async def test_retry_after_is_waited_for(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(429, Retry_After="1"), answers())
    began = time.monotonic()
    assert (await guard().get(session, server.url)).status == 200
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("9" * 5000, float("inf")),
        ("-1", None),
        ("", None),
        ("soon", None),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds


def test_retry_after_as_a_date_by_the_servers_own_clock() -> None:
    theirs = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    until = format_datetime(theirs + timedelta(seconds=90), usegmt=True)
    assert retry_after({"Retry-After": until, "Date": format_datetime(theirs, usegmt=True)}) == 90
    assert retry_after({"Retry-After": until}) == 0  # long ago, by ours


def test_retry_after_as_a_date_by_our_clock_where_the_server_shows_none() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    found = retry_after({"Retry-After": until})
    assert found is not None
    assert 60 < found <= 90


@given(st.text(max_size=60))
def test_no_header_breaks_a_call(text: str) -> None:
    found = retry_after({"Retry-After": text, "Date": text})
    assert found is None or found >= 0


@given(st.integers(1, 40), st.floats(0.001, 10), st.floats(0.001, 10))
def test_waits_double_with_full_jitter_and_have_a_ceiling(attempt: int, backoff: float, ceiling: float) -> None:
    wait = wait_before(HttpConfig(retry_backoff=backoff, max_retry_wait=ceiling), attempt, TimeoutError())
    assert 0 <= wait <= min(ceiling, backoff * 2 ** (attempt - 1))


def test_waits_are_spread_over_the_whole_window() -> None:
    waits = [wait_before(HttpConfig(retry_backoff=1.0), 3, TimeoutError()) for _ in range(400)]
    assert min(waits) < 1 < 3 < max(waits) <= 4


async def test_retry_after_has_a_ceiling_too(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(429, Retry_After="3600"), answers())
    async with asyncio.timeout(20):
        assert (await guard(HttpConfig(max_retry_wait=0.01)).get(session, server.url)).status == 200


# -- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "repeatable"),
    [
        (None, True),
        (b"bytes", True),
        ("text", True),
        (bytearray(b"x"), True),
        ({"a": "1", "b": b"2"}, True),
        ([("a", "1"), ("a", "2")], True),
        (BytesPayload(b"x"), True),
        ({"file": io.BytesIO(b"x")}, False),
        ([("file", io.BytesIO(b"x"))], False),
        (io.BytesIO(b"x"), False),
        (iter([b"x"]), False),
        (aiohttp.FormData({"a": "1"}), False),
    ],
)
def test_bodies_that_cannot_be_sent_twice_are_sent_once(body: object, repeatable: bool) -> None:
    assert may_send_again(HttpConfig(), "PUT", {"data": body}) is repeatable


@pytest.mark.parametrize("option", ["headers", "cookies", "skip_auto_headers", "proxy_headers"])
def test_what_else_can_be_read_only_once_is_sent_once_too(option: str) -> None:
    """A second attempt would go without its key."""
    assert not may_send_again(HttpConfig(), "GET", {option: iter([("Authorization", "Bearer x")])})
    assert may_send_again(HttpConfig(), "GET", {option: [("Authorization", "Bearer x")]})


def test_a_tracked_upload_is_sent_once() -> None:
    assert not may_send_again(HttpConfig(), "PUT", {"data": b"x", "upload_tracker": object()})


def test_methods_are_known_in_any_case() -> None:
    assert may_send_again(HttpConfig(), "get", {})


async def test_a_generator_is_sent_once_and_json_again(server: Server, session: aiohttp.ClientSession) -> None:
    async def chunks() -> object:
        yield b"once"

    server.script(answers(503))
    await guard().put(session, server.url, data=chunks())
    assert [body for _, _, body in server.requests] == [b"once"]
    server.script(answers(503), answers())
    await guard().put(session, server.url, json={"a": 1})
    assert [body for _, _, body in server.requests[1:]] == [b'{"a": 1}'] * 2
