"""From a failing process to the page, and from a click back to the process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
Start = Callable[[str], ServiceProcess]


def row(page: Page, name: str) -> object:
    return page.locator(f'.rows .row[data-name="{name}"]')


def open_in(service: ServiceProcess, name: str) -> None:
    service.ask("breaker", name=name, failure_threshold=2, recovery_timeout=600.0)
    service.ask("call", name=name, times=2)
    assert service.ask("state", name=name) == "open"


def test_a_click_on_reset_closes_the_breaker_in_another_process(open_page: Open, service: Start) -> None:
    page, payments = open_page("/dashboard"), service("payments")
    expect(page.locator("#link-word")).to_have_text("Live")

    open_in(payments, "bank-api")

    here = page.locator('#attention .row[data-name="bank-api"]')
    expect(here).to_have_attribute("data-state", "open")
    expect(here.locator(".share")).to_have_text("1/1")
    expect(here.locator(".c-note")).to_contain_text("2 consecutive failures")
    expect(page.locator("#changes")).to_contain_text("Open on payments: 2 consecutive failures")
    expect(page).to_have_title("(1 open) Overview · Breakers")
    expect(page.locator("#favicon")).to_have_attribute("href", "/static/img/favicon-open.svg")

    here.get_by_role("button", name="Reset bank-api").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Reset bank-api on 1 instance?")
    dialog.get_by_label("Reason").fill("INC-7: the bank is back")
    dialog.get_by_role("button", name="Reset", exact=True).click()

    expect(page.locator("#toasts")).to_contain_text("Reset bank-api: 1 of 1 confirmed")
    expect(page.locator('.rows .row[data-name="bank-api"]')).to_have_attribute("data-state", "closed")
    page.locator("h1").click()  # while somebody is in the list, its rows keep their place
    expect(page.locator('#rest .row[data-name="bank-api"]')).to_be_visible()
    assert payments.ask("state", name="bank-api") == "closed"


def test_reset_works_without_javascript(open_page: Open, service: Start, server: ServerProcess) -> None:
    ledger = service("ledger")
    open_in(ledger, "no-script")
    eventually(lambda: server.request("GET", "/circuit-breakers/no-script/state")[1].get("is_open"), what="it is known")

    page = open_page("/dashboard?search=no-script", java_script_enabled=False)
    here = page.locator('#attention .row[data-name="no-script"]')
    expect(here).to_have_attribute("data-state", "open")
    here.get_by_role("button", name="Reset no-script").click()

    expect(page.locator("#toasts")).to_contain_text("Reset no-script: asked 1 instance.")
    eventually(lambda: ledger.ask("state", name="no-script") == "closed", what="the process closed it")
    changes = server.request("GET", "/circuit-breakers/no-script/changes")[1]["results"]
    assert (changes[0]["kind"], changes[0]["actor"]) == ("reset", "user:olivia")

    page.goto(f"{server.url}/dashboard?search=no-script")
    page.get_by_role("link", name="Reset all…").click()
    page.get_by_label("Type 1 to confirm").fill("1")
    page.get_by_role("button", name="Reset all").click()
    expect(page.locator("#toasts")).to_contain_text("Reset 1 breaker.")


def test_a_viewer_sees_why_reset_is_not_for_them(open_page: Open, service: Start) -> None:
    open_in(service("kyc"), "for-viewers")
    page = open_page("/dashboard?search=for-viewers", person="victor")
    button = page.get_by_role("button", name="Reset for-viewers")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", "Resetting needs the operator role")
    expect(page.get_by_text("Resetting needs the operator role")).to_be_visible()
    expect(page.get_by_role("link", name="Reset all…")).to_be_disabled()
    page.get_by_role("link", name="Reset all…").click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_whoever_is_not_signed_in_comes_back_to_the_page_they_wanted(open_page: Open, server: ServerProcess) -> None:
    page = open_page("/dashboard?state=open", person=None)
    page.get_by_label("Name").fill("victor")
    page.get_by_label("Password").fill("correct horse battery staple")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{server.url}/dashboard?state=open")
