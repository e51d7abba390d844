"""What a page does with what it hears, and when it hears nothing: a scripted socket, and a clock in the test's hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.programs import ServiceProcess
from tests.servers import ServerProcess

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1440, "light"), (390, "dark"))


def row(name: str, state: str = "closed", **given: Any) -> dict[str, Any]:
    instances = {"total": 4, "closed": 0, "half_open": 0, "open": 0, "silent": 0}
    made = {
        "name": name, "group": "", "state": state, "override": None, "services": ["trading"],
        "instances": {**instances, state: 4}, "since": "2026-03-01T11:50:00Z", "retry_at": None, "cause": None,
        "rates": {"calls": 9.5, "failures": 0.0, "rejected": 0.0}, "failure_rate": 0.1, "p50": None, "p95": None,
        "p99": None, "version": 1, "applied": {"on": 4, "of": 4}, "limit": 0.5, "trend": [0.0, 50.0],
        "ready_to_probe": False,
    }  # fmt: skip
    return {**made, **given}


class Feed:
    """The server's end of the feed, as the test plays it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.now = START
        self.sockets: list[WebSocketRoute] = []
        self.refusing = False
        page.clock.install(time=START - timedelta(minutes=1))
        page.clock.pause_at(START)
        page.route_web_socket("**/ws/feed", self._accept)

    def _accept(self, socket: WebSocketRoute) -> None:
        if self.refusing:
            socket.close(code=1012)
        else:
            self.sockets.append(socket)

    def say(
        self, kind: str, *rows: dict[str, Any], removed: tuple[str, ...] = (), late: float = 0.0, **rest: Any
    ) -> None:
        at = (self.now - timedelta(seconds=late)).isoformat()
        message = {"type": kind, "rows": rows, "summary": {"silent": 0}, "server_time": at, **rest}
        self.sockets[-1].send(json.dumps({**message, "removed": removed} if kind == "update" else message))

    def event(self, **facts: Any) -> None:
        self.sockets[-1].send(json.dumps({"type": "event", "at": self.now.isoformat(), **facts}))

    def check(self, state: str) -> None:
        """axe has nothing to say of the page in this state, wide and light, narrow and dark."""
        self.page.clock.resume()  # axe waits for timers,
        self.page.clock.set_fixed_time(self.now)  # and however long it takes, the state stays
        for width, theme in LOOKS:
            self.page.set_viewport_size({"width": width, "height": 844})
            self.page.emulate_media(color_scheme=theme)
            expect(self.page.locator("body")).to_have_attribute("data-link", state)
            found = Axe().run(self.page)
            assert found.violations_count == 0, f"{state}, {width}, {theme}: {found.generate_report()}"
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, f"{state}, {width}"
        self.page.clock.pause_at(self.now)
        self.page.clock.set_system_time(self.now)

    def wait(self, seconds: int, *, hearing: bool = False) -> None:
        """Time passes on the page; with heartbeats of the server or without."""
        for _ in range(seconds):
            self.now += timedelta(seconds=1)
            if hearing:
                self.say("update")
            self.page.clock.run_for(1000)


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page("/dashboard", go=False)


@pytest.fixture
def feed(page: Page, server: Any) -> Feed:
    """A page that is live, with ``a`` open and ``b`` closed."""
    feed = Feed(page)
    page.goto(f"{server.url}/dashboard")
    expect(page.locator("#link-word")).to_have_text("Connecting")
    feed.say("snapshot", row("a", "open"), row("b"))
    expect(page.locator("#link-word")).to_have_text("Live")
    return feed


def names(page: Page, place: str) -> list[str]:
    found: list[str] = page.locator(f"#{place} .row").evaluate_all("rows => rows.map((row) => row.dataset.name)")
    return found


def test_a_snapshot_is_all_there_is(page: Page, feed: Feed) -> None:
    expect(page.locator("#verdict-title")).to_have_text("1 of 2 breakers is open")
    assert (names(page, "attention"), names(page, "rest")) == (["a"], ["b"])
    expect(page.locator('[data-name="a"] .c-age')).to_have_text("10 m 0 s")
    expect(page).to_have_title("(1 open) Overview · Breakers")
    expect(page.locator('.chip[data-chip="open"] b')).to_have_text("1")


def test_where_nothing_is_yet_nothing_looks_healthy_and_the_way_to_begin_is_there(page: Page, server: Any) -> None:
    feed = Feed(page)
    page.goto(f"{server.url}/dashboard")
    feed.say("snapshot")
    expect(page.locator("#verdict-title")).to_have_text("No breakers yet")
    expect(page.locator("#verdict")).to_have_attribute("data-state", "no_data")
    expect(page.locator(".verdict-mark use")).to_have_attribute("href", "#i-no_data")
    feed.wait(1, hearing=True)
    expect(page.locator("#favicon")).to_have_attribute("href", "/static/img/favicon-neutral.svg")
    feed.say("snapshot", row("a"))
    expect(page.locator("#verdict")).to_have_attribute("data-state", "closed")


def test_an_update_moves_rows_adds_them_and_takes_them_away(page: Page, feed: Feed) -> None:
    feed.say("update", row("b", "open", rates={"calls": 0, "failures": 0, "rejected": 7.0}), row("c"), removed=("a",))
    feed.wait(4, hearing=True)
    assert (names(page, "attention"), names(page, "rest")) == (["b"], ["c"])
    expect(page.locator('[data-name="b"] .c-rejected')).to_have_text("7.0")
    feed.say("snapshot", row("b"))
    feed.wait(1, hearing=True)
    assert (names(page, "attention"), names(page, "rest")) == ([], ["b"])
    expect(page.locator("#verdict-title")).to_have_text("The one breaker is closed")
    expect(page.locator("#favicon")).to_have_attribute("href", "/static/img/favicon-closed.svg")


def test_rows_move_at_most_once_a_second_and_the_first_news_at_once(page: Page, feed: Feed) -> None:
    feed.wait(2, hearing=True)
    for name, state, placed in (("b", "open", ["a", "b"]), ("a", "closed", ["a", "b"])):
        feed.say("update", row(name, state))
        page.clock.run_for(100)
        expect(page.locator(f'[data-name="{name}"]')).to_have_attribute("data-state", state)
        assert names(page, "attention") == placed
    feed.wait(1, hearing=True)
    assert (names(page, "attention"), names(page, "rest")) == (["b"], ["a"])


TURTLE = (
    "let time = 0; performance.now = () => time++; requestAnimationFrame = (paint) => frames.push(paint); frames = [];"
)
FRAME = "() => { const paint = frames.shift(); paint?.(); return Boolean(paint); }"


def test_a_flood_is_written_in_parts_and_the_newest_wins(page: Page, feed: Feed) -> None:
    feed.wait(2, hearing=True)
    page.evaluate(TURTLE)  # a part of a frame is six rows long, and frames come when the test says so
    flood = [row(f"n{number:02}") for number in range(30)]
    feed.say("update", *flood)
    page.evaluate(FRAME)
    assert names(page, "rest") == ["b"], "rows come in when there is time left for it"
    feed.say("update", row("n03", "open", cause="the newest"), row("n29", "open", cause="the newest"))
    while page.evaluate(FRAME):
        pass
    feed.wait(2, hearing=True)
    assert names(page, "attention") == ["a", "n03", "n29"]
    for name in ("n03", "n29"):
        expect(page.locator(f'[data-name="{name}"] .c-note')).to_have_text("the newest")
    assert names(page, "rest") == ["b", *(made["name"] for made in flood if made["name"] not in ("n03", "n29"))]


def test_of_many_in_trouble_the_worst_are_shown_and_the_others_one_click_away(page: Page, feed: Feed) -> None:
    many = [row(f"n{number:02}", "open") for number in range(50)]
    feed.say("update", *many)
    feed.wait(2, hearing=True)
    shown = page.locator("#attention .row:visible")
    expect(shown).to_have_count(20)
    expect(page.locator("#attention-note")).to_have_text("51 breakers, worst first")
    more = page.get_by_role("link", name="and 31 more")
    expect(more).to_be_visible()
    feed.say("update", *(row(made["name"]) for made in many[:5]))
    feed.wait(2, hearing=True)
    expect(shown).to_have_count(20)
    page.get_by_role("link", name="and 26 more").click()
    expect(shown).to_have_count(46)
    assert names(page, "attention") == ["a", *(made["name"] for made in many[5:])]
    expect(page.get_by_role("link", name="and 26 more")).to_be_hidden()


def test_a_mouse_leaves_the_list_with_the_dialog_it_opened_there_and_keys_stay(page: Page, feed: Feed) -> None:
    button = page.get_by_role("button", name="Reset a", exact=True)
    for by_key in (True, False):
        if by_key:
            page.keyboard.press("j")
            page.keyboard.press("r")
        else:
            button.click()
            page.mouse.move(5, 5)
        page.keyboard.type("INC-7")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.evaluate("document.activeElement.closest('.row').dataset.name") == "a"
        feed.wait(4, hearing=True)
        feed.say("update", row("a", "closed"))
        feed.wait(2, hearing=True)
        assert names(page, "attention") == (["a"] if by_key else [])


def test_rows_keep_their_place_while_somebody_points_at_them(page: Page, feed: Feed) -> None:
    page.locator('#attention [data-name="a"]').hover()
    feed.say("update", row("a", "closed", failure_rate=0.25))
    feed.wait(1, hearing=True)
    assert names(page, "attention") == ["a"]
    expect(page.locator('[data-name="a"] .rate')).to_have_text("25.0%")
    expect(page.locator("#held")).to_have_text("Order held: 1 row would move")
    page.mouse.move(5, 5)
    feed.wait(2, hearing=True)
    assert names(page, "attention") == ["a"]
    feed.wait(3, hearing=True)
    assert (names(page, "attention"), names(page, "rest")) == ([], ["a", "b"])
    expect(page.locator("#held")).to_have_text("")


LATEST = """<!DOCTYPE html><title>Latest</title>
<ol class="changes" id="changes"><li class="change" id="t8" data-state="open">Open on 3 instances: 62 % failed</li></ol>
<div id="groups"><div class="group">ledger 1 open</div></div><svg id="pulse"></svg><span id="alert-count">7</span>"""


def test_after_an_event_the_page_asks_what_it_means(page: Page, feed: Feed) -> None:
    asked: list[str] = []
    page.route("**/dashboard/latest", lambda route: (asked.append("latest"), route.fulfill(body=LATEST))[1])
    feed.wait(2, hearing=True)
    asked.clear()
    for instance in ("i1", "i2", "i3"):
        feed.event(kind="transition", name="a", service="trading", to_state="open", instance=instance)
    feed.wait(2, hearing=True)
    expect(page.locator("#changes .change").first).to_contain_text("Open on 3 instances: 62 % failed")
    expect(page.locator("#groups")).to_contain_text("ledger 1 open")
    expect(page.locator("#alert-count")).to_have_text("7")
    assert asked == ["latest"], "three events are one question"


def test_a_list_that_somebody_points_at_keeps_its_place(page: Page, feed: Feed) -> None:
    lists = iter(["<li id=t1>one</li>", "<li id=t2>two</li><li id=t1>first</li>", "<li id=t2>two</li><li id=t1>1</li>"])
    answer = "<!DOCTYPE html><ol id=changes>{}</ol>"
    page.route("**/dashboard/latest", lambda route: route.fulfill(body=answer.format(next(lists))))
    feed.wait(2, hearing=True)
    place = page.locator("#changes li")
    expect(place).to_have_text(["one"])
    place.hover()
    feed.event(kind="transition", name="a")
    feed.wait(2, hearing=True)
    expect(place).to_have_text(["first"])
    page.mouse.move(5, 5)
    feed.wait(6, hearing=True)
    expect(place).to_have_text(["two", "1"])


def test_a_hidden_tab_paints_once_a_second(page: Page, feed: Feed) -> None:
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    for calls in (1.5, 2.5, 3.5):
        feed.say("update", row("a", "open", rates={"calls": calls, "failures": 0, "rejected": 0}))
        page.clock.run_for(200)
        expect(page.locator('[data-name="a"] .c-calls')).to_have_text("9.5")
    page.clock.run_for(1000)
    expect(page.locator('[data-name="a"] .c-calls')).to_have_text("3.5")


def test_a_hidden_tab_that_is_not_woken_any_more_goes_on_with_what_it_hears(page: Page, feed: Feed) -> None:
    page.evaluate("requestAnimationFrame = setTimeout = () => 0")  # a frame was asked for, and the tab was left
    feed.say("update", row("b", "open"))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.clock.run_for(1000)
    feed.say("update", row("c", "open"))
    expect(page).to_have_title("(3 open) Overview · Breakers")


def test_silence_is_said(page: Page, feed: Feed) -> None:
    feed.wait(2)
    expect(page.locator("body")).to_have_attribute("data-link", "live")
    feed.wait(1)
    expect(page.locator("body")).to_have_attribute("data-link", "lagging")
    feed.wait(13)
    expect(page.locator("body")).to_have_attribute("data-link", "stale")
    expect(page.locator("#banner")).to_contain_text(
        "No news for 16 s. You see the fleet as of 12:00:00 UTC.", use_inner_text=True
    )
    expect(page).to_have_title("? (1 open) Overview · Breakers")
    expect(page.locator("#favicon")).to_have_attribute("href", "/static/img/favicon-neutral.svg")
    expect(page.locator("#link-age")).to_have_text("data from 12:00:00")
    expect(page.locator('[data-name="a"] .c-age')).to_have_text("since 11:50")
    feed.say("update")
    feed.wait(1, hearing=True)
    expect(page.locator("body")).to_have_attribute("data-link", "live")
    expect(page.locator("#banner")).to_be_hidden()


def test_when_an_instance_was_heard_is_an_hour_once_nobody_knows_how_long_ago_that_is(
    page: Page, server: ServerProcess, service: Callable[[str], ServiceProcess]
) -> None:
    service("feed-heard")
    feed = Feed(page)
    page.goto(f"{server.url}/dashboard/instances")
    page.route("**/dashboard/instances", lambda route: None)  # what is shown is all that there is
    feed.say("snapshot")
    heard = page.locator("tr", has=page.get_by_role("rowheader", name="feed-heard")).locator("[data-ago]")
    expect(heard).to_have_text(re.compile(r"^\d+ s ago$"))
    heard.evaluate("(cell, at) => (cell.dataset.age = at)", START.isoformat())
    feed.wait(16)
    expect(page.locator("body")).to_have_attribute("data-link", "stale")
    expect(heard).to_have_text("at 12:00")


def test_who_listens_hears_one_sentence_in_ten_seconds_and_the_newest(page: Page, feed: Feed) -> None:
    heard = page.locator("#announcer")
    feed.wait(10, hearing=True)
    feed.say("update", row("b", "open"))
    feed.wait(1, hearing=True)
    expect(heard).to_have_text("2 of 2 breakers are open")
    feed.say("update", row("c"))
    feed.wait(1, hearing=True)
    feed.say("update", row("c", "open"))
    feed.wait(7, hearing=True)
    expect(heard).to_have_text("2 of 2 breakers are open")
    feed.wait(2, hearing=True)
    expect(heard).to_have_text("3 of 3 breakers are open")
    feed.wait(20)
    expect(heard).to_have_text("Stale")
    assert page.locator("#banner[role], #banner [role], #banner [aria-live]").count() == 0, "it counts down in silence"


def test_bad_news_of_every_kind_can_be_read(page: Page, feed: Feed) -> None:
    page.route("**/dashboard", lambda route: route.fulfill(json={"summary": {"silent": 0}, "breakers": [row("a")]}))
    feed.say("update", without=["database", "redis"])
    feed.wait(17)
    page.get_by_role("button", name="Reset a", exact=True).click()
    feed.check("stale")
    page.keyboard.press("Escape")
    feed.say("update", row("a", "open"))
    feed.refusing = True
    feed.sockets[-1].close(code=1012)
    feed.wait(5)
    page.get_by_role("link", name="Reset all…").click()
    feed.check("reconnecting")
    page.keyboard.press("Escape")
    feed.wait(62)
    feed.check("polling")
    feed.refusing = False
    page.get_by_role("button", name="Reconnect now").click()
    feed.say("snapshot", row("a", "open"))
    feed.sockets[-1].close(code=4401)
    feed.check("signed_out")


def test_a_computer_that_is_offline_says_so(page: Page, feed: Feed, complaints: list[str]) -> None:
    feed.refusing = True
    page.context.set_offline(True)
    feed.sockets[-1].close(code=1006)
    feed.wait(3)
    expect(page.locator("body")).to_have_attribute("data-link", "offline")
    expect(page.locator("#banner")).to_contain_text(
        "This computer is offline. You see the fleet as of 12:00:00 UTC.", use_inner_text=True
    )
    expect(page).to_have_title("? (1 open) Overview · Breakers")
    page.get_by_role("button", name="Reset a", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("This computer is offline.", use_inner_text=True)
    feed.check("offline")
    page.keyboard.press("Escape")
    feed.refusing = False
    page.context.set_offline(False)
    page.evaluate("dispatchEvent(new Event('online'))")
    feed.say("snapshot", row("b"))
    expect(page.locator("body")).to_have_attribute("data-link", "live")
    complaints[:] = [text for text in complaints if "ERR_INTERNET_DISCONNECTED" not in text]  # Chromium's own word


def test_a_socket_that_stays_silent_is_replaced(page: Page, feed: Feed) -> None:
    feed.wait(42)
    assert len(feed.sockets) == 2
    feed.say("snapshot", row("a"))
    expect(page.locator("body")).to_have_attribute("data-link", "live")


def test_a_lost_connection_counts_down_and_begins_anew(page: Page, feed: Feed) -> None:
    feed.refusing = True
    feed.sockets[-1].close(code=1012)
    expect(page.locator("body")).to_have_attribute("data-link", "reconnecting")
    feed.wait(20)
    expect(page.locator("#banner")).to_contain_text("Live updates lost 20 s ago.", use_inner_text=True)
    expect(page.locator("#banner")).to_contain_text("Next try in", use_inner_text=True)
    feed.refusing = False
    page.get_by_role("button", name="Reconnect now").click()
    feed.say("snapshot", row("b", "open"))
    expect(page.locator("body")).to_have_attribute("data-link", "live")
    expect(page.locator("#banner")).to_be_hidden()
    feed.wait(4, hearing=True)
    assert (names(page, "attention"), names(page, "rest")) == (["b"], [])


def test_when_sockets_do_not_get_through_the_page_asks(page: Page, feed: Feed) -> None:
    answer = {"summary": {"silent": 0}, "breakers": [row("polled", "open")]}
    page.route("**/dashboard", lambda route: route.fulfill(json=answer))
    feed.refusing = True
    feed.sockets[-1].close(code=1012)
    feed.wait(75)
    expect(page.locator("body")).to_have_attribute("data-link", "polling")
    expect(page.locator("#banner")).to_contain_text("asks every 10 s", use_inner_text=True)
    assert names(page, "attention") == ["polled"]


def test_a_session_that_ended_is_said(page: Page, feed: Feed) -> None:
    feed.sockets[-1].close(code=4401)
    expect(page.locator("body")).to_have_attribute("data-link", "signed_out")
    expect(page.locator("#banner").get_by_role("link", name="Sign in")).to_be_visible()


def test_a_reset_says_who_confirmed_and_who_gave_no_answer(page: Page, feed: Feed) -> None:
    said = {"message": "", "command": "c1", "name": "a", "targeted": 4, "confirmed": 0, "silent": 1}
    page.route("**/dashboard/reset", lambda route: route.fulfill(json=said))
    button = page.get_by_role("button", name="Reset a", exact=True)
    button.click()
    expect(page.get_by_role("dialog")).to_contain_text("Open on 4 of 4 instances. Failure rate now: 10.0%, limit 50%.")
    page.get_by_role("dialog").get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("Reset a: 0 of 4 confirmed")
    expect(button).to_be_disabled()
    for confirmed in (1, 2):
        feed.event(kind="reset_progress", command="c1", name="a", targeted=4, confirmed=confirmed, silent=1)
    expect(page.locator("#toasts")).to_contain_text("Reset a: 2 of 4 confirmed")
    feed.event(kind="reset_progress", command="c1", name="a", targeted=4, confirmed=3, silent=1)
    expect(page.locator("#toasts")).to_contain_text("Reset a: 3 of 4 confirmed, 1 no answer")
    expect(button).to_be_enabled()
    expect(button).to_be_focused()


def test_an_order_follows_the_instances_that_take_it(page: Page, feed: Feed) -> None:
    order = {"override": "forced_open", "reason": "INC-7", "by": "user:olivia", "expires_at": "2026-03-01T13:00:00Z"}
    feed.say("update", row("a", "open", override=order))
    feed.wait(1, hearing=True)
    said = {"message": "Released a.", "command": "a ", "name": "a", "targeted": 4, "confirmed": 0, "silent": 0}
    page.route("**/dashboard/release", lambda route: route.fulfill(json=said))
    page.get_by_role("button", name="Release a", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("Released a: 0 of 4 confirmed")
    feed.say("update", row("a", applied={"on": 3, "of": 4}))
    expect(page.locator("#toasts")).to_contain_text("Released a: 3 of 4 confirmed")
    feed.wait(61, hearing=True)
    expect(page.locator('.toast[data-level="warning"]')).to_contain_text("Released a: 3 of 4 confirmed, 1 no answer")


def test_a_lost_race_is_told_and_nothing_is_claimed(page: Page, feed: Feed, complaints: list[str]) -> None:
    told = {"message": "a was changed meanwhile: it is at v2 now. Look again, then decide."}
    page.route("**/dashboard/reset", lambda route: route.fulfill(status=412, json=told))
    page.get_by_role("button", name="Reset a", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator('.toast[data-level="error"]')).to_contain_text("it is at v2 now")
    complaints.remove("Failed to load resource: the server responded with a status of 412 (Precondition Failed)")
    expect(page.get_by_role("button", name="Reset a", exact=True)).to_be_enabled()


def test_an_open_dialog_says_what_is_true_now(page: Page, feed: Feed) -> None:
    dialog, button = page.get_by_role("dialog"), page.get_by_role("button", name="Reset a", exact=True)
    go = dialog.get_by_role("button", name="Reset", exact=True)
    button.click()
    expect(dialog).to_contain_text("Reset a on 4 instances?")
    some = {"total": 9, "closed": 7, "half_open": 0, "open": 1, "silent": 1}
    feed.say("update", row("a", "open", instances=some, failure_rate=0.25))
    expect(dialog).to_contain_text("Reset a on 8 instances?")
    expect(dialog).to_contain_text("Open on 1 of 9 instances. Failure rate now: 25.0%, limit 50%.")
    expect(go).to_be_enabled()

    feed.say("update", row("a", "open", version=2))
    changed = "a was changed meanwhile: it is at v2 now. Look again, then decide."
    expect(dialog.get_by_role("alert")).to_have_text(changed)
    expect(go).to_be_enabled()  # the server refuses, and knows who it was
    page.keyboard.press("Escape")
    feed.wait(1, hearing=True)
    button.click()
    expect(dialog.locator("[data-part=problem]")).to_be_empty()
    expect(go).to_be_enabled()

    feed.say("update", removed=("a",))
    expect(dialog.get_by_role("alert")).to_have_text("a was deleted meanwhile. Look again, then decide.")
    expect(go).to_be_disabled()
    dialog.get_by_label("Reason").press("Enter")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Reset all…").click()
    expect(dialog).to_contain_text("Reset 1 breaker?")
    feed.say("update", row("c", "open"))
    expect(dialog).to_contain_text("Reset 2 breakers? 1 of them is open now.")
    expect(dialog.locator("[data-part=typed]")).to_have_text("2")


def test_an_open_dialog_says_when_nothing_is_heard_any_more(page: Page, feed: Feed) -> None:
    page.get_by_role("button", name="Reset a", exact=True).click()
    doubt = page.locator("dialog[open] .warn")
    expect(doubt).to_have_text("", use_inner_text=True)
    feed.wait(17)
    expect(doubt).to_contain_text("Live updates are lost: this may have changed meanwhile.", use_inner_text=True)
    feed.sockets[-1].close(code=4401)
    expect(doubt).to_have_text("You are signed out.", use_inner_text=True)


def test_what_was_asked_for_is_told_also_to_whom_the_dialog_was_in_the_way(page: Page, feed: Feed) -> None:
    waiting: list[Route] = []
    page.route("**/dashboard/reset", lambda route: waiting.append(route))
    button, dialog = page.get_by_role("button", name="Reset a", exact=True), page.get_by_role("dialog")
    button.click()
    with page.expect_request("**/dashboard/reset"):
        dialog.get_by_label("Reason").press("Enter")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    button.click()
    waiting[0].fulfill(json={"message": "Reset a: asked 4 instances."})
    expect(page.locator("#toasts")).to_contain_text("Reset a: asked 4 instances.")
    expect(dialog).to_be_visible()


def test_reset_all_asks_the_server_while_nothing_was_heard_yet(page: Page, server: Any) -> None:
    Feed(page)
    page.goto(f"{server.url}/dashboard")
    page.locator("#fleet, #onboarding").first.evaluate("node => { document.getElementById('fleet').hidden = false; }")
    page.get_by_role("link", name="Reset all…").click()
    expect(page).to_have_url(f"{server.url}/dashboard/reset-all?")


def test_the_banner_of_what_is_missing_comes_and_goes_with_the_feed(page: Page, feed: Feed) -> None:
    redis, database = page.locator("[data-gone=redis]"), page.locator("[data-gone=database]")
    feed.say("update", without=["redis"])
    feed.wait(1)
    expect(redis).to_be_visible()
    expect(database).to_be_hidden()
    feed.say("update", without=["database", "redis"])
    feed.wait(1)
    expect(redis).to_be_visible()
    expect(database).to_be_visible()
    feed.say("update", without=[])
    feed.wait(1)
    expect(redis).to_be_hidden()
    expect(database).to_be_hidden()


def test_a_breaker_that_is_deleted_while_it_is_read_stays_to_be_read(
    page: Page, server: Any, complaints: list[str]
) -> None:
    server.request("POST", "/circuit-breakers", {"name": "feed.deleted"})
    feed = Feed(page)
    page.goto(f"{server.url}/dashboard/breakers/feed.deleted")
    feed.say("snapshot", row("feed.deleted", "open", cause="5 in a row"), row("other"))
    expect(page.locator("h1 + .badge")).to_have_text("Open on 4 of 4")
    expect(page.locator("#breaker")).to_contain_class("over")
    feed.say("update", row("feed.deleted"))
    expect(page.locator("#breaker")).not_to_contain_class("over")
    feed.say("update", row("feed.deleted", "open", cause="5 in a row"))
    feed.say("update", row("other"), removed=("feed.deleted",))
    expect(page.locator("h1 + .badge")).to_have_text("Deleted")
    expect(page.locator("h1 + .badge use")).to_have_attribute("href", "#i-no_data")
    expect(page.get_by_role("status")).to_contain_text(["feed.deleted was deleted. You see it as it was.", ""])
    expect(page.locator(".page-head")).to_contain_text("5 in a row")
    for button in page.locator(".actions").get_by_role("button").all():
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", "feed.deleted was deleted")
    asked: list[str] = []
    page.route("**/dashboard/breakers/feed.deleted", lambda route: (asked.append("page"), route.continue_())[1])
    feed.wait(12, hearing=True)
    assert not asked, "there is nothing more to ask for"
    page.locator(".actions .btn").first.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.clock.resume()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    with page.expect_navigation():
        feed.say("update", row("feed.deleted"))
    expect(page.locator("h1 + .badge")).to_contain_text("on")
