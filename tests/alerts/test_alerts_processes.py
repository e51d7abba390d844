"""Each kind of alert from end to end: what a service does, what the API and the page say, and who is told of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Hello, Registration, Report, encode
from tests.programs import ServiceProcess
from tests.receiver import Receiver
from tests.servers import ServerProcess, eventually

from .conftest import OnCall, Start, age, alerts, moment, open_to_readers, rules


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with open_to_readers(ServerProcess(tmp_path_factory.mktemp("server"))) as made:
        yield made


@pytest.fixture(scope="module")
def on_call(server: ServerProcess, receiver: Receiver) -> OnCall:
    return rules(server, receiver, "on-call")[0]


@pytest.fixture
def service(server: ServerProcess, start_service: Start) -> ServiceProcess:
    return start_service(server)


def recorded(server: ServerProcess, name: str, number: int) -> list[dict[str, Any]]:
    """So many transitions, newest first, once they are in the history."""

    def rows() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.request("GET", f"/circuit-breakers/{name}/history")[1]["results"]
        return found if len(found) >= number else []

    return eventually(rows)


def instances(server: ServerProcess, name: str) -> int:
    """That have told of the breaker."""
    status, found = server.request("GET", f"/circuit-breakers/{name}/state")
    return found["instances"]["total"] if status == 200 else 0


def test_open(server: ServerProcess, service: ServiceProcess, on_call: OnCall) -> None:
    service.ask("breaker", name="bank", failure_threshold=3)
    service.ask("call", name="bank", times=3)
    told = on_call.hears("bank", "open")
    assert told["message"] == "Open on 1 of 1 instances"
    assert told["cause"] == "3 consecutive failures, last: Broken: the dependency is down"
    row = server.request("GET", "/circuit-breakers/bank")[1]
    (opened,) = recorded(server, "bank", 1)
    assert moment(told["since"]) == moment(row["since"])
    assert abs(moment(opened["at"]) - moment(told["since"])) < timedelta(seconds=1)
    alert = alerts(server, "bank")["open"]
    same = ("level", "name", "kind", "message", "cause")
    assert [told[key] for key in same] == [alert[key] for key in same]
    assert moment(told["since"]) == moment(alert["since"])
    assert told["link"] == server.url + alert["link"]
    shown = on_call.looks_at(told)
    assert 'data-state="open"' in shown
    assert told["cause"] in shown
    server.request("POST", "/circuit-breakers/bank/reset")
    over = on_call.hears_the_end("bank", "open")
    assert over["message"] == told["message"]
    assert over["still"] == []
    assert alerts(server, "bank") == {}


def test_open_past_its_wait_without_a_call(server: ServerProcess, service: ServiceProcess, on_call: OnCall) -> None:
    service.ask("breaker", name="quiet", failure_threshold=1, success_threshold=1, recovery_timeout=3600.0)
    service.ask("call", name="quiet", times=1)
    on_call.hears("quiet", "open")
    server.request("PATCH", "/circuit-breakers/quiet/config", {"recovery_timeout": 0.1})
    over = on_call.hears_the_end("quiet", "open")
    told = on_call.hears("quiet", "ready_to_probe")
    assert over["still"] == [told["message"]] == ["Ready to probe, waiting for a call"]
    assert told["cause"] == "1 failure, last: Broken: the dependency is down"
    assert "with the next call" in on_call.looks_at(told)
    assert list(alerts(server, "quiet")) == ["ready_to_probe"]
    service.ask("call", name="quiet", times=1, ok=True)
    on_call.hears_the_end("quiet", "ready_to_probe")


def test_half_open_for_long(server: ServerProcess, start_service: Start, on_call: OnCall) -> None:
    """A service that has probed too little for five minutes before it links."""
    service = start_service(None)
    service.ask("go_ahead", seconds=0.0)
    service.ask("breaker", name="slow-to-heal", failure_threshold=1, success_threshold=3, recovery_timeout=60.0)
    service.ask("call", name="slow-to-heal", times=1)
    service.ask("go_ahead", seconds=61.0)
    service.ask("call", name="slow-to-heal", times=1, ok=True)
    assert service.ask("state", name="slow-to-heal") == "half_open"
    service.ask("go_ahead", seconds=301.0)
    service.ask("connect", service="healing_service", url=server.url, token=server.token)
    told = on_call.hears("slow-to-heal", "half_open")
    assert told["message"] == "Half-open for long, too few probes come, on 1 of 1 instances"
    assert timedelta(seconds=301) <= age(told) < timedelta(seconds=600)
    assert 'data-state="half_open"' in on_call.looks_at(told)
    service.ask("call", name="slow-to-heal", times=2, ok=True)
    on_call.hears_the_end("slow-to-heal", "half_open")


def test_flapping(server: ServerProcess, service: ServiceProcess, on_call: OnCall) -> None:
    service.ask("breaker", name="flappy", failure_threshold=1)
    service.ask("storm", name="flappy", transitions=6)
    told = on_call.hears("flappy", "flapping")
    assert told["message"] == "Flapping: opened 3 times in 10 min"
    assert "the dependency is down" in told["cause"]
    first = recorded(server, "flappy", 6)[-1]
    assert abs(moment(told["since"]) - moment(first["at"])) < timedelta(seconds=1)
    assert on_call.looks_at(told).count("1 failure, last: Broken") >= 3
    assert alerts(server, "flappy")["flapping"]["message"] == told["message"]


def test_a_config_that_is_refused(server: ServerProcess, start_service: Start, on_call: OnCall) -> None:
    """By a service whose library is of a release with a narrower bound than the server's."""
    service = start_service(None)
    service.ask("be_older", field="half_open_max_calls", maximum=10)
    service.ask("breaker", name="pinned")
    service.ask("connect", service="old_service", url=server.url, token=server.token)
    eventually(lambda: server.request("GET", "/circuit-breakers/pinned")[0] == 200)
    status, edited = server.request("PATCH", "/circuit-breakers/pinned/config", {"half_open_max_calls": 50})
    assert status == 200, edited
    told = on_call.hears("pinned", "config_not_applied")
    assert told["cause"] == "half_open_max_calls: must be an integer >= 1 and <= 10, not 50"
    assert told["message"] == f"Config not applied on 1 of 1 instances: {told['cause']}"
    assert service.ask("config", name="pinned")["half_open_max_calls"] == 1, "the last good one stays"
    assert told["cause"] in on_call.looks_at(told)
    server.request("PATCH", "/circuit-breakers/pinned/config", {"half_open_max_calls": 7})
    on_call.hears_the_end("pinned", "config_not_applied")
    assert service.ask("config", name="pinned")["half_open_max_calls"] == 7


def test_a_service_that_stands_still_is_silent(server: ServerProcess, service: ServiceProcess, on_call: OnCall) -> None:
    service.ask("breaker", name="frozen")
    eventually(lambda: instances(server, "frozen") == 1, what="the instance has told of it")
    os.kill(service.pid, signal.SIGSTOP)
    try:
        silent = on_call.hears("frozen", "silent_instances")
        assert (silent["message"], silent["cause"]) == ("1 of 1 instances silent", "No heartbeat for 15 s")
        assert age(silent) >= timedelta(seconds=15)
        assert "Silent, last closed" in on_call.looks_at(silent)
    finally:
        os.kill(service.pid, signal.SIGCONT)
    on_call.hears_the_end("frozen", "silent_instances")


async def test_a_config_that_is_not_confirmed(server: ServerProcess, on_call: OnCall) -> None:
    """By a link that speaks, and takes nothing."""
    known = {"instance": str(uuid4()), "service": "deaf_service", "host": "h", "pid": 1, "library": "t", "revision": 0}
    moments = {"now": time.time(), "started_at": time.time() - 60}
    hello = Hello(**known, **moments, registrations=(Registration("unheard", {}),))
    key = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws/agent", headers=key) as link:
        await link.send_str(encode(hello))
        told = asyncio.create_task(asyncio.to_thread(on_call.hears, "unheard", "config_not_applied"))
        for number in itertools.count(1):
            status = BreakerStatus("unheard", CircuitBreakerState.CLOSED)
            await link.send_str(encode(Report(id=number, now=time.time(), breakers=(status,))))
            if (await asyncio.wait([told], timeout=1.0))[0]:
                break
        message = told.result()
        assert (message["message"], message["cause"]) == (
            "Config not applied on 1 of 1 instances",
            "Not confirmed for 10 s",
        )
        assert "not applied yet" in await asyncio.to_thread(on_call.looks_at, message)
        revision = server.python("from breakers.selectors import current_revision; print(current_revision())")
        report = Report(id=number + 1, now=time.time(), revision=int(revision))
        await link.send_str(encode(report))
        await asyncio.to_thread(on_call.hears_the_end, "unheard", "config_not_applied")


def force(server: ServerProcess, name: str, override: str, seconds: float) -> str:
    """When it ends, in the words of the alert."""
    eventually(lambda: server.request("GET", f"/circuit-breakers/{name}")[0] == 200)
    order = {"override": override, "reason": "INC-2291", "expires_in": seconds}
    status, row = server.request("PUT", f"/circuit-breakers/{name}/override", order)
    assert status == 200, row
    return f"{moment(row['override']['expires_at']):%H:%M:%S} UTC"


def test_an_override_about_to_expire_that_is_released(
    server: ServerProcess, service: ServiceProcess, on_call: OnCall
) -> None:
    service.ask("breaker", name="forced")
    ends = force(server, "forced", "forced_open", 250.0)
    told, standing = on_call.hears("forced", "override_expiring"), on_call.hears("forced", "forced_open")
    assert told["message"] == f"Forced open by key:tests ends at {ends}: INC-2291"
    assert standing["message"] == "Forced open by key:tests: INC-2291"
    assert told["cause"] == standing["cause"] == "INC-2291"
    assert moment(told["since"]) == moment(standing["since"]), "a short one is about to end from the start"
    shown = on_call.looks_at(told)
    assert "Forced open" in shown
    assert "INC-2291" in shown
    server.request("DELETE", "/circuit-breakers/forced/override")
    for kind in ("override_expiring", "forced_open"):
        on_call.hears_the_end("forced", kind)


def test_an_override_that_expires(server: ServerProcess, service: ServiceProcess, on_call: OnCall) -> None:
    service.ask("breaker", name="shadow")
    ends = force(server, "shadow", "forced_closed", 15.0)
    assert on_call.hears("shadow", "override_expiring")["message"] == (
        f"Forced closed by key:tests ends at {ends}: INC-2291"
    )
    on_call.hears_the_end("shadow", "override_expiring")
    eventually(lambda: service.ask("metrics", name="shadow")["override"] is None, what="by its own clock")
    assert on_call.told("shadow") == [("firing", "override_expiring"), ("resolved", "override_expiring")]
