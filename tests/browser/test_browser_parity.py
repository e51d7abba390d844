"""The page as served and the page as painted are one: Python and JavaScript say and draw the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page

from dashboard import shapes, verdict, words
from dashboard.cells import cells

pytestmark = pytest.mark.browser
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBERS = [
    0,
    0.04,
    0.05,
    0.25,
    0.949,
    0.95,
    1,
    1 / 3,
    9.94,
    9.95,
    12.35,
    59.9,
    60,
    999.5,
    3599.5,
    3600,
    86400,
    1e6 + 0.5,
]


def rows() -> list[dict[str, Any]]:
    forced = {"override": "forced_open", "reason": "INC-7", "by": "user:alice", "expires_at": "2026-03-01T15:30:00Z"}
    shadowed = {**forced, "override": "forced_closed", "reason": "", "expires_at": None}
    base: dict[str, Any] = {
        "group": "", "override": None, "services": ["trading"], "retry_at": None, "cause": "5 in a row", "p50": None,
        "p95": None, "p99": None, "version": 3, "limit": None, "trend": [], "ready_to_probe": False,
        "failure_rate": None, "since": "2026-03-01T11:49:38.500Z",
    }  # fmt: skip
    made = []
    for i in range(48):
        counts = {"open": i % 3 * 7, "half_open": i % 5, "silent": i % 7, "closed": i * i % 60}
        live = sum(counts.values()) - counts["silent"]
        made.append({
            **base,
            "name": f"b:{i % 10}.{i}",
            "state": "open" if counts["open"] else "half_open" if counts["half_open"] else "closed",
            "instances": {**counts, "total": sum(counts.values())},
            "applied": {"on": live - (i % 4 == 0 < live), "of": live},
            "rates": {"calls": i / 7, "failures": 0.0, "rejected": NUMBERS[i % len(NUMBERS)]},
            "failure_rate": None if i % 6 == 0 else i / 47,
            "limit": None if i % 4 == 0 else 0.125 * (i % 8 + 1),
            "trend": [None if (i + j) % 5 == 0 else (i * j * 1.7) % 130 for j in range(i % 31)],
            "group": ["", "settlement", "fx"][i % 3],
            "services": [["a", "b"], [], ["c"]][i % 3],
            "override": forced if i % 11 == 0 else shadowed if i % 13 == 0 else None,
            "ready_to_probe": i % 3 > 0 and i % 4 == 1,
            "since": [base["since"], None, "2026-02-20T00:00:00Z"][i % 3],
        })  # fmt: skip
    return made


def run(page: Page, module: str, body: str, argument: object) -> Any:
    """``body`` in the page, with ``m`` the module and ``x`` the argument."""
    script = f"async (x) => {{ const m = await import('/static/js/{module}'); {body} }}"
    return json.loads(json.dumps(page.evaluate(script, argument)))


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page("/dashboard")


def test_words_are_the_same(page: Page) -> None:
    python = [
        [f(n) for n in NUMBERS]
        for f in (words.duration, words.roughly, words.tenths, words.percent, words.limit, words.speed)
    ]
    body = "return [m.duration, m.roughly, m.tenths, m.percent, m.limit, m.speed].map((f) => x.map((n) => f(n)));"
    assert run(page, "words.js", body, NUMBERS) == python


def test_verdict_and_order_are_the_same(page: Page) -> None:
    made: list[Any] = rows()
    said = asdict(verdict.verdict(made, 2, NOW))
    body = "const { open, ...said } = m.verdict(m.worstFirst(x), 2, Date.parse('2026-03-01T12:00:00Z')); return said;"
    assert run(page, "verdict.js", body, made) == said
    some: list[Any] = made[:1]
    assert run(page, "verdict.js", body, some) == asdict(verdict.verdict(some, 2, NOW))
    body = "return [m.worstFirst(x).map((r) => r.name), x.map(m.kindOf), x.map(m.affected), x.map(m.needsAttention)];"
    assert run(page, "verdict.js", body, made) == [
        [row["name"] for row in verdict.worst_first(made)],
        [str(verdict.kind_of(row)) for row in made],
        [list(verdict.affected(row)) for row in made],
        [verdict.needs_attention(row) for row in made],
    ]


def test_pictures_are_the_same(page: Page) -> None:
    made: list[Any] = rows()
    body = "return x.map((r) => [m.marks(r), m.marksSize(r), m.bar(r), m.spark(r.trend)]);"
    python = [[shapes.marks(r), shapes.marks_size(r), shapes.bar(r), shapes.spark(r["trend"])] for r in made]
    assert run(page, "shapes.js", body, made) == json.loads(json.dumps(python))


def test_cells_are_the_same(page: Page) -> None:
    made: list[Any] = rows()
    painted = run(page, "rows.js", "return x.map(m.texts);", made)
    served = [{**asdict(cells(row, NOW))} for row in made]
    assert painted == [{name: cell[name] for name in painted[0]} for cell in served]


def test_the_snapshot_changes_nothing_of_what_was_served(
    page: Page, server: Any, service: Callable[[str], Any], open_page: Callable[..., Page]
) -> None:
    parity = service("parity")
    parity.ask("breaker", name="parity.open", failure_threshold=1, recovery_timeout=600.0)
    parity.ask("call", name="parity.open", times=2)
    parity.ask("call", name="parity.closed", times=2, ok=True)
    page.wait_for_selector('#rest [data-name="parity.closed"]')
    script = """() => [...document.querySelectorAll('.rows .row, .group, #verdict')].map((shown) => {
      const node = shown.cloneNode(true);
      const moving = '.c-age, .c-calls, .c-rejected, .c-spark, .c-rate, #verdict-detail, .pulse';
      for (const cell of node.querySelectorAll(moving)) cell.remove();
      return node.outerHTML.replace(/\\s+/g, ' ');
    })"""
    served = open_page("/dashboard?search=parity", java_script_enabled=False)
    painted = open_page("/dashboard?search=parity")
    painted.wait_for_selector("[data-link=live]")
    assert painted.evaluate(script) == served.evaluate(script)
