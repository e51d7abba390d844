"""An older library meets a newer server and the reverse: recorded conversations, and peers of protocols to come."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from breakers.core import sync as sync_module
from breakers.core import wire
from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.sync import Sync
from breakers.core.wire import Ack, Desired, Farewell, Welcome
from tests.servers import ServerProcess

from .test_agent_sockets import Agent, agent, agent_of, report, transition  # noqa: F401  # `agent` is a fixture
from .test_link_thread import ControlPlane, Service, patient, plane, service, soon  # noqa: F401  # as above

RECORDED = Path(__file__).parent / "recorded"
"""One line a message, with who said it: whole conversations of releases that have to be understood for ever."""
MOMENTS = {"now", "started_at", "at", "last_failure_time", "last_success_time"}


def recorded(name: str, who: str, **names: str) -> list[dict[str, Any]]:
    """What ``who`` said, as if it were now; the breakers called ``names``."""
    lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]
    messages = [line["message"] for line in lines if line["from"] == who]
    return [_moved(message, time.time() - messages[0]["now"], names) for message in messages]


def _moved(value: Any, by: float, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: item + by if key in MOMENTS and isinstance(item, float) else _moved(item, by, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_moved(item, by, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


# --- what was spoken ----------------------------------------------------------------------------------------------


async def test_a_library_of_the_first_protocol_is_understood(
    shared_server: ServerProcess,
    agent: Agent,  # noqa: F811  # a fixture
    fresh: str,
) -> None:
    said = recorded("library-of-protocol-1", "library", api_gateway=fresh, data_service=f"{fresh}_rates")
    said[0]["instance"] = str(uuid.uuid4())
    for message in said:
        await agent.say(json.dumps(message))
        if message["type"] == "report":
            while (await agent.hear_until(Ack)).id < message["id"]:
                pass
    await agent.hear_until(Farewell)
    history = shared_server.request("GET", f"/circuit-breakers/{fresh}/history")[1]["results"]
    assert [(row["from_state"], row["to_state"], row["reason"]) for row in reversed(history)] == [
        ("closed", "open", "consecutive_failures"),
        ("open", "closed", "override_lifted"),
        ("closed", "open", "consecutive_failures"),
        ("open", "closed", "reset"),
    ]
    counted = shared_server.request("GET", f"/circuit-breakers/{fresh}/metrics")[1]
    assert (counted["successes_total"], counted["failures_total"], counted["rejected_total"]) == (10, 3, 3)


async def test_a_server_of_the_first_protocol_is_understood(plane: Any) -> None:  # noqa: F811  # a fixture
    service = Service(plane.url)  # noqa: F811  # a fixture
    try:
        api = service.registry.get_or_create("api_gateway", CircuitBreakerConfig(failure_threshold=2))
        rates = service.registry.get_or_create("data_service", CircuitBreakerConfig(failure_rate_threshold=0.5))
        visit = await plane.visit()
        said = recorded("server-of-protocol-1", "server")
        overrides, revisions = [], []
        for message in said[:-1]:
            await visit.say(json.dumps(message))
            if message["type"] == "desired":
                await soon(lambda revision=message["revision"]: service.link.status().revision == revision)  # type: ignore[misc]  # of a lambda that keeps its own
                overrides.append(tuple(_override(breaker) for breaker in (api, rates)))
                revisions.append(service.link.status().revision)
        assert revisions == [0, 2, 3, 4, 5, 6, 7, 8, 9]
        assert overrides[3] == ("forced_open", None)
        assert overrides[5] == (None, "forced_closed")
        assert overrides[-1] == (None, None)
        assert (api.config.failure_threshold, api.config.timeout) == (1, None)
        assert rates.config == CircuitBreakerConfig(name="data_service", failure_rate_threshold=0.5)
        assert service.link.status().connected
    finally:
        service.link.begin_close()
        plane.status = 503
        plane.end()
        await soon(lambda: service.link.ended)


def _override(breaker: Any) -> str | None:
    override = breaker.get_metrics()["override"]
    return None if override is None else override.value


# --- what will be spoken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [1, 2, 99])
async def test_a_server_answers_a_library_of_any_protocol_in_its_own_at_most(
    agent: Agent,  # noqa: F811  # a fixture
    protocol: int,
) -> None:
    await agent.say(agent.hello(protocol=protocol))
    welcome = await agent.hear_until(Welcome)
    assert welcome.protocol == min(protocol, wire.PROTOCOL)


async def test_what_only_a_newer_library_says_is_passed_over_and_the_rest_of_it_taken(
    shared_server: ServerProcess,
    agent: Agent,  # noqa: F811  # a fixture
    fresh: str,
) -> None:
    hello = json.loads(wire.encode(agent.hello(fresh, protocol=2)))
    registration = {"name": fresh, "config": {"name": fresh, "adaptive": True}, "owner": "team"}
    await agent.say(json.dumps({**hello, "registrations": [registration], "region": "eu-1"}))
    await agent.hear_until(Desired)
    await agent.say('{"type":"forecast","id":1,"breakers":[]}')
    told = json.loads(wire.encode(report(1, transition(1, fresh))))
    told["transitions"][0] |= {"trace": "abc"}
    status = {"name": fresh, "state": "open", "epoch": 1, "mood": "bad", "counts": {"failures": 3, "hedged": 7}}
    await agent.say(json.dumps({**told, "breakers": [status], "load": 0.5}))
    assert await agent.hear_until(Ack) == Ack(id=1, sequence=1)
    row = shared_server.request("GET", f"/circuit-breakers/{fresh}")[1]
    assert (row["state"], row["metrics"]["failures_total"], len(row["recent"])) == ("open", 3, 1)


async def test_what_no_library_of_its_protocol_says_is_refused(agent: Agent) -> None:  # noqa: F811  # a fixture
    await agent.greet()
    await agent.say('{"type":"forecast","id":1}')
    assert (await agent.farewell())[0] == 4400


async def test_what_only_a_newer_server_says_is_passed_over_and_the_rest_of_it_taken(
    plane: Any,  # noqa: F811  # a fixture
    service: Service,  # noqa: F811  # a fixture
) -> None:
    visit = await plane.visit()
    hello = await visit.hear()
    assert hello.protocol == wire.PROTOCOL
    await visit.say(
        '{"type":"welcome","server":"newer","now":1.0,"protocol":2,"compression":"zstd"}',
        '{"type":"advice","text":"have some tea"}',
        json.dumps({"type": "desired", "revision": 4, "digest": "f00", "breakers": [
            {"name": "api", "revision": 4, "owner": "team", "http": {"hedge": True},
             "config": {"name": "api", "failure_threshold": 9, "adaptive": True},
             "override": {"override": "forced_open", "reason": "INC", "colour": "red"}}],
            "resets": [{"id": "r1", "name": "api", "why": "asked"}]}),
    )  # fmt: skip
    confirmed = await visit.hear_report(lambda told: told.revision == 4 and told.resets)
    assert confirmed.resets == ("r1",)
    assert confirmed.refusals == ()
    assert service.breaker.config.failure_threshold == 9
    assert _override(service.breaker) == "forced_open"


def test_who_does_not_say_which_protocol_it_speaks_speaks_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "PROTOCOL", 2)  # some day
    text = wire.encode(Sync(CircuitBreakerRegistry(), service="s", library="l").hello())
    assert json.loads(text)["protocol"] == 2
    hello = {key: value for key, value in json.loads(text).items() if key != "protocol"}
    assert wire.decode_from_agent(json.dumps(hello)).protocol == 1  # type: ignore[union-attr]  # it is a hello
