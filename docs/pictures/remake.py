"""Photographs a running control plane for the README: ``python docs/pictures/remake.py URL [USER PASSWORD]``.

Begin with ``make run``; it takes the picture when two breakers are open. Needs Chromium and requirements-dev.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
PATIENCE = 300_000
"""Milliseconds until two breakers are open."""
TWO_OPEN = "() => Number(document.querySelector('.chip[data-chip=open] b').textContent) >= 2"


def photograph(page: Page, url: str, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.goto(f"{url}/dashboard")
    page.wait_for_selector("[data-link=live]")
    page.wait_for_function(TWO_OPEN, timeout=PATIENCE)
    page.screenshot(path=HERE / f"overview-{theme}.png")


def main(url: str, user: str = "", password: str = "") -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        if user:
            page.goto(f"{url}/dashboard/login")
            page.get_by_label("Name").fill(user)
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Sign in").click()
        for theme in ("light", "dark"):
            photograph(page, url, theme)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
