"""An HTTP breaker is made known with its HTTP config: what hears of it first may report it to the control plane."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

import breakers
from breakers import CircuitBreaker, HttpConfig
from breakers.client.httpx_transport import AsyncCircuitBreakerTransport
from tests.misbehaving import Server

OURS = HttpConfig(max_retries=7)
Heard = dict[str, HttpConfig | None]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """The HTTP config that each breaker had when it was made known."""
    known: Heard = {}

    def listen(breaker: CircuitBreaker) -> None:
        known[breaker.name] = breaker.code_http_config

    stop = breakers.registry.on_register(listen)
    yield known
    stop()
    for name in known:
        breakers.registry.forget(name)


@pytest.mark.parametrize("given", [OURS, None])
def test_an_http_breaker_is_never_heard_of_without_its_http_config(heard: Heard, given: HttpConfig | None) -> None:
    breakers.get_http_circuit_breaker("made_known", http=given)
    assert heard == {"made_known": given or HttpConfig()}


def test_a_plain_breaker_has_none(heard: Heard) -> None:
    breakers.get_circuit_breaker("plain_one")
    assert heard == {"plain_one": None}


@pytest.mark.parametrize("name", [None, lambda request: "chosen"])
async def test_the_middlewares_breakers_neither(server: Server, heard: Heard, name: object) -> None:
    guard = breakers.aiohttp_middleware(name, http=OURS)  # type: ignore[arg-type]  # a lambda in a parameter
    async with aiohttp.ClientSession(middlewares=[guard]) as session:
        await session.get(server.url)
    assert list(heard.values()) == [OURS]


@pytest.mark.parametrize("name", [None, "chosen"])
async def test_httpx_breakers_neither(server: Server, heard: Heard, name: str | None) -> None:
    async with httpx.AsyncClient(
        transport=AsyncCircuitBreakerTransport(name=name, http=OURS), trust_env=False
    ) as client:
        await client.get(server.url)
    assert list(heard.values()) == [OURS]


def test_one_that_the_program_forgets_is_free_to_go() -> None:
    """Else the link would look after it for as long as the process runs."""
    http = breakers.get_http_circuit_breaker("forgotten_by_all")
    known = weakref.ref(http.breaker)
    breakers.registry.forget("forgotten_by_all")
    assert breakers.get_http_circuit_breaker("another").breaker is not known()
    del http
    gc.collect()
    assert known() is None
    breakers.registry.forget("another")


def test_an_http_breaker_that_is_made_anew_is_not_the_forgotten_one() -> None:
    first = breakers.get_http_circuit_breaker("made_twice", http=OURS)
    breakers.registry.forget("made_twice")
    again = breakers.get_http_circuit_breaker("made_twice")
    assert (again is first, again.breaker is first.breaker) == (False, False)
    assert (first.http_config, again.http_config) == (OURS, HttpConfig())
    breakers.registry.forget("made_twice")
