"""What the control plane's client takes for an answer: each has the keys of its type, and another server's has not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, get_type_hints

import aiohttp
import pytest
from aiohttp import web

from breakers import ConfigError
from breakers.client import CircuitBreakerServiceClient, ServiceError, answers, circuit_breaker_client
from tests.servers import ServerProcess

Ask = Callable[[CircuitBreakerServiceClient], Awaitable[object]]

DESCRIBED: Mapping[str, type] = {
    "Alert": answers.Alert,
    "Alerts": answers.Alerts,
    "Applied": answers.Applied,
    "Breaker": answers.BreakerInfo,
    "BreakerState": answers.BreakerState,
    "Change": answers.ChangeRow,
    "Config": answers.SavedConfig,
    "Dashboard": answers.Dashboard,
    "Health": answers.Health,
    "InstanceCounts": answers.InstanceCounts,
    "InstanceRow": answers.InstanceRow,
    "Metrics": answers.BreakerMetrics,
    "Overridden": answers.OverrideDone,
    "OverrideRow": answers.OverrideInForce,
    "Rates": answers.Rates,
    "Reset": answers.ResetDone,
    "ResetAll": answers.ResetAllDone,
    "Row": answers.BreakerRow,
    "Summary": answers.Summary,
    "Transition": answers.HistoryRow,
}
"""The types of the client by the names that the control plane's own description has for them."""


async def test_the_types_have_the_fields_that_the_control_plane_describes(control_plane: ServerProcess) -> None:
    headers = {"Accept": "application/json", "Authorization": f"Bearer {control_plane.token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{control_plane.url}/schema") as schema:
        described: dict[str, Any] = (await schema.json(content_type=None))["components"]["schemas"]
    for name, kind in DESCRIBED.items():
        assert get_type_hints(kind).keys() == described[name]["properties"].keys(), name


# --- another server at the address ------------------------------------------------------------------------------------

ASKED: Mapping[str, Ask] = {
    "health_check": lambda client: client.health_check(),
    "list_circuit_breakers": lambda client: client.list_circuit_breakers(),
    "get_circuit_breaker_info": lambda client: client.get_circuit_breaker_info("a"),
    "get_circuit_breaker_state": lambda client: client.get_circuit_breaker_state("a"),
    "is_circuit_breaker_open": lambda client: client.is_circuit_breaker_open("a"),
    "get_circuit_breaker_metrics": lambda client: client.get_circuit_breaker_metrics("a"),
    "get_history": lambda client: client.get_history("a"),
    "get_changes": lambda client: client.get_changes("a"),
    "create_circuit_breaker": lambda client: client.create_circuit_breaker("a"),
    "update_circuit_breaker_config": lambda client: client.update_circuit_breaker_config("a", {}),
    "set_override": lambda client: client.set_override("a", "forced_open"),
    "clear_override": lambda client: client.clear_override("a"),
    "reset_circuit_breaker": lambda client: client.reset_circuit_breaker("a"),
    "reset_all_circuit_breakers": lambda client: client.reset_all_circuit_breakers(),
    "get_dashboard_data": lambda client: client.get_dashboard_data(),
    "get_alerts": lambda client: client.get_alerts(),
}


@asynccontextmanager
async def saying(text: str) -> AsyncIterator[CircuitBreakerServiceClient]:
    """A client of a server that answers everything with 200 and this."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with CircuitBreakerServiceClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "5", '"fine"', "{}", '{"message": "hello"}', "[" * 100_000],
    ids=["nothing", "null", "a list", "a number", "text", "an empty object", "another object", "what is too deep"],
)
async def test_what_no_control_plane_says_is_an_error_of_the_tree_whatever_is_asked(text: str) -> None:
    async with saying(text) as client:
        for name, ask in ASKED.items():
            with pytest.raises(ServiceError, match="did not answer") as caught:
                await ask(client)
            assert (caught.value.status, caught.value.code) in ((200, "not_json"), (200, "unexpected")), name


@pytest.mark.parametrize(
    "text",
    [
        '{"results": null, "next": null}',
        '{"results": [1], "next": null}',
        '{"results": []}',
        '{"results": [], "next": 5}',
        '{"results": [], "next": "http://[/"}',
        '{"results": [{"name": "a"}], "next": "/?page_size=1000"}',
    ],
    ids=["no results", "results that are no rows", "no next", "a next that is no address", "a wrong one", "itself"],
)
async def test_pages_that_cannot_be_turned_are_an_error_of_the_tree(text: str) -> None:
    async with saying(text) as client:
        with pytest.raises(ServiceError, match="did not answer") as caught:
            await client.list_circuit_breakers()
        assert (caught.value.status, caught.value.code) == (200, "unexpected")


# --- what is asked with -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["se\ncret", "se\0cret", "se\x7fcret"])
async def test_a_key_that_cannot_travel_is_named_and_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="token: ") as caught:
        await CircuitBreakerServiceClient("http://host", token=token).get_alerts()
    assert "cret" not in str(caught.value)
    if "\0" not in token:  # no environment can have that
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TOKEN", token)
        with pytest.raises(ConfigError, match="CIRCUIT_BREAKER_SERVICE_TOKEN: "):
            await circuit_breaker_client.get_alerts()
        await circuit_breaker_client.close()


@pytest.mark.parametrize("url", ["http://people:secret@host", "http://people:secret@host:99999", "https://secret@host"])
async def test_an_address_with_a_password_is_refused_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key travels where the password would."""
    client = CircuitBreakerServiceClient(url, token="key")
    with pytest.raises(ConfigError, match="url: ") as caught:
        await client.get_alerts()
    monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_URL", url)
    with pytest.raises(ConfigError, match="CIRCUIT_BREAKER_SERVICE_URL: ") as also:
        await circuit_breaker_client.get_alerts()
    await circuit_breaker_client.close()
    assert not [text for text in (str(caught.value), str(also.value), repr(client)) if "secret" in text]


@pytest.mark.parametrize("url", ["http://host?key=1", "http://host/#part"])
async def test_an_address_that_could_have_no_path_after_it_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"url: must be http://host:port"):
        await CircuitBreakerServiceClient(url).get_alerts()
