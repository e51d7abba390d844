"""The overview of 1,000 breakers in Chromium while 200 of them change five times a second, their states or not.

A real page on a real feed. What counts is the main thread: its milliseconds a batch, script, style and layout together,
and the tasks of over 50 ms, which a person feels. Without Chromium it says so and measures nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from .feed import BREAKERS, Server, line

CHROMIUM = Path("/usr/bin/chromium")
CHANGED, BATCHES, ROUNDS = 200, 20, 3
WATCH = """window.long = 0;
new PerformanceObserver((list) => { window.long += list.getEntries().length; }).observe({ type: "longtask" });"""


def busy(session: CDPSession) -> dict[str, float]:
    """Milliseconds of processor that the main thread has used, by what it did."""
    told = {one["name"]: 1e3 * one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return {name: told[name] for name in ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")}


def batches(server: Server, page: Page, session: CDPSession, states: int) -> tuple[dict[str, float], int]:
    """Milliseconds a batch, and long tasks in all of them."""
    before, long = busy(session), page.evaluate("window.long")
    due = time.monotonic()
    for _ in range(BATCHES):
        server.knock(f"change?rows={CHANGED}&states={states}")
        due += 0.2
        time.sleep(max(0.0, due - time.monotonic()))
    after = busy(session)
    return {name: (after[name] - before[name]) / BATCHES for name in after}, page.evaluate("window.long") - long


def measured(server: Server, page: Page) -> None:
    page.add_init_script(WATCH)
    page.goto(f"{server.url}/dashboard")
    page.wait_for_selector("[data-link=live]")
    assert page.locator(".rows .row").count() == BREAKERS
    session: Any = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # not what others on this machine take
    batches(server, page, session, 0)  # the first ones compile
    for states, goal in ((0, "to hold: 36"), (10, "")):
        rounds = [batches(server, page, session, states) for _ in range(ROUNDS)]
        what = f"{CHANGED} rows of {BREAKERS} change, {states} of them their state"
        line(what, statistics.median(cost["TaskDuration"] for cost, _ in rounds), "ms", goal)
        for name in ("Script", "Layout", "RecalcStyle"):
            line(f"  of it {name.lower()}", statistics.median(cost[f"{name}Duration"] for cost, _ in rounds), "ms")
        longest = max(long for _, long in rounds)
        line(f"  long tasks in {BATCHES} batches, most of {ROUNDS} rounds", longest, "", "to hold: 0" if goal else "")


def main() -> int:
    if not CHROMIUM.exists():
        print(f"Nothing is measured: Chromium is not there: {CHROMIUM}")
        return 0
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server, sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        measured(server, browser.new_page(viewport={"width": 1440, "height": 900}))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
