"""What the fleet shows of breakers that a process forgets: each of their calls once, and no trouble that nobody has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

Start = Callable[..., ServiceProcess]
both_ways = pytest.mark.parametrize("start_service", ["websocket", "database"], indirect=True)


def ask(server: ServerProcess, name: str, of: str = "") -> Any:
    status, answer = server.request("GET", f"/circuit-breakers/{name}{of}")
    return answer if status == 200 else {}


def counted(server: ServerProcess, name: str, successes: int, failures: int = 0) -> None:
    """Waits until the fleet's totals are these."""

    def totals() -> bool:
        metrics = ask(server, name, "/metrics")
        return (metrics.get("successes_total"), metrics.get("failures_total")) == (successes, failures)

    eventually(totals, what=f"{successes} successes and {failures} failures of {name}")


@pytest.fixture
def unlinked(tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(log=tmp_path / "service.log") as service:
        yield service


def link(service: ServiceProcess, server: ServerProcess) -> None:
    service.ask("connect", service="trading_service", url=server.url, token=server.token)


def unlink(service: ServiceProcess) -> None:
    """Until its link is gone: one that begins beside it would be another instance, which counts from now."""
    service.ask("close")
    eventually(lambda: service.ask("ended"))


def test_a_call_that_ends_after_its_breaker_was_forgotten_is_counted(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("call", name=fresh, times=2, ok=True)
    service.ask("hold", name=fresh)
    counted(shared_server, fresh, 2)
    service.ask("forget", name=fresh)
    service.ask("release", name=fresh)
    counted(shared_server, fresh, 3)


def test_one_that_was_made_anew_meanwhile_counts_beside_it(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("call", name=fresh, times=2, ok=True)
    service.ask("hold", name=fresh)
    service.ask("forget", name=fresh)
    service.ask("call", name=fresh, times=4)
    counted(shared_server, fresh, 2, 4)
    service.ask("release", name=fresh)
    counted(shared_server, fresh, 3, 4)


def test_what_was_forgotten_before_the_link_and_while_it_was_closed_is_counted(
    shared_server: ServerProcess, unlinked: ServiceProcess, fresh: str
) -> None:
    unlinked.ask("call", name=fresh, times=3, ok=True)
    unlinked.ask("forget", name=fresh)
    unlinked.ask("call", name=fresh, times=1)
    link(unlinked, shared_server)
    counted(shared_server, fresh, 3, 1)
    unlink(unlinked)
    unlinked.ask("call", name=fresh, times=2, ok=True)
    unlinked.ask("forget", name=fresh)
    unlinked.ask("call", name=fresh, times=4, ok=True)
    link(unlinked, shared_server)
    counted(shared_server, fresh, 9, 1)
    unlink(unlinked)
    unlinked.ask("call", name=fresh, times=1, ok=True)
    unlinked.ask("forget", name=fresh)  # and is not made anew
    link(unlinked, shared_server)
    counted(shared_server, fresh, 10, 1)


@both_ways
def test_a_breaker_that_is_forgotten_while_it_is_open_is_closed_for_the_fleet(
    shared_server: ServerProcess, start_service: Start, fresh: str
) -> None:
    service = start_service(shared_server)
    service.ask("breaker", name=fresh, failure_threshold=1)
    service.ask("hold", name=fresh)
    service.ask("call", name=fresh, times=1)
    eventually(lambda: ask(shared_server, fresh).get("state") == "open")
    service.ask("forget", name=fresh)
    service.ask("release", name=fresh)
    eventually(lambda: ask(shared_server, fresh, "/metrics")["late_total"] == 1)
    eventually(lambda: ask(shared_server, fresh)["state"] == "closed")
    eventually(lambda: ask(shared_server, fresh)["instances"]["total"] == 0)
    last = eventually(lambda: (told := ask(shared_server, fresh, "/history")["results"])[1:] and told[0])
    assert (last["from_state"], last["to_state"], last["reason"]) == ("open", "closed", "reset")
    assert last["cause"] == "its process has forgotten the breaker"


def test_a_breaker_that_was_forgotten_while_the_link_was_closed_is_no_longer_shown_open(
    shared_server: ServerProcess, unlinked: ServiceProcess, fresh: str
) -> None:
    link(unlinked, shared_server)
    unlinked.ask("breaker", name=fresh, failure_threshold=1)
    unlinked.ask("call", name=fresh, times=1)
    eventually(lambda: ask(shared_server, fresh).get("state") == "open")
    unlink(unlinked)
    unlinked.ask("forget", name=fresh)
    link(unlinked, shared_server)
    eventually(lambda: ask(shared_server, fresh)["state"] == "closed")
