"""Everybody can use every page: axe in light and dark, wide and narrow, in dialogs, out of touch; and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
PAGES = [
    "",
    "/breakers/looks.open",
    "/alerts",
    "/events",
    "/instances",
    "/connect",
    "/reset-all",
    "/login",
    "/breakers/looks.open/forced_closed",
]

NOTHING = {"type": "snapshot", "rows": [], "summary": {"silent": 0}}

CUT = "boxes => boxes.filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.id || box.className)"


@pytest.fixture
def scene(server: ServerProcess, service: Callable[[str], ServiceProcess]) -> None:
    """One breaker open, one forced, one closed."""
    looks = service("looks")
    looks.ask("breaker", name="looks.open", failure_threshold=1, recovery_timeout=600.0)
    looks.ask("call", name="looks.open", times=3)
    looks.ask("call", name="looks.closed", times=3, ok=True)
    looks.ask("call", name="looks.forced", times=3, ok=True)
    names = ("looks.open", "looks.closed", "looks.forced")
    eventually(lambda: all(server.request("GET", f"/circuit-breakers/{name}")[0] == 200 for name in names))
    override = {"override": "forced_open", "reason": "INC-7", "expires_in": 3600.0}
    server.request("PUT", "/circuit-breakers/looks.forced/override", override)
    eventually(lambda: server.request("GET", "/circuit-breakers/looks.open/state")[1]["is_open"])


def check(page: Page, where: str) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, f"{where}:\n{found.generate_report()}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_has_nothing_to_say(scene: None, open_page: Open, theme: str, width: int) -> None:
    page = open_page("/dashboard", color_scheme=theme, width=width)
    for path in PAGES:
        page.goto(page.url.split("/dashboard")[0] + "/dashboard" + path)
        check(page, f"{path or 'overview'}, {theme}, {width}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path or 'overview'} is {wide} wide"
        cut = page.locator(".card, .scroll").evaluate_all(CUT)
        assert not cut, f"{path or 'overview'}, {width}: what is beyond the edge of {cut} is seen by scrolling alone"
        assert page.locator(".nav").evaluate_all("found => found.every((nav) => nav.clientWidth > 200)")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_has_nothing_to_say_of_dialogs_and_of_what_is_not_there(
    scene: None, open_page: Open, theme: str, complaints: list[str]
) -> None:
    page = open_page("/dashboard?search=looks", color_scheme=theme)
    expect(page.locator("#link-word")).to_have_text("Live")
    page.get_by_role("button", name="Reset looks.open").click()
    check(page, "reset dialog")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Reset all…").click()
    check(page, "reset-all dialog")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    check(page, "help dialog")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(page.url.split("?")[0] + "/breakers/looks.open")
    expect(page.locator("#link-word")).to_have_text("Live")
    page.get_by_role("link", name="Force closed…").click()
    check(page, "force dialog, narrow")
    page.goto(page.url.replace("looks.open", "nobody"))
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    check(page, "not found, narrow")
    complaints.remove("Failed to load resource: the server responded with a status of 404 (Not Found)")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_has_nothing_to_say_where_the_server_fails_or_knows_nothing_yet(
    server: ServerProcess, open_page: Open, theme: str
) -> None:
    write = "print(*(render_to_string(f'{name}.html') for name in (500, 503)), sep='<!---->')"
    failures = server.python(f"from django.template.loader import render_to_string\n{write}").split("<!---->")
    page = open_page("/dashboard", color_scheme=theme, width=390, go=False)
    page.route("**/failed", lambda route: route.fulfill(body=failures.pop(0), content_type="text/html"))
    for title in ("Something failed here", "The database does not answer"):
        page.goto(f"{server.url}/failed")
        expect(page.get_by_role("heading", name=title)).to_be_visible()
        check(page, f"{title}, {theme}")
    page.route_web_socket("**/ws/feed", lambda socket: socket.send(json.dumps(NOTHING)))
    page.goto(f"{server.url}/dashboard")
    expect(page.locator("#verdict-title")).to_have_text("No breakers yet")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        check(page, f"empty overview, {theme}, {width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_where_colours_are_forced_words_and_shapes_are_left(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard?search=looks", forced_colors="active", reduced_motion="reduce")
    expect(page.locator("#link-word")).to_have_text("Live")
    for name, word in (("looks.open", "Open"), ("looks.forced", "Forced open"), ("looks.closed", "Closed")):
        row = page.locator(f'.rows .row[data-name="{name}"]')
        expect(row.locator("[data-cell=word]")).to_have_text(word)
        expect(row.locator(".badge svg")).to_be_visible()
    check(page, "forced colours")


def test_light_and_dark_are_a_choice_that_stays(open_page: Open) -> None:
    page = open_page("/dashboard", color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(246, 247, 249)"
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate(background) == "rgb(15, 20, 26)"
    page.reload()
    assert page.evaluate(background) == "rgb(15, 20, 26)"


def test_every_action_has_a_key(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard?search=looks")
    expect(page.locator("#link-word")).to_have_text("Live")
    page.keyboard.press("j")
    expect(page.locator('.rows a.name:text-is("looks.open")')).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator('.rows a.name:text-is("looks.forced")')).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_contain_text("Reset looks.open on 1 instance?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("these keys")
    page.get_by_label("Single keys are on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#search")).not_to_be_focused()


def test_a_breaker_is_reset_and_forced_and_released_without_a_mouse(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard?search=looks")
    expect(page.locator("#link-word")).to_have_text("Live")
    press = page.keyboard.press
    press("j")
    press("Tab")
    expect(page.get_by_role("button", name="Reset looks.open")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()
    page.keyboard.type("INC-8")
    press("Enter")  # means Reset, not the button that comes first
    expect(page.locator("#toasts")).to_contain_text("Reset looks.open: 1 of 1 confirmed")
    expect(page.get_by_role("button", name="Reset looks.open")).to_be_focused()

    press("Shift+Tab")
    press("Enter")
    page.wait_for_url("**/breakers/looks.open")
    expect(page.locator("#link-word")).to_have_text("Live")
    press("r")
    expect(page.get_by_role("dialog")).to_contain_text("Reset looks.open on 1 instance?")
    press("Escape")
    page.get_by_role("button", name="Reset looks.open").focus()
    press("Tab")
    expect(page.get_by_role("link", name="Force open…")).to_be_focused()
    press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()
    page.keyboard.type("INC-9")
    press("Enter")
    expect(page.locator("#breaker")).to_have_attribute("data-state", "forced_open")
    expect(page.get_by_role("link", name="Force open…")).to_be_focused()
    press("r")  # resets, and lifts nobody's order
    press("Shift+Tab")
    expect(page.get_by_role("button", name="Release looks.open")).to_be_focused()
    press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Released looks.open: 1 of 1 confirmed")


def test_search_narrows_as_it_is_typed_and_is_in_the_address(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard")
    expect(page.locator("#link-word")).to_have_text("Live")
    page.keyboard.press("/")
    page.keyboard.type("looks.clo")
    expect(page.locator("#attention .row")).to_have_count(0)
    expect(page.locator("#rest .row")).to_have_count(1)
    assert page.url.endswith("/dashboard?search=looks.clo")


def test_a_chip_keeps_what_was_typed(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard")
    expect(page.locator("#link-word")).to_have_text("Live")
    page.locator("#search").fill("looks.")
    page.locator('.chip[data-state="open"]').click()
    expect(page.locator('.chip[aria-current="true"]')).to_contain_text("Open")
    expect(page.locator("#search")).to_have_value("looks.")
    page.locator('.chip[data-state="all"]').click()
    expect(page.locator('.chip[aria-current="true"]')).to_contain_text("All")
    expect(page.locator("#search")).to_have_value("looks.")


def test_resetting_all_takes_the_right_number(scene: None, open_page: Open, complaints: list[str]) -> None:
    page = open_page("/dashboard?search=looks.closed")
    expect(page.locator("#link-word")).to_have_text("Live")
    for typed, answer in (("2", "Nothing was reset: 1 breaker would be."), ("1", "Reset 1 breaker.")):
        page.get_by_role("link", name="Reset all…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Reset 1 breaker?")
        dialog.get_by_label("Type 1 to confirm").fill(typed)
        dialog.get_by_role("button", name="Reset all").click()
        expect(page.locator("#toasts, dialog[open]").filter(has_text=answer)).to_be_visible()
        page.keyboard.press("Escape")
    complaints.remove("Failed to load resource: the server responded with a status of 409 (Conflict)")


def test_release_lifts_the_order_at_one_click(scene: None, open_page: Open) -> None:
    page = open_page("/dashboard?search=looks.forced")
    row = page.locator('.rows .row[data-name="looks.forced"]')
    expect(row).to_have_attribute("data-state", "forced_open")
    expect(row).to_contain_text("by key:tests until")
    page.get_by_role("button", name="Release looks.forced").click()
    expect(page.locator("#toasts")).to_contain_text("Released looks.forced: 1 of 1 confirmed")
    expect(row).to_have_attribute("data-state", "closed")
