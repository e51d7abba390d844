"""A real server process, a real browser, and nothing in its console. Run in a pytest process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess

CHROMIUM = Path("/usr/bin/chromium")
PEOPLE = {"olivia": "operator", "victor": "viewer", "edith": "editor"}
PASSWORD = "correct horse battery staple"
_MAKE_PEOPLE = f"""
from django.contrib.auth.models import Group, User
for name, group in {PEOPLE!r}.items():
    User.objects.create_user(name, password={PASSWORD!r}).groups.add(Group.objects.get(name=group))
"""
Open = Callable[..., Page]

expect.set_options(timeout=30_000)  # a wait is for what hangs: how fast the pages are is for the benchmarks

# Playwright's synchronous API leaves its loop running in this thread; Django takes that for an asynchronous caller.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and not CHROMIUM.exists():
            item.add_marker(pytest.mark.skip(reason=f"Chromium is not there: {CHROMIUM}"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    return {"executable_path": str(CHROMIUM), "args": ["--no-sandbox", "--disable-gpu", *quiet.split()]}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all browser tests: use breakers of your own. Reading needs a person."""
    with ServerProcess(tmp_path_factory.mktemp("server")) as server:
        server.python(_MAKE_PEOPLE)
        yield server


@pytest.fixture(scope="session")
def cookies(browser: Browser, server: ServerProcess) -> Callable[[str], Any]:
    """The session of a person who signed in by the form, once a session of tests."""
    known: dict[str, Any] = {}

    def of(person: str) -> Any:
        if person not in known:
            with browser.new_context() as context:
                page = context.new_page()
                page.goto(f"{server.url}/dashboard/login")
                page.get_by_label("Name").fill(person)
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Sign in").click()
                page.wait_for_url("**/dashboard")
                known[person] = context.cookies()
        return known[person]

    return of


@pytest.fixture(autouse=True)
def complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What any page of this test says in its console, or throws. A test that expects something takes it out."""
    found: list[str] = []
    new_context = Browser.new_context

    def watched(browser: Browser, **how: Any) -> BrowserContext:
        context = new_context(browser, **how)
        context.on("console", lambda message: _note(found, message))
        context.on("weberror", lambda thrown: found.append(str(thrown.error)))
        return context

    monkeypatch.setattr(Browser, "new_context", watched)
    yield found
    assert not found, "the browser complained"


@pytest.fixture
def open_page(browser: Browser, server: ServerProcess, cookies: Callable[[str], Any]) -> Iterator[Open]:
    """``open_page("/dashboard", person="olivia", width=390, color_scheme="dark")``; ``person=None``: nobody."""
    with ExitStack() as stack:

        def open_(path: str, *, person: str | None = "olivia", width: int = 1440, go: bool = True, **how: Any) -> Page:
            view = {"width": width, "height": 900}
            context: BrowserContext = stack.enter_context(browser.new_context(viewport=view, **how))
            if person is not None:
                context.add_cookies(cookies(person))
            page = context.new_page()
            if go:
                page.goto(server.url + path)
            return page

        yield open_


def _note(complaints: list[str], message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        complaints.append(message.text)


@pytest.fixture
def service(server: ServerProcess, tmp_path: Path) -> Iterator[Callable[[str], ServiceProcess]]:
    """``service("payments")``: a linked process of that service."""
    with ExitStack() as stack:

        def start(name: str) -> ServiceProcess:
            return stack.enter_context(ServiceProcess(server, name, log=tmp_path / f"{name}.log")).linked()

        yield start
