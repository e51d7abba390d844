"""The tables that the server writes go on by themselves: nobody reloads a page of a fleet that changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
Start = Callable[[str], ServiceProcess]


def known(process: ServiceProcess, name: str) -> None:
    process.ask("breaker", name=name, failure_threshold=2, recovery_timeout=600.0)
    process.ask("call", name=name, times=1, ok=True)


def test_the_tables_of_a_breaker(open_page: Open, service: Start) -> None:
    process = service("watched")
    known(process, "live.detail")
    page = open_page("/dashboard")
    expect(page.locator('#rest [data-name="live.detail"]')).to_be_visible()
    page.goto(page.url + "/breakers/live.detail")
    expect(page.locator("#link-word")).to_have_text("Live")
    button = page.get_by_role("button", name="Reset on watched")
    button.focus()
    process.ask("call", name="live.detail", times=2)
    expect(page.locator("#whole #instances tbody tr")).to_have_attribute("data-state", "open")
    expect(button).to_be_focused()
    expect(page.locator("section", has=page.locator("#history-title"))).to_contain_text("2 consecutive failures")
    button.click()  # one instance: one click is enough
    expect(page.locator("#toasts")).to_contain_text("Reset live.detail: 1 of 1 confirmed")
    expect(page.locator("section", has=page.locator("#audit-title"))).to_contain_text("reset")


def test_alerts_come_and_go_and_are_counted_on_every_page(
    open_page: Open, service: Start, server: ServerProcess
) -> None:
    process, alerts, elsewhere = service("alarmed"), open_page("/dashboard/alerts"), open_page("/dashboard/events")
    for page in (alerts, elsewhere):
        expect(page.locator("#link-word")).to_have_text("Live")
    known(process, "live.alert")
    process.ask("call", name="live.alert", times=2)
    mine = alerts.locator("#alerts tr", has_text="live.alert")
    expect(mine).to_contain_text("Open on 1 of 1 instances")
    expect(elsewhere.locator("#alert-count")).to_have_text(alerts.locator("#alert-count").inner_text())
    expect(elsewhere.locator("#events")).to_contain_text("2 consecutive failures")
    expect(elsewhere).to_have_title("(1 open) Events · Breakers")
    server.request("POST", "/circuit-breakers/live.alert/reset")
    expect(mine).to_have_count(0)


def test_instances_come_by_themselves(open_page: Open, service: Start) -> None:
    page = open_page("/dashboard/instances")
    expect(page.locator("#link-word")).to_have_text("Live")
    service("newcomer")
    expect(page.locator("#instances tr", has_text="newcomer")).to_contain_text("Linked")


def test_onboarding_turns_green_with_the_first_report(open_page: Open, service: Start) -> None:
    page = open_page("/dashboard/connect")
    waiting = page.locator("#waiting")
    expect(waiting).to_have_text("Waiting for the first report.")
    expect(page.locator("#link-word")).to_have_text("Live")
    service("first-steps").ask("call", name="live.first", times=1, ok=True)
    expect(waiting).to_have_attribute("data-state", "closed")
    expect(waiting).to_contain_text("first-steps is linked")
