"""The admin as an editor meets it: a real browser, the strict policy, and nothing in the console."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD
from tests.programs import ServiceProcess
from tests.servers import ServerProcess, eventually

pytestmark = pytest.mark.browser
LIST = "/admin/breakers/breakerconfig/"


@pytest.fixture(scope="module")
def staff(server: ServerProcess) -> None:
    """Edith may enter the admin."""
    server.python(
        "from django.contrib.auth.models import User; User.objects.filter(username='edith').update(is_staff=True)"
    )


@pytest.fixture
def admin(staff: None, open_page, server: ServerProcess) -> Page:
    """The list of breakers, with two of the group ``admin``."""
    for name in ("adm-bank", "adm-quotes"):
        if not any(row["name"] == name for row in answered(server, "/circuit-breakers?page_size=1000")["results"]):
            server.request("POST", "/circuit-breakers", {"name": name, "group": "adm"})
    return open_page(f"{LIST}?q=adm-", person="edith")


def answered(server: ServerProcess, path: str) -> Any:
    status, found = server.request("GET", path)
    assert status == 200, found
    return found


def tick(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True)).get_by_role(
            "checkbox"
        ).check()


def act(page: Page, action: str) -> None:
    page.get_by_label("Action:").select_option(label=action)
    page.get_by_role("button", name="Go").click()


def sound(page: Page, complaints: list[str]) -> None:
    """Nothing of ours violates WCAG A or AA. What axe itself does to the page is no complaint."""
    before = list(complaints)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).response["violations"]
    complaints[:] = before
    ours = [v for v in found for node in v["nodes"] if re.search(r"breaker|restore|warnings|last-", node["html"])]
    assert not ours, ours


def test_an_edit_is_told_its_advice_and_an_older_version_is_restored(
    admin: Page, server: ServerProcess, complaints: list[str]
):
    admin.get_by_role("link", name="adm-bank", exact=True).click()
    wait = admin.get_by_label("Recovery timeout:", exact=True)
    wait.fill("1")
    admin.get_by_label("Reason:", exact=True).fill("try it")
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator("#warnings")).to_contain_text("A wait of 1 s means a probe every second from each instance")
    versions = admin.locator("#last-versions")
    expect(versions).to_contain_text("recovery_timeout: 60.0 → 1.0")
    sound(admin, complaints)
    admin.get_by_label("Reason of a restore:").fill("calmer")
    admin.get_by_label("Reason of a restore:").press("Enter")
    expect(versions.get_by_role("row")).to_have_count(3)  # Enter restored nothing: head, two versions
    versions.get_by_role("button", name="Restore this version").last.click()
    expect(admin.get_by_text("Version 1 is in force again, as version 3.")).to_be_visible()
    expect(wait).to_have_value("60.0")
    changes = answered(server, "/circuit-breakers/adm-bank/changes")["results"]
    assert [(row["version"], row["reason"]) for row in changes[:2]] == [(3, "calmer"), (2, "try it")]


def test_enter_in_the_form_saves_and_restores_nothing(admin: Page, server: ServerProcess):
    admin.get_by_role("link", name="adm-quotes", exact=True).click()
    admin.get_by_label("Failure threshold:", exact=True).fill("7")
    admin.get_by_label("Failure threshold:", exact=True).press("Enter")
    expect(admin.get_by_text("was changed successfully")).to_be_visible()
    assert answered(server, "/circuit-breakers/adm-quotes/config")["config"]["failure_threshold"] == 7


def test_forcing_a_whole_group_open_takes_a_tick(admin: Page, server: ServerProcess, complaints: list[str]):
    tick(admin, "adm-bank", "adm-quotes")
    act(admin, "Force open…")
    admin.get_by_label("Reason:").fill("INC-7")
    admin.get_by_role("button", name="Force open").click()
    expect(admin.get_by_text("Then 2 of the 2 breakers of the group adm reject every call.")).to_be_visible()
    sound(admin, complaints)
    admin.get_by_label("I mean it").check()
    admin.get_by_role("button", name="Force open").click()
    expect(admin.get_by_text("2 breakers forced_open until")).to_be_hidden()
    expect(admin.get_by_text("2 breakers forced open until")).to_be_visible()
    admin.goto(f"{server.url}{LIST}?q=adm-")
    tick(admin, "adm-bank", "adm-quotes")
    act(admin, "Release the override")
    expect(admin.get_by_text("2 breakers released.")).to_be_visible()


def test_forcing_closed_takes_the_name(admin: Page):
    tick(admin, "adm-bank")
    act(admin, "Force closed (shadow)…")
    admin.get_by_label("Type the name of the breaker:").fill("adm-quotes")
    admin.get_by_label("Reason:").fill("INC-8")
    admin.get_by_role("button", name="Force closed").click()
    expect(admin.get_by_text("This is not adm-bank.")).to_be_visible()
    admin.get_by_role("link", name="Cancel").click()
    expect(admin.get_by_label("Action:")).to_be_visible()


def test_of_two_who_edit_one_rule_the_later_one_is_told_and_may_save_on_top(open_page, server: ServerProcess):
    server.python(
        "from django.contrib.auth.models import User; from breakers.models import NotificationRule\n"
        f"User.objects.create_superuser('root', password={PASSWORD!r})\n"
        "NotificationRule.objects.create(name='on-call', levels=['error'], address='https://x.example/T0KEN')"
    )
    rules = "/admin/breakers/notificationrule/"
    mine, theirs = open_page(rules, person="root"), open_page(rules, person="root")
    for page in (mine, theirs):
        page.get_by_role("link", name="on-call").click()
    theirs.get_by_label("After:").fill("5")
    theirs.get_by_role("button", name="Save", exact=True).click()
    expect(theirs.get_by_text("was changed successfully")).to_be_visible()
    mine.get_by_label("After:").fill("90")
    mine.get_by_role("button", name="Save", exact=True).click()
    expect(
        mine.get_by_text("Somebody changed this notification rule while you edited it. after is now 5.0")
    ).to_be_visible()
    expect(mine.get_by_label("Seen")).to_be_hidden()
    assert "T0KEN" not in mine.content()
    mine.get_by_role("button", name="Save", exact=True).click()
    expect(mine.get_by_text("was changed successfully")).to_be_visible()
    expect(mine.get_by_role("row").filter(has_text="on-call")).to_contain_text("90.0")


def test_a_config_is_copied(admin: Page, server: ServerProcess, complaints: list[str]):
    tick(admin, "adm-bank")
    act(admin, "Copy config to…")
    sound(admin, complaints)
    admin.get_by_label("Or to a new one:").fill("adm-copy")
    admin.get_by_role("button", name="Copy", exact=True).click()
    expect(admin.get_by_text("Config of adm-bank copied to adm-copy.")).to_be_visible()
    eventually(lambda: answered(server, "/circuit-breakers/adm-copy")["group"] == "adm")


def test_configs_are_exported_edited_and_imported(
    admin: Page, server: ServerProcess, complaints: list[str], tmp_path: Path
):
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Export").click()
    file = tmp_path / "configs.yaml"
    download.value.save_as(file)
    before, _, after = file.read_text().partition("  adm-quotes:")
    file.write_text(f"{before}  adm-quotes:{after.replace('recovery_timeout: 60.0', 'recovery_timeout: 2.0', 1)}")
    admin.get_by_role("link", name="Import").click()
    admin.get_by_label("File:").set_input_files(file)
    admin.get_by_label("Reason:").fill("INC-10")
    admin.get_by_role("button", name="Show what would change").click()
    expect(admin.locator("#plan")).to_contain_text("What would change: 1 of")
    expect(admin.locator("#plan")).to_contain_text("recovery_timeout: 60.0 → 2.0")
    sound(admin, complaints)
    admin.get_by_role("button", name="Import", exact=True).click()
    expect(admin.get_by_text("1 breaker of ")).to_be_visible()
    assert answered(server, "/circuit-breakers/adm-quotes/config")["config"]["recovery_timeout"] == 2.0
    change = answered(server, "/circuit-breakers/adm-quotes/changes")["results"][0]
    assert (change["actor"], change["reason"]) == ("user:edith", "INC-10")


def test_an_edit_and_a_reset_reach_a_running_process_and_are_told_with_who_and_why(
    staff: None, open_page: Callable[..., Page], server: ServerProcess, service: Callable[[str], ServiceProcess]
):
    running = service("ledger")
    running.ask("breaker", name="adm-live", failure_threshold=50, recovery_timeout=600.0)
    eventually(lambda: server.request("GET", "/circuit-breakers/adm-live")[0] == 200, what="it is registered")
    page = open_page(f"{LIST}?q=adm-live", person="edith")
    page.get_by_role("link", name="adm-live", exact=True).click()
    page.get_by_label("Failure threshold:", exact=True).fill("1")
    page.get_by_label("Reason:", exact=True).fill("INC-9: too patient")
    page.get_by_role("button", name="Save", exact=True).click()

    def applied() -> bool:
        row = answered(server, "/circuit-breakers/adm-live")
        return (row["version"], row["applied"]) == (2, {"on": 1, "of": 1})

    eventually(applied, what="the edit is applied")
    running.ask("call", name="adm-live", times=1)
    assert running.ask("state", name="adm-live") == "open"

    page.goto(page.url.partition("?")[0] + "?q=adm-live")
    tick(page, "adm-live")
    page.get_by_label("Reason:").fill("INC-9: healed")
    act(page, "Reset on all instances")
    eventually(lambda: running.ask("state", name="adm-live") == "closed", what="the process is reset")
    changes = answered(server, "/circuit-breakers/adm-live/changes")["results"]
    assert [(row["kind"], row["actor"], row["reason"]) for row in changes[:2]] == [
        ("reset", "user:edith", "INC-9: healed"),
        ("edited", "user:edith", "INC-9: too patient"),
    ]
