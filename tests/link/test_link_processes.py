"""The link between real processes: a server, and services that it knows nothing of beforehand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

Start = Callable[..., ServiceProcess]
both_ways = pytest.mark.parametrize("start_service", ["websocket", "database"], indirect=True)
"""What holds for a link to the server holds for one to its database."""


def row(server: ServerProcess, name: str) -> Any:
    status, answer = server.request("GET", f"/circuit-breakers/{name}")
    return answer if status == 200 else None


def history(server: ServerProcess, name: str, page: int = 1000) -> list[dict[str, Any]]:
    """All of it, oldest first."""
    found: list[dict[str, Any]] = []
    path = f"/circuit-breakers/{name}/history?limit={page}&page_size={page}"
    while path:
        status, answer = server.request("GET", path)
        assert status == 200, answer
        found += answer["results"]
        path = (answer["next"] or "").removeprefix(server.url)
    return found[::-1]


def recorded(server: ServerProcess, name: str, number: int, within: float = 60.0) -> list[dict[str, Any]]:
    """The history once it holds ``number`` transitions."""
    eventually(
        lambda: server.request("GET", f"/circuit-breakers/{name}/history")[1].get("count", 0) >= number,
        within=within,
        what=f"{number} transitions of {name}",
    )
    return history(server, name)


def edit(server: ServerProcess, name: str, **config: object) -> Any:
    status, answer = server.request("PATCH", f"/circuit-breakers/{name}/config", config)
    assert status == 200, answer
    return answer


def test_a_breaker_is_registered_with_the_config_it_has_in_code(
    shared_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name="registered", failure_threshold=7)
    found = eventually(lambda: (found := row(shared_server, "registered")) and found["services"] and found)
    assert found["config"]["failure_threshold"] == 7
    assert found["services"] == ["trading_service"]


@both_ways
def test_an_edit_changes_the_behaviour_of_a_running_process_at_once(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name=fresh, failure_threshold=50)
    eventually(lambda: row(shared_server, fresh))
    edit(shared_server, fresh, failure_threshold=2)
    eventually(lambda: service.ask("config", name=fresh)["failure_threshold"] == 2)
    service.ask("call", name=fresh, times=2)
    assert service.ask("state", name=fresh) == "open"
    recorded(shared_server, fresh, 1)


def confirms(server: ServerProcess, name: str, threshold: int) -> bool:
    """Its one instance has applied the edit."""
    found = row(server, name)
    return bool(found["config"]["failure_threshold"] == threshold and found["applied"] == {"on": 1, "of": 1})


def test_who_applied_an_edit_is_known(shared_server: ServerProcess, start_service: Start) -> None:
    start_service(shared_server).ask("breaker", name="confirmed", failure_threshold=50)
    eventually(lambda: row(shared_server, "confirmed"))
    took = []
    for threshold in range(2, 7):
        edit(shared_server, "confirmed", failure_threshold=threshold)
        began = time.monotonic()
        eventually(lambda threshold=threshold: confirms(shared_server, "confirmed", threshold))
        took.append(time.monotonic() - began)
    assert min(took) < 1.5  # by a hint: looking without one takes two seconds


def test_an_edit_by_another_process_is_found_without_a_hint(shared_server: ServerProcess, start_service: Start) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name="edited_elsewhere")
    eventually(lambda: row(shared_server, "edited_elsewhere"))
    shared_server.python(
        "from dataclasses import replace\n"
        "from breakers import selectors, services\n"
        "row = selectors.breaker('edited_elsewhere')\n"
        "config = replace(row.config(), failure_threshold=9)\n"
        "by = services.Actor('system', 'test')\n"
        "services.breaker_edit(name=row.name, config=config, http=row.http_config(), reason='', by=by)"
    )
    eventually(lambda: service.ask("config", name="edited_elsewhere")["failure_threshold"] == 9)


@both_ways
def test_a_reset_is_carried_out_once_in_each_process(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    services = [start_service(shared_server, f"service_{number}") for number in range(2)]
    for service in services:
        service.ask("breaker", name=fresh, failure_threshold=1)
        service.ask("call", name=fresh, times=1)
    recorded(shared_server, fresh, 2)
    status, answer = shared_server.request("POST", f"/circuit-breakers/{fresh}/reset", {"reason": "repaired"})
    assert status == 200, answer
    for service in services:
        eventually(lambda service=service: service.ask("state", name=fresh) == "closed")
        service.ask("call", name=fresh, times=1)  # a second reset would close it again
    reasons = [change["reason"] for change in recorded(shared_server, fresh, 6)]
    assert sorted(reasons) == ["consecutive_failures"] * 4 + ["reset"] * 2
    assert [service.ask("state", name=fresh) for service in services] == ["open", "open"]


@both_ways
def test_an_override_reaches_the_process_and_is_lifted_again(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name=fresh)
    eventually(lambda: row(shared_server, fresh))
    order = {"override": "forced_open", "reason": "INC-1", "expires_in": 900.0}
    assert shared_server.request("PUT", f"/circuit-breakers/{fresh}/override", order)[0] == 200
    eventually(lambda: service.ask("metrics", name=fresh)["override"] == "forced_open")
    assert service.ask("call", name=fresh, times=1, ok=True) == {"rejected": 1}
    assert shared_server.request("DELETE", f"/circuit-breakers/{fresh}/override")[0] in (200, 204)
    eventually(lambda: service.ask("call", name=fresh, times=1, ok=True) == {"succeeded": 1})


@both_ways
def test_a_deleted_config_returns_the_process_to_its_code(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name=fresh, failure_threshold=8)
    eventually(lambda: row(shared_server, fresh))
    edit(shared_server, fresh, failure_threshold=3)
    eventually(lambda: service.ask("config", name=fresh)["failure_threshold"] == 3)
    assert shared_server.request("DELETE", f"/circuit-breakers/{fresh}")[0] == 204
    eventually(lambda: service.ask("config", name=fresh)["failure_threshold"] == 8)
    again = eventually(lambda: row(shared_server, fresh), what="the name is registered again")
    assert again["config"]["failure_threshold"] == 8


def test_counts_of_a_process_that_ended_stay_in_the_totals(shared_server: ServerProcess, start_service: Start) -> None:
    for number in range(2):
        service = start_service(shared_server, f"short_lived_{number}")
        service.ask("breaker", name="counted", failure_threshold=0)
        service.ask("call", name="counted", times=30, ok=True)
        service.ask("call", name="counted", times=12)
        service.end()
    metrics = eventually(lambda: (row(shared_server, "counted") or {}).get("metrics"))
    assert (metrics["successes_total"], metrics["failures_total"]) == (60, 24)
    assert row(shared_server, "counted")["instances"]["total"] == 0  # both said goodbye


def test_totals_survive_the_server(own_server: ServerProcess, start_service: Start) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="kept", failure_threshold=0)
    service.ask("call", name="kept", times=12)
    service.end()
    own_server.kill()
    own_server.start()
    assert row(own_server, "kept")["metrics"]["failures_total"] == 12


def test_every_transition_is_recorded_exactly_once_whatever_happens_to_the_server(
    own_server: ServerProcess, start_service: Start
) -> None:
    services = [start_service(own_server, f"storm_{number}") for number in range(2)]
    for service in services:
        service.ask("breaker", name="storm", failure_threshold=1)
        service.ask("storm", name="storm", transitions=3000, pause=0.001)
    recorded(own_server, "storm", 200)
    own_server.kill()
    eventually(lambda: not services[0].ask("status")["connected"])
    own_server.start()
    for service in services:
        eventually(lambda service=service: not service.ask("storming"))
    changes = recorded(own_server, "storm", 6000)
    assert len(changes) == 6000
    for instance in {change["instance"] for change in changes}:
        told = [change["sequence"] for change in changes if change["instance"] == instance]
        assert sorted(told) == list(range(1, 3001))
    assert row(own_server, "storm")["metrics"]["failures_total"] == 3000  # what the services counted, no more, no less
    assert [service.ask("status")["dropped"] for service in services] == [0, 0]


def test_transitions_of_the_servers_absence_are_not_missing(own_server: ServerProcess, start_service: Start) -> None:
    service = start_service(own_server)
    service.ask("breaker", name="meantime", failure_threshold=1)
    own_server.stop()
    assert service.ask("call", name="meantime", times=3) == {"failed": 1, "rejected": 2}  # calls go on
    own_server.start()
    changes = recorded(own_server, "meantime", 1)
    assert [change["to_state"] for change in changes] == ["open"]
    assert changes[0]["at"] < changes[0]["received_at"]
    eventually(lambda: row(own_server, "meantime")["state"] == "open")


def test_a_forked_child_is_an_instance_of_its_own_and_counts_from_the_fork(
    shared_server: ServerProcess, start_service: Start
) -> None:
    service = start_service(shared_server, "prefork")
    service.ask("breaker", name="forked", failure_threshold=0)
    service.ask("call", name="forked", times=10)
    service.ask("fork", name="forked", failures=5)
    service.ask("call", name="forked", times=1)
    eventually(lambda: (row(shared_server, "forked") or {}).get("metrics", {}).get("failures_total") == 16)
    assert service.ask("status")["connected"]  # the parent's connection was left alone


def test_a_wrong_key_is_said_once_and_stops_the_link(shared_server: ServerProcess) -> None:
    with ServiceProcess() as service:
        service.ask("connect", service="stranger", url=shared_server.url, token="tpcb_wrong")
        found = eventually(lambda: (status := service.ask("status"))["last_error"] and status)
        assert "403" in found["last_error"]
        assert not found["connected"]
        assert service.ask("call", name="unharmed", times=1, ok=True) == {"succeeded": 1}


def test_a_key_without_the_agents_scope_is_refused(shared_server: ServerProcess) -> None:
    token = shared_server.create_key("a reader", "read")
    with ServiceProcess() as service:
        service.ask("connect", service="reader", url=shared_server.url, token=token)
        eventually(lambda: "403" in (service.ask("status")["last_error"] or ""))
