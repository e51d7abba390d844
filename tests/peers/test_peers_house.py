"""Three servers, two hundred links, and what befalls them: each server shows exactly what the services have counted."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.peers.conftest import LINKS, House, steady_row, transitions_of
from tests.peers.feeds import Reader
from tests.servers import ServerProcess, eventually

pytestmark = pytest.mark.timeout(400)  # the first test starts the house, on a machine that may be busy

SILENCE = 15.0
"""Seconds after which an instance that is not heard is silent."""


def edit(server: ServerProcess, failure_threshold: int, version: int) -> int:
    """Status of an edit by somebody who saw ``version``."""
    path, asked = "/circuit-breakers/dependency-0/config", {"failure_threshold": failure_threshold}
    return server.request("PATCH", path, asked, headers={"If-Match": f'"{version}"'})[0]


def version(server: ServerProcess) -> int:
    found: int = server.request("GET", "/circuit-breakers/dependency-0")[1]["version"]
    return found


def test_every_server_shows_the_whole_fleet(house: House) -> None:
    spread = [len(servers) for servers in house.crowd.ask("servers")]
    assert max(spread) > 1, "links land on whichever server"
    house.storm(seconds=3)
    house.agree()
    for server in house.running:
        assert len(server.request("GET", "/circuit-breakers/dependency-0")[1]["instance_rows"]) == LINKS
        assert f"circuit_breaker_agents {LINKS}.0" in server.request("GET", "/metrics")[1]


def test_of_two_editors_at_two_servers_one_loses_and_is_told(house: House) -> None:
    seen = version(house.servers[1])
    with ThreadPoolExecutor(2) as editors:
        answers = list(editors.map(edit, house.servers, (2, 3), (seen, seen)))
    assert sorted(answers) == [200, 412]
    assert [version(server) for server in house.running] == [seen + 1] * len(house.running)


def test_old_rows_and_messages_are_a_fresh_snapshot_on_each_server(house: House) -> None:
    before = Counter(transitions_of(house.servers[0]))
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(server)) for server in house.running]
        with house.storming():
            eventually(lambda: not house.speeds_that_differ(), what="each sees the same speeds")
        house.agree()
        happened = Counter(transitions_of(house.servers[0])) - before
        for reader in readers:
            eventually(lambda: reader.transitions == happened, what="each transition is told, once")  # noqa: B023  # asked before the next
            eventually(lambda: len({str(rows) for rows in reader.resync()}) == 1, what="the rows are those that follow")  # noqa: B023
        rows = [{name: steady_row(row) for name, row in reader.rows.items()} for reader in readers]
        assert rows[0] == rows[1] == rows[2]


def test_a_server_that_is_killed_in_a_storm_takes_nothing_with_it(house: House) -> None:
    with house.storming():
        house.servers[0].kill()
        house.all_link()
    house.agree()
    assert house.silent() == []
    house.servers[0].start(within=100)
    house.agree()


def test_redis_may_be_lost_for_longer_than_silence_takes(house: House) -> None:
    with house.storming():
        house.redis.kill()
        lost = time.monotonic()
        eventually(lambda: [degraded(server) for server in house.running] == [["redis"]] * 3)
        assert [server.request("GET", "/health")[0] for server in house.running] == [200] * 3
        assert edit(house.servers[2], 2, version(house.servers[2])) == 200
        eventually(
            lambda: house.crowd.ask("config", name="dependency-0") == [[2]] * 5, what="an edit reaches all links"
        )
        time.sleep(max(lost + SILENCE + 3 - time.monotonic(), 0.0))  # the length of the outage
        assert house.linked() == LINKS
        assert house.silent() == [], "the database knows who is there"
        house.redis.start()
        eventually(lambda: [degraded(server) for server in house.running] == [None] * 3, what="it mends itself")
    house.agree()
    assert house.silent() == []


def degraded(server: ServerProcess) -> object:
    return server.request("GET", "/health")[1].get("degraded")


def test_postgresql_may_be_lost_and_what_happened_meanwhile_arrives(house: House) -> None:
    seen = version(house.servers[0])
    with house.storming():
        house.postgres.stop()
        lost = time.monotonic()
        eventually(lambda: {server.request("GET", "/health")[0] for server in house.running} == {503})
        for server in house.running:
            status, answer = server.request("PATCH", "/circuit-breakers/dependency-0/config", {"failure_threshold": 1})
            assert (status, answer["error"]["code"], answer["error"]["fields"]) == (503, "unavailable", {})
            for path in (
                "/circuit-breakers",
                "/circuit-breakers/dependency-0/state",
                "/dashboard",
                "/alerts",
                "/metrics",
            ):
                assert server.request("GET", path)[0] == 200, f"{path} goes on from memory"
        time.sleep(max(lost + 10 - time.monotonic(), 0.0))  # the length of the outage
        assert house.linked() == LINKS
        assert house.silent() == []
        house.postgres.start()
        eventually(lambda: {server.request("GET", "/health")[0] for server in house.running} == {200})
    house.agree()
    assert version(house.servers[1]) == seen


def test_servers_are_replaced_one_after_the_other_and_nobody_notices(house: House) -> None:
    with house.watching() as alarms, house.storming():
        for server in house.servers:
            assert server.stop() == 0
            house.all_link()
            server.start(within=100)
    house.agree()
    assert house.silent() == []
    assert alarms == set()
