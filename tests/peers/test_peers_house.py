"""Three servers, two hundred links, and what befalls them: each server shows exactly what the services have counted."""

from __future__ import annotations

import pytest

from tests.peers.conftest import LINKS, House
from tests.servers import eventually

pytestmark = pytest.mark.timeout(180)  # the first test starts the house


def test_every_server_shows_the_whole_fleet(house: House) -> None:
    spread = [len(servers) for servers in house.crowd.ask("servers")]
    assert max(spread) > 1, "links land on whichever server"
    house.storm(seconds=3)
    house.agree()
    for server in house.running:
        assert len(server.request("GET", "/circuit-breakers/dependency-0")[1]["instance_rows"]) == LINKS
        assert f"circuit_breaker_agents {LINKS}.0" in server.request("GET", "/metrics")[1]


def test_a_server_that_is_killed_in_a_storm_takes_nothing_with_it(house: House) -> None:
    with house.storming():
        house.servers[0].kill()
        eventually(lambda: house.linked() == LINKS, within=40, what="every link has found another server")
    house.agree()
    assert house.silent() == []
    house.servers[0].start(within=100)
    house.agree()
