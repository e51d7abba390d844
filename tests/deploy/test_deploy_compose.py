"""The compose file and what it mounts: held to its schema, to each other, and where programs exist, run."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ("server-1", "server-2")


def test_it_is_a_compose_file_by_the_schema() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([check, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_whole_house_is_there() -> None:
    others = {"nginx", "postgres", "redis", "prometheus", "grafana", "prepare", "demo"}
    assert set(SERVICES) == {*SERVERS, *others}
    assert {one.partition(":")[0] for s in SERVICES.values() for one in s.get("volumes", ()) if one[0] != "."} == set(
        COMPOSE["volumes"]
    )


def test_everything_that_is_mounted_exists() -> None:
    mounted = [one.split(":") for service in SERVICES.values() for one in service.get("volumes", ())]
    sources = [(source, mode) for source, _, *mode in mounted if source.startswith(".")]
    assert len(sources) >= 5
    assert all((ROOT / source).exists() for source, _ in sources)
    assert all(mode == ["ro"] for _, mode in sources)


def test_no_secret_has_a_default() -> None:
    for name in ("DJANGO_SECRET_KEY", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"):
        uses = re.findall(rf"\$\{{{name}(.)", FILE.read_text())
        assert uses
        assert set(uses) == {":"}
        assert f"{name}:-" not in FILE.read_text()


def test_only_the_proxy_is_seen_from_outside() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"nginx", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in ports[name])


def test_servers_need_no_rights_and_wait_for_their_tables() -> None:
    for name in SERVERS:
        server = SERVICES[name]
        assert server["read_only"]
        assert server["cap_drop"] == ["ALL"]
        assert server["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}
        assert server["environment"]["CIRCUIT_BREAKER_PROXIES"] == "1"


def test_proxy_scraper_and_servers_call_each_other_by_the_same_names() -> None:
    proxy = (ROOT / "deploy/nginx/default.conf").read_text()
    upstreams = re.findall(r"^upstream \w+ {(.*?)^}", proxy, re.MULTILINE | re.DOTALL)
    assert [tuple(re.findall(r"^\s*server ([\w-]+):8012", one, re.MULTILINE)) for one in upstreams] == [SERVERS] * 3
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for one in job["static_configs"] for target in one["targets"]]
    assert targets == ["nginx:8012", *(f"{name}:8012" for name in SERVERS)]
    hosts = SERVICES["server-1"]["environment"]["DJANGO_ALLOWED_HOSTS"].split(",")
    assert {"127.0.0.1", "nginx", *SERVERS} <= set(hosts), "the health check, the scraper, and the fleet are let in"
    keys = {job["authorization"]["credentials_file"] for job in jobs}
    assert keys == {"/etc/prometheus-keys/prometheus"}
    assert "keys:/etc/prometheus-keys:ro" in SERVICES["prometheus"]["volumes"]


def test_the_variables_of_servers_are_variables_of_servers() -> None:
    known = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs/settings.md").read_text()))
    for name in (*SERVERS, "prepare", "demo"):
        assert set(SERVICES[name]["environment"]) <= known
    assert SERVICES["server-1"]["environment"]["DATABASE_URL"].partition("@")[2] == "postgres:5432/breakers"
    assert SERVICES["server-1"]["environment"]["REDIS_URL"] == "redis://redis:6379/0"
    postgres = SERVICES["postgres"]["environment"]
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("breakers", "breakers")


def test_whoever_waits_for_health_waits_for_somebody_who_tells_of_it() -> None:
    checked_by_image = {name for name in SERVERS if "healthcheck" not in SERVICES[name]}
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            if how["condition"] == "service_healthy":
                assert other in checked_by_image or "test" in SERVICES[other]["healthcheck"]
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no"


def test_what_redis_is_started_with_lets_other_hosts_in() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--protected-mode") + 1] == "no"
    assert "ports" not in SERVICES["redis"]


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((folder / "dashboards/circuit-breakers.yml").read_text())["providers"][0]
    mounted = [one.split(":")[1] for one in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/circuit-breakers.json" in mounted
    assert "/etc/grafana/provisioning" in mounted


def test_redis_keeps_the_stream_over_a_restart(tmp_path: Path) -> None:
    program, *options = SERVICES["redis"]["command"]
    assert program == "redis-server"
    assert any(volume.endswith(":/data") for volume in SERVICES["redis"]["volumes"])
    with RedisServer(tmp_path, options=options) as redis:
        with redis.client() as client:
            client.xadd("tradpal_events", {"event": "{}"})
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        redis.stop()
        redis.start()
        with redis.client() as client:
            assert client.xlen("tradpal_events") == 1


NAMES = """
from breakers.models import ApiKey
print(*(key.name.split()[0] for key in ApiKey.objects.all()))
"""


def prepare(server: ServerProcess, keys: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["sh", str(ROOT / "deploy" / "prepare.sh"), str(keys)]
    subprocess.run(
        command, cwd=ROOT, env={**server.environment, "PATH": path}, check=True, timeout=150, capture_output=True
    )


def grouped(server: ServerProcess, key: str) -> str:
    """What ``demo groups`` says, as the compose file starts it."""
    command = [sys.executable, "-m", "demo", "groups", "--url", server.url]
    environment = {**server.environment, "CIRCUIT_BREAKER_SERVICE_TOKEN": key}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=50, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.timeout(300)  # thrice migrations and keys, each in a process of its own
def test_the_preparation_makes_tables_and_keys_once_also_when_two_begin_at_once(tmp_path: Path) -> None:
    server, keys = ServerProcess(tmp_path), tmp_path / "keys"
    keys.mkdir()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: prepare(server, keys), range(2)))
    made = {path.name: path.read_text().strip() for path in keys.iterdir()}
    assert set(made) == {"demo", "demo-groups", "prometheus"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 for path in keys.iterdir()), "each container has its user"

    (keys / "demo").unlink()
    prepare(server, keys)
    again = {path.name: path.read_text().strip() for path in keys.iterdir()}
    assert again["prometheus"] == made["prometheus"]
    assert again["demo"] != made["demo"], "lost, and replaced"
    server.start()
    try:
        server.token = again["prometheus"]
        status, names = server.request("GET", "/metrics")[0], server.python(NAMES).split()
        assert (status, sorted(names)) == (200, ["demo", "demo", "demo-groups", "prometheus"]), (
            "one more for the lost one"
        )
        server.token = again["demo"]
        assert server.request("GET", "/metrics")[0] == 403, "the fleet may link and nothing else"
        for described in ("8 breakers described", "0 breakers described"):
            assert grouped(server, again["demo-groups"]) == described, "once: what is there stays as people made it"
        server.token = again["prometheus"]
        rows = server.request("GET", "/circuit-breakers")[1]["results"]
        assert {row["group"] for row in rows} == {"market-data", "trading", "platform"}
    finally:
        server.stop()
