"""Forcing a breaker from its page: what is asked first, what follows in another process, and who may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
Known = Callable[..., ServiceProcess]
CONFLICT = "Failed to load resource: the server responded with a status of 409 (Conflict)"
BAD_REQUEST = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
LOST_RACE = "Failed to load resource: the server responded with a status of 412 (Precondition Failed)"


@pytest.fixture
def known(server: ServerProcess, service: Callable[[str], ServiceProcess]) -> Known:
    """``known("bank-api")``: a linked process that has called these breakers."""

    def start(*names: str) -> ServiceProcess:
        process = service("forcing")
        for name in names:
            process.ask("call", name=name, times=1, ok=True)
            eventually(lambda name=name: server.request("GET", f"/circuit-breakers/{name}")[0] == 200)
        return process

    return start


def asked(page: Page, button: str) -> Locator:
    """The dialog that a button of a live page opens."""
    expect(page.locator("#link-word")).to_have_text("Live")
    page.get_by_role("link", name=button).click()
    return page.get_by_role("dialog")


def override_of(server: ServerProcess, name: str) -> dict[str, str] | None:
    found: dict[str, str] | None = server.request("GET", f"/circuit-breakers/{name}/state")[1]["override"]
    return found


def test_forced_open_in_another_process_and_released_at_one_click(
    open_page: Open, known: Known, server: ServerProcess
) -> None:
    process = known("force.open")
    page = open_page("/dashboard/breakers/force.open")
    dialog = asked(page, "Force open…")
    expect(dialog).to_contain_text("Every instance rejects every call at once, 1 instance now.")
    expect(dialog.get_by_label("For how many hours")).to_have_value("1")
    dialog.get_by_role("button", name="Force open").click()
    expect(dialog).to_be_visible()  # a reason is asked for: others will read it
    dialog.get_by_label("Reason").fill("INC-2291")
    assert Axe().run(page).violations_count == 0
    dialog.get_by_role("button", name="Force open").click()

    expect(page.locator("#toasts")).to_contain_text("Forced open force.open until")
    expect(page.locator("#toasts")).to_contain_text("1 of 1 confirmed")
    expect(page.locator("#breaker")).to_have_attribute("data-state", "forced_open")
    expect(page.locator("#breaker [data-cell=note]")).to_contain_text("by user:olivia until")
    expect(page.locator("#breaker [data-cell=note]")).to_contain_text("INC-2291")
    assert process.ask("call", name="force.open", times=1, ok=True) is not None
    found = override_of(server, "force.open")
    assert found is not None
    assert (found["override"], found["reason"], found["by"]) == ("forced_open", "INC-2291", "user:olivia")

    page.get_by_role("button", name="Release force.open").click()
    expect(page.locator("#toasts")).to_contain_text("Released force.open: 1 of 1 confirmed")
    expect(page.locator("#breaker")).to_have_attribute("data-state", "closed")


def test_forced_closed_takes_the_name_and_no_more_than_four_hours(
    open_page: Open, known: Known, server: ServerProcess, complaints: list[str]
) -> None:
    known("force.closed")
    page = open_page("/dashboard/breakers/force.closed")
    dialog = asked(page, "Force closed…")
    expect(dialog.get_by_label("For how many hours")).to_have_attribute("max", "4")
    dialog.get_by_label("Type the name of the breaker").fill("force.open")
    dialog.get_by_label("Reason").fill("shadow")
    dialog.get_by_role("button", name="Force closed").click()
    expect(dialog.get_by_role("alert")).to_contain_text("This is not force.closed.")
    assert override_of(server, "force.closed") is None

    dialog.get_by_label("Type the name of the breaker").fill("force.closed")
    dialog.get_by_role("button", name="Force closed").click()
    expect(page.locator("#breaker")).to_have_attribute("data-state", "forced_closed")
    complaints.remove(BAD_REQUEST)


def test_who_would_stop_most_of_a_group_is_asked_again(
    open_page: Open, known: Known, server: ServerProcess, complaints: list[str]
) -> None:
    known("blast.a", "blast.b")
    for name in ("blast.a", "blast.b"):
        server.request("PATCH", f"/circuit-breakers/{name}/config", {"group": "blast"})
    server.request("PUT", "/circuit-breakers/blast.a/override", {"override": "forced_open", "expires_in": 600.0})
    page = open_page("/dashboard/breakers/blast.b")
    dialog = asked(page, "Force open…")
    dialog.get_by_label("Reason").fill("INC-7")
    expect(dialog.get_by_label("I mean it")).to_be_hidden()
    dialog.get_by_role("button", name="Force open").click()
    expect(dialog.get_by_role("alert")).to_have_text("Then 2 of the 2 breakers of the group blast reject every call.")
    assert override_of(server, "blast.b") is None

    dialog.get_by_label("I mean it").check()
    dialog.get_by_role("button", name="Force open").click()
    expect(page.locator("#breaker")).to_have_attribute("data-state", "forced_open")
    complaints.remove(CONFLICT)


def test_who_saw_an_older_version_is_told_what_is_true_now(
    open_page: Open, known: Known, server: ServerProcess, complaints: list[str]
) -> None:
    known("force.race")
    page = open_page("/dashboard/breakers/force.race")
    dialog = asked(page, "Force open…")
    server.request("PATCH", "/circuit-breakers/force.race/config", {"failure_threshold": 9, "reason": "INC-8"})
    dialog.get_by_label("Reason").fill("INC-7")
    dialog.get_by_role("button", name="Force open").click()
    toast = page.locator('.toast[data-level="error"]')
    expect(toast).to_contain_text("force.race was changed meanwhile by key:tests (failure_threshold 5 → 9: INC-8)")
    expect(toast).to_contain_text("it is at v2 now, closed on 1 of 1 instance")
    assert override_of(server, "force.race") is None
    complaints.remove(LOST_RACE)


def test_a_viewer_sees_the_buttons_and_why_they_are_not_for_them(open_page: Open, known: Known) -> None:
    known("force.viewer")
    page = open_page("/dashboard/breakers/force.viewer", person="victor")
    for label in ("Force open…", "Force closed…"):
        button = page.get_by_role("button", name=label)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", "Forcing needs the operator role")


def test_forcing_works_without_javascript(
    open_page: Open, known: Known, server: ServerProcess, complaints: list[str]
) -> None:
    known("force.plain")
    page = open_page("/dashboard/breakers/force.plain", java_script_enabled=False)
    page.get_by_role("link", name="Force closed…").click()
    page.locator("main").get_by_label("Reason").fill("shadow")
    page.locator("main").get_by_label("Type the name of the breaker").fill("nonsense")
    page.locator("main").get_by_role("button", name="Force closed").click()
    expect(page.locator("main").get_by_role("alert")).to_contain_text("This is not force.plain.")
    expect(page.locator("main").get_by_label("Reason")).to_have_value("shadow")
    page.locator("main").get_by_label("Type the name of the breaker").fill("force.plain")
    page.locator("main").get_by_role("button", name="Force closed").click()
    expect(page.locator("#toasts")).to_contain_text("Forced closed force.plain until")
    found = override_of(server, "force.plain")
    assert found is not None
    assert found["override"] == "forced_closed"
    complaints.remove(BAD_REQUEST)
