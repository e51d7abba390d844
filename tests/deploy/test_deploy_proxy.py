"""The proxy's configuration in a real nginx before two real servers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import ServiceProcess
from tests.servers import ROOT, ServerProcess, eventually

AROUND = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/default.conf;
}}
"""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two over one database, as behind the proxy of the compose file."""
    trusting = {"CIRCUIT_BREAKER_PROXIES": "1"}
    folders = [tmp_path / name for name in ("server-1", "server-2")]
    for folder in folders:
        folder.mkdir()
    first = ServerProcess(folders[0], environment=trusting)
    second = ServerProcess(folders[1], environment=trusting, database=first.database)
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
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    seen = ServerProcess(tmp_path)
    seen.token = servers[0].token
    deployed = (ROOT / "deploy" / "nginx" / "default.conf").read_text()
    for name, server in zip(("server-1", "server-2"), servers, strict=True):
        assert deployed.count(f"{name}:8012") == 1
        deployed = deployed.replace(f"{name}:8012", f"127.0.0.1:{server.port}")
    (tmp_path / "default.conf").write_text(deployed.replace("listen 8012", f"listen 127.0.0.1:{seen.port}"))
    (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path))
    running = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)])
    try:
        eventually(lambda: _answers(seen), what="nginx passes requests on")
        yield seen
    finally:
        running.terminate()
        running.wait(10)


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
        assert proxy.request("GET", "/circuit-breakers/moves")[1]["instances"]["total"] == 1

        servers[0].kill()
        eventually(lambda: _answers(proxy), what="the other server answers")
        service.ask("call", name="moves", times=2)
        eventually(
            lambda: proxy.request("GET", "/circuit-breakers/moves/state")[1]["state"] == "open",
            within=40,
            what="the other server is told by the link that moved",
        )


def test_what_a_client_claims_of_its_address_is_not_believed(
    proxy: ServerProcess, servers: tuple[ServerProcess, ServerProcess]
) -> None:
    forged = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert proxy.request("GET", "/circuit-breakers", headers=forged)[0] == 401
    log = eventually(lambda: "Refused" in (text := servers[0].log.read_text()) and text)
    assert "203.0.113.7" not in log
    assert "from 127.0.0.1, GET /circuit-breakers" in log
