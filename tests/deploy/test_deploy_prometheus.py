"""The scrape configuration and the rules, by Prometheus' own tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from breakers import CircuitBreakerOpenError, registry, services
from breakers.agents import codes
from breakers.client.metrics import register
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Counts, Report
from breakers.fleet import Fleet, fleet
from breakers.metrics import Exposition
from breakers.models import InstanceIdentity
from tests.servers import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
TESTS = ROOT / "tests" / "deploy" / "prometheus-rules.yml"
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """What it says of ``given``, or of files; an AssertionError with it where it finds fault."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run([program, *map(str, arguments)], input=given, capture_output=True, timeout=50)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


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


@pytest.mark.django_db
def test_all_that_a_server_tells_is_as_prometheus_wants_it(key: Callable[..., str]) -> None:
    """Of breakers, of itself, and of Django."""
    services.breaker_create(
        name="bank-api", config=CircuitBreakerConfig(), http=HttpConfig(), group='a"\\\n', by=services.Actor("system")
    )
    now = timezone.now()
    identity = InstanceIdentity(uuid4(), "s", "h", 1, "0", now)
    fleet.synchronise()
    fleet.connect(identity, now)
    counts, latency = Counts(successes=3, failures=2, rejected=1, slow=1), {"20": 3, "40": 2}
    status = BreakerStatus("bank-api", CircuitBreakerState.OPEN, epoch=1, counts=counts, latency=latency)
    fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, (status,)), now)
    codes.sent_away(codes.REFUSED, "nobody")
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {key('read')}"})
    for told in (b'circuit_breaker_state{name="bank-api",state="open"} 1.0', b"control_plane_", b"django_http_"):
        assert told in answer.content
    assert promtool("check", "metrics", given=answer.content) == ""


def test_all_that_a_service_tells_is_as_prometheus_wants_it() -> None:
    told = CollectorRegistry()
    register(registry=told)
    breaker = registry.get_or_create("well-formed", CircuitBreakerConfig(failure_threshold=1))
    for _ in range(2):
        with suppress(OSError, CircuitBreakerOpenError):
            breaker.call_sync(os.stat, "/nowhere")
    text = generate_latest(told)
    registry.forget("well-formed")
    assert b'circuit_breaker_rejected_total{name="well-formed"} 1.0' in text
    assert promtool("check", "metrics", given=text) == ""
