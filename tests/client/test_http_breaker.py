"""What a caller gets, what the breaker counts, and that the pool leaks nothing, against a server that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import pickle
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web

import breakers
from breakers import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitBreakerState,
    ConfigError,
    HttpCircuitBreaker,
    HttpConfig,
    Override,
)
from breakers.client.http import HttpCircuitBreakerOpenError
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


def guard(http: HttpConfig = NO_RETRIES, **config: object) -> HttpCircuitBreaker:
    """An HTTP breaker of its own, outside any registry."""
    return HttpCircuitBreaker(CircuitBreaker(CircuitBreakerConfig(name="data_service", **config)), http)  # type: ignore[arg-type]  # fields by name


def counts(http: HttpCircuitBreaker) -> dict[str, int]:
    """The counters that are not zero."""
    metrics = http.get_metrics()
    names = ("successes", "failures", "rejected", "ignored", "late", "timeouts")
    return {name: metrics[f"{name}_total"] for name in names if metrics[f"{name}_total"]}


async def still_works(server: Server, session: aiohttp.ClientSession) -> None:
    """The pool's one connection is free again."""
    server.script(answers())
    async with asyncio.timeout(20), session.get(server.url) as response:
        assert await response.read() == b"fine"


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
async def test_each_method_is_sent_as_itself(server: Server, session: aiohttp.ClientSession, method: str) -> None:
    http = guard()
    response = await getattr(http, method)(session, server.url)
    assert isinstance(response, aiohttp.ClientResponse)
    assert server.requests[-1][0] == method.upper()
    assert await response.text() == "fine"


async def test_head_does_not_follow_redirects_as_in_aiohttp(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(redirects("/elsewhere"))
    assert (await guard().head(session, server.url)).status == 302
    assert [method for method, _, _ in server.requests] == ["HEAD"]


async def test_request_takes_any_method_and_what_aiohttp_takes(server: Server, session: aiohttp.ClientSession) -> None:
    response = await guard().request(session, "REPORT", server.url, data=b"body", params={"a": "1"})
    assert server.requests == [("REPORT", "/", b"body")]
    assert response.url.query == {"a": "1"}


async def test_entered_as_aiohttps_own(server: Server, session: aiohttp.ClientSession) -> None:
    async with guard().get(session, server.url) as response:
        assert await response.read() == b"fine"


async def test_a_task_can_be_made_of_it_as_of_aiohttps_own(server: Server, session: aiohttp.ClientSession) -> None:
    response = await asyncio.create_task(guard().get(session, server.url))
    assert response.status == 200


async def test_the_body_is_read_inside_the_guarded_call(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(body=b"x" * 5_000_000))
    http = guard()
    first = await http.get(session, server.url)
    await still_works(server, session)  # although nobody read or released the first
    assert len(await first.read()) == 5_000_000
    assert counts(http) == {"successes": 1}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (resets, aiohttp.ServerDisconnectedError),
        (resets_mid_headers, aiohttp.ClientError),
        (resets_mid_body, aiohttp.ClientPayloadError),
        (talks_nonsense, aiohttp.ClientResponseError),
        (answers(body=b"this is not gzip", Content_Encoding="gzip"), aiohttp.ClientPayloadError),
    ],
)
async def test_a_broken_answer_is_a_failure_and_the_callers_own_exception(
    server: Server, session: aiohttp.ClientSession, step: Step, error: type[Exception]
) -> None:
    server.script(step)
    http = guard()
    with pytest.raises(error):
        await http.post(session, server.url)  # aiohttp itself tries a GET again
    assert counts(http) == {"failures": 1}
    await still_works(server, session)


async def test_a_refused_connection_is_a_failure(session: aiohttp.ClientSession) -> None:
    http = guard(failure_threshold=1)
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(session, f"http://127.0.0.1:{free_port()}/")
    assert counts(http) == {"failures": 1}
    assert http.state is OPEN


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_the_breakers_timeout_covers_headers_and_body(
    server: Server, session: aiohttp.ClientSession, step: Step
) -> None:
    server.script(step)
    http = guard(timeout=0.1)
    with pytest.raises(TimeoutError):
        await http.get(session, server.url)
    assert counts(http) == {"failures": 1, "timeouts": 1}
    await still_works(server, session)


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_aiohttps_own_timeouts_are_failures(server: Server, session: aiohttp.ClientSession, step: Step) -> None:
    server.script(step)
    http = guard()
    for limits in (aiohttp.ClientTimeout(total=0.1), aiohttp.ClientTimeout(sock_read=0.1)):
        with pytest.raises(TimeoutError):
            await http.get(session, server.url, timeout=limits)
    assert counts(http) == {"failures": 2, "timeouts": 2}
    await still_works(server, session)


@pytest.mark.parametrize("step", [hangs, hangs_mid_body])
async def test_a_caller_who_leaves_is_no_evidence(server: Server, session: aiohttp.ClientSession, step: Step) -> None:
    server.script(step)
    http = guard()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await http.get(session, server.url)
    assert counts(http) == {"ignored": 1}
    await still_works(server, session)


@pytest.mark.parametrize(("status", "failed"), [(200, 0), (302, 0), (404, 0), (429, 1), (499, 0), (500, 1), (599, 1)])
async def test_failing_statuses_count_and_the_response_is_returned_all_the_same(
    server: Server, session: aiohttp.ClientSession, status: int, failed: int
) -> None:
    server.script(answers(status, b"why"))
    http = guard()
    response = await http.get(session, server.url)
    assert (response.status, await response.text()) == (status, "why")
    assert counts(http) == ({"failures": 1} if failed else {"successes": 1})


async def test_what_fails_is_told_by_the_config(server: Server, session: aiohttp.ClientSession) -> None:
    http = guard(HttpConfig(failure_statuses="404", max_retries=0))
    for status in (404, 500):
        server.script(answers(status))
        await http.get(session, server.url)
    assert counts(http) == {"successes": 1, "failures": 1}


async def test_the_response_that_trips_is_returned_and_the_next_call_rejected_unsent(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503))
    http = guard(failure_threshold=2, recovery_timeout=60.0)
    seen: list[breakers.Transition] = []
    http.on_transition(seen.append)
    assert [(await http.get(session, server.url)).status for _ in range(2)] == [503, 503]
    with pytest.raises(HttpCircuitBreakerOpenError) as rejection:
        await http.get(session, server.url)
    assert len(server.requests) == 2
    assert "503" in seen[0].cause
    assert isinstance(rejection.value, CircuitBreakerOpenError)
    assert isinstance(rejection.value, aiohttp.ClientConnectionError)
    assert (rejection.value.name, rejection.value.state) == ("data_service", OPEN)
    assert rejection.value.retry_after == pytest.approx(60, abs=5)


def test_a_rejection_survives_pickling() -> None:
    error = HttpCircuitBreakerOpenError("data_service", OPEN, "failure_rate", 2.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.name, copy.retry_after) == (HttpCircuitBreakerOpenError, "data_service", 2.5)
    assert str(copy) == str(error)


@pytest.mark.parametrize("url", ["not a url", "http://", "mailto:a@b"])
async def test_an_address_that_cannot_be_is_no_evidence(session: aiohttp.ClientSession, url: str) -> None:
    http = guard()
    with pytest.raises((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        await http.get(session, url)
    assert counts(http) == {"ignored": 1}


async def test_a_redirect_loop_is_an_answer(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(redirects("/"))
    http = guard()
    with pytest.raises(aiohttp.TooManyRedirects):
        await http.get(session, server.url)
    assert counts(http) == {"successes": 1}
    await still_works(server, session)


async def test_a_chain_of_redirects_is_one_call(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(redirects("/a"), redirects("/b"), answers())
    http = guard()
    response = await http.get(session, server.url)
    assert (response.url.path, len(response.history)) == ("/b", 2)
    assert counts(http) == {"successes": 1}


async def test_ignored_errors_are_neutral(session: aiohttp.ClientSession) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(name="a"), ignore=(aiohttp.ClientConnectorError,))
    with pytest.raises(aiohttp.ClientConnectorError):
        await HttpCircuitBreaker(breaker, NO_RETRIES).get(session, f"http://127.0.0.1:{free_port()}/")
    assert breaker.get_metrics()["ignored_total"] == 1


# -- raise_for_status ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 503])
async def test_raise_for_status_of_the_request_raises_as_aiohttp_does(
    server: Server, session: aiohttp.ClientSession, status: int
) -> None:
    server.script(answers(status))
    http = guard()
    with pytest.raises(aiohttp.ClientResponseError) as raised:
        await http.get(session, server.url, raise_for_status=True)
    assert raised.value.status == status
    assert counts(http) == ({"failures": 1} if status == 503 else {"successes": 1})


async def test_raise_for_status_of_the_session_raises_unless_the_request_says_no(server: Server) -> None:
    server.script(answers(404))
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await guard().get(session, server.url)
        assert (await guard().get(session, server.url, raise_for_status=False)).status == 404


async def test_a_check_of_the_callers_own_sees_the_last_response_and_may_read_it(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(503, b"first"), answers(404, b"second"))
    seen = []

    async def check(response: aiohttp.ClientResponse) -> None:
        seen.append(await response.text())
        raise LookupError(response.status)

    with pytest.raises(LookupError, match="404"):
        await guard(HttpConfig(retry_backoff=0.001)).get(session, server.url, raise_for_status=check)
    assert seen == ["second"]


async def test_a_stream_that_the_check_refuses_is_closed(server: Server, session: aiohttp.ClientSession) -> None:
    async def refuse(response: aiohttp.ClientResponse) -> None:
        raise LookupError

    server.script(hangs_mid_body)
    with pytest.raises(LookupError):
        await guard().get(session, server.url, stream=True, raise_for_status=refuse)
    await still_works(server, session)


# -- streams ---------------------------------------------------------------------------------------------------------


async def test_a_stream_settles_when_its_body_ends(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(body=b"x" * 5_000_000))
    http = guard()
    async with http.get(session, server.url, stream=True) as response:
        assert counts(http) == {}
        size = sum([len(chunk) async for chunk in response.content.iter_chunked(1 << 16)])
    assert size == 5_000_000
    assert counts(http) == {"successes": 1}
    await still_works(server, session)


async def test_a_stream_without_a_body_settles_at_once(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(204, b""))
    http = guard()
    await http.get(session, server.url, stream=True)
    assert counts(http) == {"successes": 1}


async def test_a_failing_status_settles_a_stream_at_once(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(500, b"x" * 5_000_000))
    http = guard()
    async with http.get(session, server.url, stream=True):
        assert counts(http) == {"failures": 1}
    assert counts(http) == {"failures": 1}


async def read_whole(response: aiohttp.ClientResponse) -> None:
    await response.read()


async def read_in_chunks(response: aiohttp.ClientResponse) -> None:
    async for _ in response.content.iter_any():
        pass


@pytest.mark.parametrize("read", [read_whole, read_in_chunks])
async def test_a_stream_that_breaks_is_a_failure(
    server: Server, session: aiohttp.ClientSession, read: Callable[[aiohttp.ClientResponse], asyncio.Future[None]]
) -> None:
    server.script(resets_mid_body)
    http = guard()
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.get(session, server.url, stream=True) as response:
            await read(response)
    assert counts(http) == {"failures": 1}
    await still_works(server, session)


@pytest.mark.parametrize("limits", [aiohttp.ClientTimeout(total=0.2), aiohttp.ClientTimeout(sock_read=0.2)])
@pytest.mark.parametrize("read", [read_whole, read_in_chunks])
async def test_a_stream_that_stalls_past_aiohttps_limits_is_a_failure(
    server: Server,
    session: aiohttp.ClientSession,
    read: Callable[[aiohttp.ClientResponse], asyncio.Future[None]],
    limits: aiohttp.ClientTimeout,
) -> None:
    server.script(hangs_mid_body)
    http = guard()
    with pytest.raises(TimeoutError):
        async with http.get(session, server.url, stream=True, timeout=limits) as response:
            await read(response)
    assert counts(http) == {"failures": 1, "timeouts": 1}
    await still_works(server, session)


async def test_a_stream_whose_reader_is_cancelled_is_no_evidence(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(hangs_mid_body)
    http = guard()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), http.get(session, server.url, stream=True) as response:
            await response.read()
    assert counts(http) == {"ignored": 1}
    await still_works(server, session)


async def test_a_stream_whose_reader_has_had_enough_is_a_success(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(hangs_mid_body)
    http = guard()
    async with http.get(session, server.url, stream=True) as response:
        assert await response.content.readexactly(10) == b"x" * 10
    assert counts(http) == {"successes": 1}
    await still_works(server, session)


async def test_an_error_of_the_readers_own_is_not_the_dependencys(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(hangs_mid_body)
    http = guard()
    with pytest.raises(TimeoutError):
        async with http.get(session, server.url, stream=True):
            raise TimeoutError("of something else")
    assert counts(http) == {"successes": 1}


# -- names and configs -----------------------------------------------------------------------------------------------


async def test_one_name_is_one_machine_for_plain_and_http(server: Server, session: aiohttp.ClientSession) -> None:
    http = breakers.get_http_circuit_breaker("shared-machine", CircuitBreakerConfig(failure_threshold=1), NO_RETRIES)
    plain = breakers.get_circuit_breaker("shared-machine")
    assert http is breakers.get_http_circuit_breaker("shared-machine")
    assert http.breaker is plain
    server.script(answers(500))
    await http.get(session, server.url)
    assert plain.state is http.state is http.get_state() is OPEN
    http.reset()
    assert plain.state is CLOSED


async def test_orders_reach_the_machine_through_its_http_breaker(
    server: Server, session: aiohttp.ClientSession
) -> None:
    http = guard()
    http.force_open(expires_in=900.0, reason="INC-2291")
    with pytest.raises(HttpCircuitBreakerOpenError) as rejected:
        await http.get(session, server.url)
    assert (rejected.value.reason, rejected.value.retry_after) == ("forced_open", None)
    http.force_closed(expires_in=900.0, reason="INC-2291")
    assert http.get_metrics()["override"] is Override.FORCED_CLOSED
    http.release()
    assert http.get_metrics()["override"] is None
    http.configure(CircuitBreakerConfig(failure_threshold=9))
    assert (http.name, http.config.failure_threshold) == ("data_service", 9)


def test_a_second_different_http_config_is_an_error() -> None:
    breakers.get_http_circuit_breaker("two-configs", http=HttpConfig(max_retries=1))
    breakers.get_http_circuit_breaker("two-configs", http=HttpConfig(max_retries=1))
    with pytest.raises(ConfigError):
        breakers.get_http_circuit_breaker("two-configs", http=HttpConfig(max_retries=3))


def test_without_an_http_config_the_defaults_hold_and_none_is_overwritten() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(name="a"))
    assert HttpCircuitBreaker(breaker).http_config == HttpConfig()
    HttpCircuitBreaker(breaker, HttpConfig(max_retries=7))
    assert HttpCircuitBreaker(breaker).http_config.max_retries == 7


def test_a_name_that_the_registry_forgot_gets_a_new_machine() -> None:
    before = breakers.get_http_circuit_breaker("forgotten")
    breakers.registry.forget("forgotten")
    after = breakers.get_http_circuit_breaker("forgotten")
    assert after.breaker is breakers.registry.get("forgotten") is not before.breaker


async def test_the_fleets_http_config_is_in_force_at_the_next_call(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.script(answers(404))
    http = guard()
    http.breaker.apply_fleet_http(HttpConfig(failure_statuses="404", max_retries=0))
    assert http.http_config.failure_statuses == "404"
    await http.get(session, server.url)
    http.breaker.apply_fleet_http(None)
    await http.get(session, server.url)
    assert counts(http) == {"successes": 1, "failures": 1}


async def test_a_compressed_body_arrives_whole(server: Server, session: aiohttp.ClientSession) -> None:
    server.script(answers(body=gzip.compress(b"plain"), Content_Encoding="gzip"))
    assert await (await guard().get(session, server.url)).read() == b"plain"


async def test_keep_alive_closed_under_us_is_no_failure(server: Server, session: aiohttp.ClientSession) -> None:
    async def closes_afterwards(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        asyncio.get_running_loop().call_soon(request.transport.abort)
        return web.Response(text="fine", headers={"Connection": "keep-alive"})

    http = guard()
    server.script(answers(), closes_afterwards, answers())
    for _ in range(2):
        assert (await http.get(session, server.url)).status == 200
    assert "failures" not in counts(http)
