"""The examples that our users began with, as they wrote them but for the imports, against a real control plane.

Addresses too are theirs: every name is this machine, and whatever port is asked for, the test's own server answers. Two
of the examples share a breaker's name; here the later has one of its own, because one fleet sees them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Dict  # noqa: UP035  # the document's

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import breakers
from breakers import (
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitBreakerState,
    get_circuit_breaker,
    get_http_circuit_breaker,
)
from breakers.client import circuit_breaker_client
from breakers.client.events import EventSystemClient, event_system_client
from breakers.testing import fresh_registry, half_open_now
from tests.misbehaving import Everywhere, Server, answers
from tests.redis_server import RedisServer
from tests.servers import ServerProcess

logger = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _linked_service(control_plane: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a service of the fleet, configured as the document says."""
    with fresh_registry():
        link = breakers.connect(service="portfolio_gateway", url=control_plane.url, token=control_plane.token)
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_URL", control_plane.url)
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TOKEN", control_plane.token)
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TIMEOUT", "30.0")
        yield
        link.close()


@pytest.fixture(autouse=True)
def _addresses(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    port = URL(server.url).port
    assert port is not None
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", lambda **_: Everywhere(port))


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def eventually(probe: Callable[[], Awaitable[object]], what: str) -> None:
    """Until ``probe`` answers with something true; what ends the wait is the answer."""
    async with asyncio.timeout(60):
        while not await probe():
            await asyncio.sleep(0.02)
    logger.info("at last: %s", what)


async def state_in_the_fleet(name: str) -> str | None:
    """What the control plane has heard of the breaker; ``None`` before it has."""
    try:
        found = await circuit_breaker_client.get_circuit_breaker_state(name)
    except breakers.CircuitBreakerError:
        return None
    return found["state"] if found["instances"]["total"] else None


def is_in_the_fleet(name: str, state: str) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return await state_in_the_fleet(name) == state

    return probe


def is_logged(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return text in caplog.text

    return probe


async def failing_function() -> None:
    raise ConnectionError("down")


async def successful_function() -> str:
    return "well"


async def test_configuration() -> None:
    config = CircuitBreakerConfig(
        failure_threshold=5,  # Open after 5 failures
        recovery_timeout=60.0,  # Wait 60 seconds before testing
        success_threshold=3,  # Close after 3 successes in half-open
        timeout=30.0,  # Request timeout
        name="my_service",  # Circuit breaker name
    )
    assert get_circuit_breaker("my_service", config).config == config


async def test_basic_circuit_breaker() -> None:
    async def async_function(one: int, two: int) -> int:
        return one + two

    breaker = get_circuit_breaker("api_gateway")
    try:
        result = await breaker.call(async_function, 1, 2)
    except Exception as e:
        pytest.fail(f"Request failed: {e}")
    assert result == 3


async def test_http_circuit_breaker(server: Server) -> None:
    server.script(answers(200, b'{"price": 101.5}', Content_Type="application/json"))
    http_breaker = get_http_circuit_breaker("data_service")

    async with aiohttp.ClientSession() as session:
        try:
            result = await http_breaker.get(session, "http://data-service:8001/data")
            data = await result.json()
        except Exception as e:
            pytest.fail(f"HTTP request failed: {e}")
    assert data == {"price": 101.5}
    assert server.requests == [("GET", "/data", b"")]


async def test_service_client_integration() -> None:
    breaker = get_circuit_breaker("trading_service")
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await breaker.call(failing_function)
    await eventually(is_in_the_fleet("trading_service", "open"), "the control plane knows")

    status = await circuit_breaker_client.get_circuit_breaker_info("trading_service")
    assert (status["state"], status["services"]) == ("open", ["portfolio_gateway"])
    assert status["cause"] == "5 consecutive failures, last: ConnectionError: down"

    await circuit_breaker_client.reset_circuit_breaker("trading_service")
    await eventually(is_in_the_fleet("trading_service", "closed"), "it is reset everywhere")
    assert breaker.state is CircuitBreakerState.CLOSED

    dashboard = await circuit_breaker_client.get_dashboard_data()
    assert "trading_service" in [row["name"] for row in dashboard["breakers"]]
    await circuit_breaker_client.close()


def HTTPException(status: int, text: str) -> web.HTTPException:  # what the document calls it
    """As aiohttp's server has it."""
    assert status == 503
    return web.HTTPServiceUnavailable(text=text)


class TradingServiceClient:
    def __init__(self):  # type: ignore[no-untyped-def]  # as it stands there
        self.http_breaker = get_http_circuit_breaker("trading_gateway")

    async def get_portfolio(self, user_id: str) -> Dict[str, Any]:  # noqa: UP006  # the document's
        async with aiohttp.ClientSession() as session:
            try:
                result = await self.http_breaker.get(session, f"http://trading-service:8002/portfolio/{user_id}")
                return await result.json()
            except Exception as e:  # noqa: F841  # the document's
                # Check if circuit breaker is open
                is_open = await circuit_breaker_client.is_circuit_breaker_open("trading_gateway")
                if is_open:
                    raise HTTPException(503, "Trading service temporarily unavailable")  # noqa: B904  # the document's
                raise


@asynccontextmanager
async def gateway(trading: TradingServiceClient) -> AsyncIterator[str]:
    """The URL of a web service that answers with what the trading client gives."""

    async def portfolio(request: web.Request) -> web.Response:
        return web.json_response(await trading.get_portfolio(request.match_info["user"]))

    app = web.Application()
    app.router.add_get("/portfolio/{user}", portfolio)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/portfolio/alice"
    finally:
        await circuit_breaker_client.close()
        await runner.cleanup()


async def test_a_trading_client_turns_an_open_breaker_into_503(server: Server) -> None:
    server.script(answers(200, b'{"TPAL": 3}', Content_Type="application/json"))
    async with gateway(TradingServiceClient()) as url, aiohttp.ClientSession() as browser:
        async with browser.get(url) as response:
            assert await response.json() == {"TPAL": 3}

        server.script(answers(500))
        await eventually(is_in_the_fleet("trading_gateway", "closed"), "the control plane has heard of it")

        async def unavailable() -> bool:
            async with browser.get(url) as response:
                assert response.status in (500, 503)
                return response.status == 503

        await eventually(unavailable, "the gateway says 503")
        asked = len(server.requests)
        async with browser.get(url) as response:
            assert (response.status, await response.text()) == (503, "Trading service temporarily unavailable")
        assert len(server.requests) == asked, "the sick service is left alone"
        assert {path for _, path, _ in server.requests} == {"/portfolio/alice"}


async def test_an_event_handler_resets_on_recovery(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CIRCUIT_BREAKER_EVENTS_URL", redis_server.url)

    async def handle_service_recovery(service_name: str) -> None:
        """Handle service recovery events"""
        await circuit_breaker_client.reset_circuit_breaker(service_name)
        logger.info(f"Reset circuit breaker for {service_name} due to service recovery")  # noqa: G004  # the user's

    # Subscribe to service recovery events
    await event_system_client.subscribe("service.recovery", handle_service_recovery)

    breaker = get_circuit_breaker("recovering_service", CircuitBreakerConfig(recovery_timeout=3600.0))
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await breaker.call(failing_function)
    with pytest.raises(CircuitBreakerOpenError):
        await breaker.call(successful_function)
    await eventually(is_in_the_fleet("recovering_service", "open"), "the control plane knows")

    with caplog.at_level(logging.INFO, logger=__name__):
        async with EventSystemClient(service="health_monitor") as health_monitor:
            await health_monitor.publish("service.recovery", {"service_name": "recovering_service"})
        done = "Reset circuit breaker for recovering_service due to service recovery"
        await eventually(is_logged(caplog, done), "the handler has run")
    await eventually(is_in_the_fleet("recovering_service", "closed"), "it is reset")
    assert await breaker.call(successful_function) == "well"
    await event_system_client.close()
    await circuit_breaker_client.close()


async def test_circuit_breaker_failure_handling() -> None:
    breaker = get_circuit_breaker("test_service")

    # Simulate failures
    for _ in range(6):  # Exceed threshold
        try:
            await breaker.call(failing_function)
        except Exception as error:
            logger.debug("%s", error)

    # Should be open
    assert breaker.get_state() == CircuitBreakerState.OPEN

    # Reset and test recovery
    half_open_now("test_service")
    for _ in range(3):
        await breaker.call(successful_function)  # Should succeed
    assert breaker.get_state() == CircuitBreakerState.CLOSED
