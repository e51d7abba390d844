"""The control plane's client against a real control plane; what a real one never answers comes from a stand-in."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

import breakers.client
from breakers import CircuitBreakerConfig, CircuitBreakerError, ConfigError, Override
from breakers.client import CircuitBreakerServiceClient, circuit_breaker_client
from breakers.client.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    ServiceUnreachableError,
    VersionConflictError,
)
from tests.misbehaving import Server, hangs
from tests.servers import ROOT, ServerProcess, clean_environment, free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "TIMEOUT"):
        monkeypatch.delenv(f"CIRCUIT_BREAKER_SERVICE_{name}", raising=False)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """The URL of a server that answers every request so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- every endpoint, for real -----------------------------------------------------------------------------------------


async def test_a_breaker_is_made_read_listed_and_deleted(client: CircuitBreakerServiceClient) -> None:
    config = CircuitBreakerConfig(name="ignored", failure_threshold=7)
    made = await client.create_circuit_breaker("life", config, group="market", reason="new dependency")
    assert (made["name"], made["group"], made["config"]["failure_threshold"]) == ("life", "market", 7)
    assert made["instance_rows"] == made["recent"] == []

    assert (await client.get_circuit_breaker_info("life"))["version"] == 1
    assert (await client.get_circuit_breaker_metrics("life"))["requests_total"] == 0
    assert [row["name"] for row in await client.list_circuit_breakers(group="market")] == ["life"]
    assert await client.list_circuit_breakers(search="life", state="open") == []
    dashboard = await client.get_dashboard_data()
    assert dashboard["summary"]["total"] == len(dashboard["breakers"]) == len(await client.list_circuit_breakers())

    await client.delete_circuit_breaker("life", reason="gone")
    with pytest.raises(NotFoundError) as caught:
        await client.get_circuit_breaker_info("life")
    assert (caught.value.status, caught.value.code, caught.value.fields) == (404, "not_found", {})
    changes = await client.get_changes("life")
    assert [(change["kind"], change["actor"], change["reason"]) for change in changes] == [
        ("deleted", "key:tests", "gone"),
        ("created", "key:tests", "new dependency"),
    ]


async def test_an_update_is_a_part_and_a_replacement_the_whole(client: CircuitBreakerServiceClient) -> None:
    await client.create_circuit_breaker("edited", {"failure_threshold": 7, "max_retries": 4})
    saved = await client.update_circuit_breaker_config("edited", {"recovery_timeout": 10.0}, reason="slow to recover")
    assert (saved["version"], saved["config"]["failure_threshold"], saved["config"]["recovery_timeout"]) == (2, 7, 10.0)
    saved = await client.replace_circuit_breaker_config("edited", {"failure_threshold": 9}, if_match=2)
    assert (saved["version"], saved["config"]["failure_threshold"], saved["config"]["max_retries"]) == (3, 9, 2)
    assert [change["reason"] for change in await client.get_changes("edited", kind="edited")] == ["", "slow to recover"]


async def test_a_config_object_is_as_good_as_its_fields(client: CircuitBreakerServiceClient) -> None:
    config = CircuitBreakerConfig(name="whole_config", failure_threshold=7)
    assert (await client.create_circuit_breaker(config, group="market"))["group"] == "market"
    await client.create_circuit_breaker({"name": "fields", "failure_threshold": 8})
    assert (await client.get_circuit_breaker_info("fields"))["config"]["failure_threshold"] == 8
    saved = await client.replace_circuit_breaker_config("whole_config", replace(config, timeout=2.0))
    assert (saved["version"], saved["config"]["failure_threshold"], saved["config"]["timeout"]) == (2, 7, 2.0)
    saved = await client.update_circuit_breaker_config("whole_config", replace(config, timeout=None))
    assert (saved["version"], saved["config"]["timeout"]) == (3, None)


async def test_a_forced_breaker_is_open_until_it_is_released(client: CircuitBreakerServiceClient) -> None:
    await client.create_circuit_breaker("forced")
    done = await client.set_override("forced", Override.FORCED_OPEN, reason="INC-2291", expires_in=900)
    assert done["override"] is not None
    assert (done["override"]["reason"], done["override"]["by"]) == ("INC-2291", "key:tests")
    assert done["override"]["expires_at"] is not None
    assert await client.is_circuit_breaker_open("forced")
    assert not await client.is_circuit_breaker_closed("forced")
    assert not await client.is_circuit_breaker_half_open("forced")
    assert (await client.get_circuit_breaker_state("forced"))["state"] == "closed"  # the machine's own

    assert (await client.clear_override("forced", reason="over"))["override"] is None
    assert await client.is_circuit_breaker_closed("forced")
    reasons = [(change["kind"], change["reason"]) for change in await client.get_changes("forced", limit=2)]
    assert reasons == [("override_released", "over"), ("override_set", "INC-2291")]


async def test_resets_say_how_many_instances_they_reach(client: CircuitBreakerServiceClient) -> None:
    await client.create_circuit_breaker("reset")
    done = await client.reset_circuit_breaker("reset", reason="it recovered")
    assert (done["status"], done["name"], done["new_state"]) == ("reset", "reset", "closed")
    assert done["instances"] == {"targeted": 0, "confirmed": 0, "silent": 0}
    everything = await client.reset_all_circuit_breakers(reason="new day")
    assert everything["status"] == "reset_all"
    assert everything["reset_count"] == everything["total_breakers"] == len(await client.list_circuit_breakers())
    assert [change["reason"] for change in await client.get_changes("reset", limit=2)] == ["new day", "it recovered"]
    with pytest.raises(InvalidRequestError) as caught:
        await client.reset_circuit_breaker("reset", instance="11111111-1111-4111-8111-111111111111")
    assert list(caught.value.fields) == ["instance"]


async def test_health_and_alerts(client: CircuitBreakerServiceClient) -> None:
    assert (await client.health_check())["status"] == "healthy"
    alerts = await client.get_alerts()
    assert alerts["alert_count"] == len(alerts["alerts"])


RECORD = """
from datetime import timedelta
from uuid import uuid4
from django.utils import timezone
from breakers.models import StateChange
instance, now = uuid4(), timezone.now()
StateChange.objects.bulk_create(
    StateChange(
        breaker="paged", service="trading", instance=instance, sequence=n, from_state="closed", to_state="open",
        reason="consecutive_failures", cause=f"number {n}", epoch=n, failures=5, calls=5,
        at=now + timedelta(seconds=n), received_at=now,
    )
    for n in range(1, 251)
)
"""


async def test_history_is_read_over_all_its_pages(
    client: CircuitBreakerServiceClient, control_plane: ServerProcess
) -> None:
    await asyncio.to_thread(control_plane.python, RECORD)
    assert [row["epoch"] for row in await client.get_history("paged")] == list(range(250, 0, -1))
    assert [row["epoch"] for row in await client.get_history("paged", limit=120)] == list(range(250, 130, -1))
    assert await client.get_history("paged", limit=0) == []
    assert await client.get_history("paged", to_state="closed") == []
    async for row in client.iter_history("paged"):
        assert (row["cause"], row["service"]) == ("number 250", "trading")
        break


# --- errors: one tree, with the facts ---------------------------------------------------------------------------------


async def test_wrong_values_are_named_each(client: CircuitBreakerServiceClient) -> None:
    await client.create_circuit_breaker("strict")
    with pytest.raises(InvalidRequestError) as caught:
        await client.update_circuit_breaker_config("strict", {"failure_threshold": -1, "nonsense": 1})
    assert caught.value.status == 400
    assert caught.value.fields.keys() == {"failure_threshold", "nonsense"}
    assert "failure_threshold: must be an integer >= 0" in str(caught.value)


async def test_a_lost_race_and_a_taken_name_are_told_apart(client: CircuitBreakerServiceClient) -> None:
    await client.create_circuit_breaker("raced")
    await client.update_circuit_breaker_config("raced", {"failure_threshold": 3}, if_match=1)
    for act in (
        client.update_circuit_breaker_config("raced", {"failure_threshold": 4}, if_match=1),
        client.replace_circuit_breaker_config("raced", {}, if_match=1),
        client.set_override("raced", "forced_open", if_match=1),
        client.clear_override("raced", if_match=1),
        client.reset_circuit_breaker("raced", if_match=1),
        client.delete_circuit_breaker("raced", if_match=1),
    ):
        with pytest.raises(VersionConflictError) as caught:
            await act
        assert caught.value.status == 412
    assert (await client.get_circuit_breaker_info("raced"))["version"] == 2
    with pytest.raises(AlreadyExistsError):
        await client.create_circuit_breaker("raced")


async def test_without_a_key_or_its_scope_access_is_denied(control_plane: ServerProcess) -> None:
    reader = await asyncio.to_thread(control_plane.create_key, "reader", "read")
    for token, status in (("", 401), ("wrong", 401), (reader, 403)):
        async with CircuitBreakerServiceClient(control_plane.url, token=token) as stranger:
            with pytest.raises(AccessDeniedError) as caught:
                await stranger.reset_all_circuit_breakers()
            assert caught.value.status == status
            assert (await stranger.health_check())["status"] == "healthy"


@pytest.mark.parametrize("name", ["..", ".", "", "no/such", "a b?c#d%2F", "ä", "reset-all", "a\r\nb"])
async def test_no_name_leads_to_another_address(client: CircuitBreakerServiceClient, name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        await client.delete_circuit_breaker(name)
    assert caught.value.status in (404, 405)


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (200, "<html>", ServiceError, "did not answer with JSON"),
        (502, "<html>Bad Gateway", ServiceError, "the control plane answered 502 Bad Gateway"),
        (500, '{"error": {"code": "internal", "message": "Oh."}}', ServiceError, "Oh."),
        (400, '{"error": "as others do"}', InvalidRequestError, "the control plane answered 400"),
        (404, "[1]", NotFoundError, "the control plane answered 404"),
        (403, '{"error": {"message": "No.", "fields": {"a": ["x", "y"]}}}', AccessDeniedError, "No. (a: x y)"),
    ],
)
async def test_whatever_is_answered_becomes_an_error_of_the_tree(
    status: int, text: str, kind: type[ServiceError], said: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with answering(answer) as url, CircuitBreakerServiceClient(url) as client:
        with pytest.raises(kind) as caught:
            await client.get_alerts()
        assert type(caught.value) is kind
        assert isinstance(caught.value, CircuitBreakerError)
        assert caught.value.status == status
        assert said in str(caught.value)
        twin = pickle.loads(pickle.dumps(caught.value))
        assert (str(twin), twin.status, twin.code, twin.fields) == (
            str(caught.value), status, caught.value.code, caught.value.fields,
        )  # fmt: skip


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, None), ("soon", None)])
async def test_who_asks_too_often_is_told_when_to_come_back(header: str | None, seconds: float | None) -> None:
    async def answer(request: web.Request) -> web.Response:
        told = {"error": {"code": "throttled", "message": "Request was throttled."}}
        return web.json_response(told, status=429, headers={} if header is None else {"Retry-After": header})

    async with answering(answer) as url, CircuitBreakerServiceClient(url) as client:
        with pytest.raises(ServiceError, match=r"Request was throttled\.") as caught:
            await client.list_circuit_breakers()
        error = caught.value
        assert (type(error), error.status, error.code, error.retry_after) == (ServiceError, 429, "throttled", seconds)
        assert pickle.loads(pickle.dumps(error)).retry_after == seconds


async def ask_everything(client: CircuitBreakerServiceClient) -> None:
    await client.health_check()
    await client.list_circuit_breakers()
    await client.create_circuit_breaker("a")
    await client.get_circuit_breaker_info("a")
    await client.delete_circuit_breaker("a")
    await client.get_circuit_breaker_state("a")
    await client.get_circuit_breaker_metrics("a")
    await client.get_history("a")
    await client.get_changes("a")
    await client.reset_circuit_breaker("a")
    await client.reset_all_circuit_breakers()
    await client.replace_circuit_breaker_config("a", CircuitBreakerConfig())
    await client.update_circuit_breaker_config("a", {"failure_threshold": 3})
    await client.set_override("a", Override.FORCED_OPEN)
    await client.clear_override("a")
    await client.get_dashboard_data()
    await client.get_alerts()


ANYTHING = {
    "results": [], "next": None, "status": "", "instance_rows": [], "is_open": False, "requests_total": 0, "config": {},
    "override": None, "new_state": "", "reset_count": 0, "summary": {}, "alerts": [],
}  # fmt: skip
"""An answer to whatever is asked."""
NOT_OF_THE_CLIENT = {
    ("get", "/metrics"): "Prometheus asks for it",
    ("get", "/schema"): "describes the others",
    ("get", "/circuit-breakers/{name}/config"): "get_circuit_breaker_info has it",
    ("get", "/configs"): "files of a whole fleet: people carry them with curl or the admin",
    ("post", "/configs"): "as the one before",
    ("get", "/history.{form}"): "a file for a table of numbers",
    ("get", "/changes.{form}"): "as the one before",
    ("get", "/circuit-breakers/{name}/history.{form}"): "as the one before",
    ("get", "/circuit-breakers/{name}/changes.{form}"): "as the one before",
    ("get", "/circuit-breakers/{name}/versions"): "people look at it before they restore one",
    ("post", "/circuit-breakers/{name}/restore"): "as the one before",
    ("post", "/circuit-breakers/{name}/copy"): "people do that",
}
"""Operations without a method, and why."""


async def test_each_operation_has_a_method_or_a_reason_why_it_has_none(control_plane: ServerProcess) -> None:
    asked = set()

    async def answer(request: web.Request) -> web.Response:
        asked.add((request.method.lower(), request.path.replace("/circuit-breakers/a", "/circuit-breakers/{name}")))
        return web.json_response(ANYTHING)

    async with answering(answer) as url, CircuitBreakerServiceClient(url, token="any") as client:
        await ask_everything(client)
    headers = {"Accept": "application/json", "Authorization": f"Bearer {control_plane.token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{control_plane.url}/schema") as schema:
        paths = (await schema.json(content_type=None))["paths"]
    described = {(method, path) for path, methods in paths.items() for method in methods if method != "parameters"}
    assert asked <= described
    assert described - asked == NOT_OF_THE_CLIENT.keys()


async def test_an_unhealthy_control_plane_tells_of_its_health() -> None:
    told = {"status": "unhealthy", "service": "circuit_breaker_service", "timestamp": "", "checks": {}}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(told, status=503)

    async with answering(answer) as url, CircuitBreakerServiceClient(url) as client:
        assert await client.health_check() == told
        with pytest.raises(ServiceError):
            await client.get_alerts()


async def test_nobody_there_and_no_answer_in_time_are_unreachable(server: Server) -> None:
    async with CircuitBreakerServiceClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ServiceUnreachableError, match="could not be asked: Connection refused") as caught:
            await client.get_alerts()
        assert (caught.value.status, caught.value.code) == (None, "unreachable")

    server.script(hangs)
    async with CircuitBreakerServiceClient(server.url, timeout=0.05) as client:
        with pytest.raises(ServiceUnreachableError, match=r"within 0\.05 s") as caught:
            await client.get_alerts()
        assert (caught.value.status, caught.value.code) == (None, "timeout")


async def test_a_redirect_never_turns_an_order_into_a_question() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        if request.path.startswith("/new"):
            return web.json_response({"alerts": [], "alert_count": 0})
        raise web.HTTPMovedPermanently(f"/new{request.path}")

    async with answering(answer) as url, CircuitBreakerServiceClient(url) as client:
        assert (await client.get_alerts())["alert_count"] == 0
        with pytest.raises(ServiceError, match="at /new/circuit-breakers/x/reset") as caught:
            await client.reset_circuit_breaker("x")
    assert caught.value.status == 301
    assert asked[-1] == ("POST", "/circuit-breakers/x/reset")


# --- what travels -----------------------------------------------------------------------------------------------------


async def test_pages_are_asked_for_where_the_client_found_the_first_and_repeat_nothing() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["Authorization"], request.path_qs))
        page = int(request.query.get("page", "1"))
        names = {1: ["a", "b"], 2: ["b", "c"], 3: ["d"]}[page]  # "b" was pushed on by a new one
        following = f"http://internal:1/circuit-breakers?page={page + 1}&state=open" if page < 3 else None
        return web.json_response({"count": 5, "next": following, "results": [{"name": name} for name in names]})

    async with answering(answer) as url, CircuitBreakerServiceClient(f"{url}/prefix/", token="secret") as client:
        assert [row["name"] for row in await client.list_circuit_breakers(state="open")] == ["a", "b", "c", "d"]
    assert asked == [
        ("Bearer secret", "/prefix/circuit-breakers?state=open&page_size=1000"),
        ("Bearer secret", "/prefix/circuit-breakers?page=2&state=open"),
        ("Bearer secret", "/prefix/circuit-breakers?page=3&state=open"),
    ]


async def test_what_is_not_given_is_read_from_the_environment_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"alerts": [], "alert_count": 0})

    assert circuit_breaker_client.url == "http://localhost:8012"
    assert circuit_breaker_client.timeout == 30.0
    async with answering(answer) as url:
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_URL", url)
        await circuit_breaker_client.get_alerts()
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TOKEN", "second")
        monkeypatch.setenv("CIRCUIT_BREAKER_SERVICE_TIMEOUT", "5")
        await circuit_breaker_client.get_alerts()
        await circuit_breaker_client.close()
        assert (circuit_breaker_client.url, circuit_breaker_client.timeout) == (url, 5.0)
    assert seen == [None, "Bearer second"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("URL", "localhost:8012"), ("URL", "ws://host"), ("URL", "http://"), ("TIMEOUT", "soon"), ("TIMEOUT", "0")],
)
async def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CIRCUIT_BREAKER_SERVICE_{name}", value)
    with pytest.raises(ConfigError) as caught:
        await circuit_breaker_client.get_alerts()
    assert list(caught.value.fields) == [f"CIRCUIT_BREAKER_SERVICE_{name}"]
    await circuit_breaker_client.close()


def test_the_token_does_not_print() -> None:
    assert "secret" not in repr(CircuitBreakerServiceClient("http://host", token="secret"))
    assert breakers.client.circuit_breaker_client is circuit_breaker_client


LOOPS = """
import asyncio, gc, json, threading
from breakers.client import circuit_breaker_client as client

async def ask():
    first, second = await asyncio.gather(client.health_check(), client.health_check())
    return [first["status"], second["status"]]

answers = [asyncio.run(ask()) for _ in range(3)]                 # nobody closes anything
threads = [threading.Thread(target=lambda: answers.append(asyncio.run(ask()))) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]

async def ask_and_close():
    async with client:
        await client.health_check()
    answers.append(await ask())                                  # a closed client opens anew
asyncio.run(ask_and_close())

loop = asyncio.new_event_loop()                                  # a loop that is closed without being run down
answers.append(loop.run_until_complete(ask()))
loop.run_until_complete(client.close())
loop.close()
gc.collect()
print(json.dumps(answers))
"""


def test_one_client_serves_several_event_loops_and_leaves_nothing_open(control_plane: ServerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LOOPS],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=50,
        env={**clean_environment(), "CIRCUIT_BREAKER_SERVICE_URL": control_plane.url},
    )  # fmt: skip
    held_up = "Executing <"  # asyncio's word on a slow machine
    assert [line for line in done.stderr.splitlines() if not line.startswith(held_up)] == []
    assert json.loads(done.stdout) == [["healthy", "healthy"]] * 8
