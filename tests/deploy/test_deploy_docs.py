"""The pages for operators: what they name exists, and each trouble says what is seen, why, and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT

DOCS = ROOT / "docs"
PAGES = [DOCS / name for name in ("deploy.md", "metrics.md", "troubleshooting.md")]
TROUBLES = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGES[2].read_text(), re.MULTILINE | re.DOTALL))


def test_the_three_troubles_of_the_user_and_ten_more_are_there() -> None:
    assert len(TROUBLES) >= 13
    assert {"A breaker stays open", "A breaker opens though the dependency is well", "Recovery is slow"} <= set(
        TROUBLES
    )


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_says_what_is_seen_and_why_and_what_to_do(trouble: str) -> None:
    assert re.findall(r"^\*\*(You see|Why\.|Do\.)\*\*", TROUBLES[trouble], re.MULTILINE) == ["You see", "Why.", "Do."]


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_runbook_is_a_trouble_of_the_page() -> None:
    anchors = {f"docs/troubleshooting.md#{trouble.lower().replace(' ', '-')}" for trouble in TROUBLES}
    assert {rule["annotations"]["runbook"] for rule in alerts().values()} <= anchors


def test_the_page_of_metrics_has_every_alert_and_the_pages_name_no_other() -> None:
    named = [set(re.findall(r"\bCircuitBreaker(?=[A-Z])(?!OpenError|Config)\w+", page.read_text())) for page in PAGES]
    assert named[1] == set(alerts())
    assert set.union(*named) == set(alerts())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_and_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    known = "".join(
        path.read_text()
        for path in (
            ROOT / "tradpal_cb/variables.py",
            ROOT / "docker-compose.yml",
            *(ROOT / "breakers/client").glob("*.py"),
        )
    )
    for variable in re.findall(r"\b(?:CIRCUIT_BREAKER|DJANGO|GRAFANA|POSTGRES)_[A-Z_]+\b", text):
        assert variable in known, variable
    for target in re.findall(r"\]\((\.\./[^)#]+)", text):
        assert (DOCS / target).exists(), target
