"""Photographs every page for the README and the docs: ``make pictures``. Needs Chromium and requirements-dev.txt.

The fleet is played (``tests/stage.py``), so that each time they show the same incident; server and pages are real.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, WebSocketRoute, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.servers import ServerProcess  # noqa: E402  # beside the package, not in it

PASSWORD = secrets.token_hex(8)
_MAKE_PERSON = f"""
from django.contrib.auth.models import Group, User
User.objects.create_user("k.meyer", password={PASSWORD!r}).groups.add(Group.objects.get(name="operator"))
"""
WIDE, NARROW = (1440, 900), (390, 844)
PICTURES = (
    # file, address, size, theme, what is done on the page first
    ("overview-light", "", WIDE, "light", ""),
    ("overview-dark", "", WIDE, "dark", ""),
    ("overview-narrow", "", NARROW, "light", ""),
    ("overview-lost", "", WIDE, "light", "lose"),
    ("breaker-light", "/breakers/bank-api", WIDE, "light", ""),
    ("force", "/breakers/bank-api", WIDE, "light", "force"),
)


class Stage(ServerProcess):
    def start(self, within: float = 180.0) -> None:
        """A fleet with a past takes its time to build."""
        super().start(within=within)

    @property
    def _command(self) -> list[str]:
        return ["-m", "tests.stage", "--port", str(self.port)]


def sign_in(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    page.goto(f"{url}/dashboard/login")
    page.get_by_label("Name").fill("k.meyer")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dashboard")
    page.close()


def only_once(page: Page) -> list[WebSocketRoute]:
    """Lets the page's first socket through, and no other."""
    sockets: list[WebSocketRoute] = []

    def accept(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) == 1:
            socket.connect_to_server()
        else:
            socket.close(code=1012)

    page.route_web_socket("**/ws/feed", accept)
    return sockets


def prepare(page: Page, what: str, sockets: list[WebSocketRoute]) -> None:
    page.wait_for_selector("[data-link=live]")
    page.wait_for_timeout(1500)  # a first update has come, and the server's part of the page
    if what == "force":
        page.get_by_role("link", name="Force closed…").click()
    if what == "lose":
        sockets[0].close(code=1012)
        page.wait_for_timeout(7000)


def main() -> None:
    environment = {"CIRCUIT_BREAKER_ENVIRONMENT": "prod-eu"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), environment=environment) as server,
        sync_playwright() as playwright,
    ):
        server.python(_MAKE_PERSON)
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        for name, path, (width, height), theme, what in PICTURES:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light"
            )
            sign_in(context, server.url)
            page = context.new_page()
            sockets = only_once(page) if what == "lose" else []
            page.goto(f"{server.url}/dashboard{path}")
            prepare(page, what, sockets)
            page.screenshot(path=HERE / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
