"""The API's page in a browser: drawn, tried, and without a complaint in the console."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_the_docs_show_every_part_and_try_a_request(open_page):
    page = open_page("/docs")
    expect(page.get_by_role("heading", name="TradPal Circuit Breakers")).to_be_visible()
    for part in ("operating", "config", "reading", "server"):
        expect(page.locator(f"#operations-tag-{part}")).to_be_visible()
    operation = page.locator("#operations-operating-reset_all")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")


def test_the_docs_fit_a_phone(open_page):
    page = open_page("/docs", width=390)
    expect(page.locator("#operations-tag-reading")).to_be_visible()
