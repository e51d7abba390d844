"""The proxy's configuration in a real nginx before two real servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import Nginx, deployed
from tests.programs import ServiceProcess
from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess, eventually


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two over one database and one Redis, as behind the proxy of the compose file."""
    with RedisServer(tmp_path) as redis:
        shared = {
            "CIRCUIT_BREAKER_PROXIES": "1",
            "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "REDIS_URL": redis.url,
        }
        folders = [tmp_path / name for name in ("server-1", "server-2")]
        for folder in folders:
            folder.mkdir()
        first = ServerProcess(folders[0], environment=shared)
        second = ServerProcess(folders[1], environment=shared, database=first.database)
        first.prepare()
        second.token = first.token
        try:
            first.start()
            second.start()
            yield first, second
        finally:
            first.stop()
            second.stop()


@pytest.fixture
def proxy(servers: tuple[ServerProcess, ServerProcess], tmp_path: Path) -> Iterator[ServerProcess]:
    """What clients see: asks like a server, at nginx's address."""
    seen = ServerProcess(tmp_path)
    seen.token = servers[0].token
    ports = [server.port for server in servers]
    with Nginx(tmp_path, deployed((ROOT / "deploy/nginx/default.conf").read_text(), port=seen.port, servers=ports)):
        eventually(lambda: _answers(seen), what="nginx passes requests on")
        yield seen


def _answers(server: ServerProcess) -> bool:
    try:
        return server.request("GET", "/health")[0] == 200
    except OSError:
        return False


@pytest.mark.timeout(120)  # two servers start, one dies, a link finds the other
def test_links_pass_through_and_move_on_when_a_server_dies(
    proxy: ServerProcess, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    with ServiceProcess() as service:
        service.ask("connect", service="trading_service", url=proxy.url, token=proxy.token)
        service.linked()
        service.ask("breaker", name="moves", failure_threshold=2)
        eventually(lambda: proxy.request("GET", "/circuit-breakers/moves")[0] == 200)
        for server in (proxy, *servers):
            eventually(lambda: server.request("GET", "/circuit-breakers/moves")[1]["instances"]["total"] == 1)  # noqa: B023  # asked before the next

        servers[0].kill()
        eventually(lambda: _answers(proxy), what="the other server answers")
        service.ask("call", name="moves", times=2)
        eventually(
            lambda: proxy.request("GET", "/circuit-breakers/moves/state")[1]["state"] == "open",
            what="the other server is told by the link that moved",
        )


def started(server: ServerProcess) -> str:
    """When the process that answers began: which one it is."""
    status, text = server.request("GET", "/metrics")
    assert status == 200
    return next(line for line in str(text).splitlines() if line.startswith("process_start_time_seconds"))


@pytest.mark.timeout(120)  # two servers start
def test_prometheus_is_answered_by_one_server_and_by_the_other_when_that_is_away(
    proxy: ServerProcess, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = map(started, servers)
    assert first != second
    assert {started(proxy) for _ in range(6)} == {first}
    servers[0].kill()
    assert eventually(lambda: started(proxy), what="the other one answers") == second


def test_what_a_client_claims_of_its_address_is_not_believed(
    proxy: ServerProcess, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    forged = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert proxy.request("GET", "/circuit-breakers", headers=forged)[0] == 401
    log = eventually(lambda: "Refused" in (text := "".join(each.log.read_text() for each in servers)) and text)
    assert "203.0.113.7" not in log
    assert "from 127.0.0.1, GET /circuit-breakers" in log
