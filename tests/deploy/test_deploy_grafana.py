"""The dashboard: built by its script, right for Grafana, each query answered by a Prometheus that scrapes a fleet."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy.prometheus import Prometheus
from tests.programs import ServiceProcess
from tests.redis_server import RedisServer
from tests.servers import ROOT, ServerProcess, eventually

SCRIPT = ROOT / "deploy" / "grafana" / "build.py"
FILE = SCRIPT.with_name("circuit-breakers.json")
DASHBOARD = json.loads(FILE.read_text())
QUERIES = {
    **{
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    },
    **{annotation["name"]: annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]},
}
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
SEED = "rate(circuit_breaker_failures_total[5m]) / rate(circuit_breaker_requests_total[5m])"
"""The user's own query."""
WINDOW = "10s"
EDIT = {"recovery_timeout": 2.0, "group": "market"}
pytestmark = pytest.mark.timeout(150)  # the first test waits for two servers and a fleet


def configured(folder: Path, server: ServerProcess) -> Path:
    """The configuration of the deployment; only where the server is, how often, and where the key is differ."""
    deployed = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    deployed["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    deployed["rule_files"] = [str(ROOT / "deploy" / "prometheus" / "rules.yml")]
    (folder / "key").write_text(server.create_key("prometheus", "read"))
    for job in deployed["scrape_configs"]:
        job["authorization"]["credentials_file"] = str(folder / "key")
        job["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    configuration = folder / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(deployed))
    return configuration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("scraped")
    with RedisServer(folder) as redis, ServerProcess(folder, environment={"REDIS_URL": redis.url}) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    with Prometheus(program, folder, configured(folder, server)) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(server: ServerProcess, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The demo's, with an outage and an edit: something of everything that the dashboard shows."""
    demo = [sys.executable, "-m", "demo", "--var", str(tmp_path_factory.mktemp("demo"))]
    environment = {**server.environment, "CIRCUIT_BREAKER_SERVICE_TOKEN": server.token}
    program = [*demo, "fleet", "--url", server.url]
    running = subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: server.request("GET", "/circuit-breakers/data_service")[0] == 200)
        eventually(lambda: prometheus.now('circuit_breaker_state{name="data_service"}'))
        subprocess.run([*demo, "break", "data_service"], cwd=ROOT, env=environment, check=True, capture_output=True)
        assert server.request("PATCH", "/circuit-breakers/data_service/config", EDIT)[0] == 200
        yield
    finally:
        running.terminate()
        running.wait(20)


def test_the_file_is_what_the_script_makes() -> None:
    made = runpy.run_path(str(SCRIPT))["text"]()
    assert made == FILE.read_text(), "run python deploy/grafana/build.py"


def test_the_file_is_a_dashboard_by_grafanas_own_model() -> None:
    again = json.loads(json.dumps(Dashboard.from_json(json.loads(FILE.read_text())), cls=JSONEncoder))
    for annotation in again["annotations"]["list"]:  # the data source's own keys are not in the model
        annotation |= {key: a[key] for a in DASHBOARD["annotations"]["list"] if a["name"] == annotation["name"]
                       for key in ("step", "titleFormat")}  # fmt: skip
    assert again == DASHBOARD
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(titles) == len(set(titles))


def test_panels_do_not_overlap_and_fill_their_rows() -> None:
    cells = [
        (x, y)
        for spot in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(spot["x"], spot["x"] + spot["w"])
        for y in range(spot["y"], spot["y"] + spot["h"])
    ]
    assert len(cells) == len(set(cells)) == 24 * (max(y for _, y in cells) + 1)


def choices(variable: str, prometheus: Prometheus, **chosen: str) -> list[str]:
    """What Grafana would offer."""
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[variable]["query"])
    assert asked is not None
    series = re.sub(r"\$(\w+)", lambda found: chosen[found[1]], asked[1])
    values: list[str] = prometheus.ask(f"label/{asked[2]}/values", **{"match[]": series})
    return values


def filled(expr: str, prometheus: Prometheus, group: str = VARIABLES["group"]["allValue"]) -> str:
    """``expr`` with Grafana's variables as a viewer finds them who has chosen nothing, but perhaps a group."""
    names = choices("name", prometheus, group=group)
    values = {"name": "|".join(map(re.escape, names)).replace("\\", "\\\\"),
              "slow": VARIABLES["slow"]["current"]["value"], "__rate_interval": WINDOW, "__interval": "2s"}  # fmt: skip
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)


@pytest.mark.parametrize("title", QUERIES)
def test_no_query_is_empty(title: str, fleet: None, prometheus: Prometheus) -> None:
    def found() -> object:
        return prometheus.lately(filled(QUERIES[title], prometheus), 30)

    eventually(found, what=f"{title}: {QUERIES[title]}")


def test_what_the_panels_promise_is_there() -> None:
    """States over time, rates against limits, rejections, percentiles, slow calls, instances, the control plane."""
    asked = {panel["title"]: [target["expr"] for target in panel.get("targets", ())] for panel in DASHBOARD["panels"]}
    assert "circuit_breaker_failure_rate_threshold" in asked["Failures of the calls made, against the limit"][1]
    assert "circuit_breaker_slow_call_rate_threshold" in asked["Slow calls, against the limit"][1]
    assert [re.findall(r"quantile\(([\d.]+)", expr)[0] for expr in asked["How long calls take"]] == [
        "0.5",
        "0.95",
        "0.99",
    ]
    assert {"States", "Rejected requests", "State changes", "Instances by state", "Answers to Prometheus"} <= set(asked)
    assert {a["name"] for a in DASHBOARD["annotations"]["list"]} == {"State changes", "Config edits"}
    of_breakers = [expr for exprs in asked.values() for expr in exprs if "_bucket" in expr or "_total{" in expr]
    assert all('name=~"$name"' in expr or "django_" in expr or "process_" in expr for expr in of_breakers)


def test_each_breaker_has_a_line_and_the_broken_one_is_seen_to_fail(fleet: None, prometheus: Prometheus) -> None:
    def names(title: str) -> set[str]:
        return {one["metric"]["name"] for one in prometheus.lately(filled(QUERIES[title], prometheus), 30)}

    eventually(lambda: len(names("States, A")) >= 8)
    eventually(lambda: "data_service" in names("State changes"))
    eventually(lambda: prometheus.now(f"{filled(QUERIES['Rejected requests, A'], prometheus)} > 0"))
    eventually(lambda: prometheus.now('ALERTS{alertname="CircuitBreakerOpen"}'))


def test_what_a_viewer_may_choose_is_there_to_choose(fleet: None, prometheus: Prometheus) -> None:
    assert VARIABLES["slow"]["current"]["value"] in choices("slow", prometheus)
    eventually(lambda: choices("group", prometheus) == ["market"])
    eventually(lambda: len(choices("name", prometheus, group=".*")) >= 8, what="those without a group too")
    assert choices("name", prometheus, group="market") == ["data_service"]


def test_a_group_that_is_chosen_leaves_only_its_breakers(fleet: None, prometheus: Prometheus) -> None:
    eventually(lambda: choices("group", prometheus))
    states = prometheus.now(filled(QUERIES["States, A"], prometheus, group="market"))
    assert {one["name"] for one in states} == {"data_service"}


def test_servers_tell_of_themselves_and_the_fleet_is_counted_once(fleet: None, prometheus: Prometheus) -> None:
    jobs = {one["job"] for one in prometheus.now('{__name__=~"circuit_breaker_.+"}')}
    assert jobs == {"circuit-breakers"}
    assert prometheus.now('process_cpu_seconds_total{job="circuit-breaker-servers"}')


def failure_rate() -> str:
    """The query that ``docs/metrics.md`` gives in place of the user's."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    found = re.search(r"```promql\n(sum by \(name\).*?)```", text, re.DOTALL)
    assert found is not None
    return found[1].strip()


def test_the_failure_rate_is_exact_where_the_users_query_finds_nothing(
    server: ServerProcess, prometheus: Prometheus
) -> None:
    name = "rate_of_failure"
    mine: Any = {"name": name}

    def counted() -> float:
        found = prometheus.now(f'sum(circuit_breaker_requests_total{{name="{name}"}})')
        return found[0]["value"] if found else -1.0

    with ServiceProcess(server, "arithmetic") as service:
        service.ask("breaker", name=name, failure_threshold=0)
        service.linked()
        eventually(lambda: counted() == 0, what="scraped before the first call")
        service.ask("call", name=name, times=30, ok=True)
        service.ask("call", name=name, times=10)
        eventually(lambda: counted() == 40, what="scraped with all calls")
        rates = [one for one in prometheus.now(failure_rate()) if one["name"] == name]
        assert rates == [mine | {"value": pytest.approx(0.25)}]
        assert not [one for one in prometheus.now(SEED) if one["name"] == name], "labels differ: nothing to divide"
