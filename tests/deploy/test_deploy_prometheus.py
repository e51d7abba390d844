"""The scrape configuration and the rules, by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from breakers.fleet import Fleet
from breakers.metrics import Exposition
from tests.servers import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
TESTS = ROOT / "tests" / "deploy" / "prometheus-rules.yml"
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str | Path) -> str:
    """What it says; an AssertionError with it where it finds fault."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_its_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", FOLDER / "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", FOLDER / "rules.yml")


def test_each_rule_says_what_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_no_alert_is_left_without_a_test() -> None:
    tested = {
        expected["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for expected in test.get("alert_rule_test", ())
        if expected["exp_alerts"]
    }
    assert tested == ALERTS


def test_the_rules_ask_only_for_what_the_server_tells() -> None:
    told = {family.name for family in text_string_to_metric_families(Exposition(Fleet()).text().decode())}
    asked = set(re.findall(r"\bcircuit_breaker_\w+", " ".join(r["expr"] for g in RULES["groups"] for r in g["rules"])))
    assert {re.sub(r"_(total|bucket)$", "", name) for name in asked} <= told
