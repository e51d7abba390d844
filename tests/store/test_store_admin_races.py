"""Of two people who edit one thing in the admin at once, whoever is later is told; nothing is overwritten unseen."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from html import unescape

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from breakers.models import NotificationRule
from tests.store.test_store_admin import fields_of

pytestmark = pytest.mark.django_db
SECRET_ADDRESS = "https://chat.example/hooks/T0KEN-1"


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def root(admin_user: User) -> Client:
    return browser_of(admin_user)


@pytest.fixture
def rule() -> NotificationRule:
    return NotificationRule.objects.create(
        name="on-call", groups=["core"], levels=["error"], address=SECRET_ADDRESS, changed_by="user:first"
    )


@pytest.fixture
def clerk(person: Callable[..., User]) -> User:
    return person("clerk", "viewer")


def page_of(row: NotificationRule | User | Group) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def form_of(page: str) -> dict[str, object]:
    """What a browser would send of the form on ``page``, with what is ticked and chosen of several."""
    found: dict[str, object] = dict(fields_of(page))
    for name in set(re.findall(r'<input type="checkbox" name="(\w+)" value="\w+"', page)):
        found[name] = re.findall(rf'<input type="checkbox" name="{name}" value="(\w+)"[^>]* checked', page)
    for name, options in re.findall(r'<select name="(\w+)"[^>]* multiple.*?>(.*?)</select>', page, re.DOTALL):
        found[name] = re.findall(r'value="([^"]*)" selected', options)
    return found


def opened(browser: Client, row: NotificationRule | User | Group) -> dict[str, object]:
    return form_of(browser.get(page_of(row)).content.decode())


def said(answer: HttpResponse) -> str:
    return unescape(answer.content.decode())


def test_a_rule_that_somebody_changed_meanwhile_is_not_overwritten(root: Client, rule: NotificationRule):
    mine, theirs = opened(root, rule), opened(root, rule)
    assert root.post(page_of(rule), {**theirs, "after": "5", "groups": "edge"}).status_code == 302
    answer = root.post(page_of(rule), {**mine, "after": "90"})
    assert answer.status_code == 200
    assert "Somebody changed this notification rule while you edited it" in said(answer)
    assert "after is now 5.0" in said(answer)
    rule.refresh_from_db()
    assert (rule.after, rule.groups) == (5.0, ["edge"])


def test_who_has_seen_what_stands_now_may_save_on_top(root: Client, rule: NotificationRule):
    mine, theirs = opened(root, rule), opened(root, rule)
    root.post(page_of(rule), {**theirs, "after": "5"})
    told = form_of(root.post(page_of(rule), {**mine, "after": "90"}).content.decode())
    assert root.post(page_of(rule), told).status_code == 302
    rule.refresh_from_db()
    assert rule.after == 90.0


def test_a_rule_whose_address_was_changed_meanwhile_is_a_lost_race_too_and_shows_neither(
    root: Client, rule: NotificationRule
):
    mine, theirs = opened(root, rule), opened(root, rule)
    root.post(page_of(rule), {**theirs, "address": "https://chat.example/hooks/T0KEN-2"})
    answer = root.post(page_of(rule), {**mine, "address": "https://chat.example/hooks/T0KEN-3"})
    assert "Somebody changed this notification rule" in said(answer)
    assert "T0KEN" not in said(answer)
    rule.refresh_from_db()
    assert rule.address.endswith("T0KEN-2")


def test_the_mark_of_what_was_seen_gives_no_secret_away(root: Client, rule: NotificationRule, settings):
    """Else whoever reads the page could try addresses against it."""
    seen = opened(root, rule)["seen"]
    settings.SECRET_KEY = "another"
    assert opened(browser_of(User.objects.get(username="admin")), rule)["seen"] != seen


def test_a_form_that_does_not_say_what_it_has_seen_changes_nothing(root: Client, rule: NotificationRule):
    form = opened(root, rule)
    del form["seen"]
    assert root.post(page_of(rule), {**form, "after": "90"}).status_code == 200
    rule.refresh_from_db()
    assert rule.after == 30.0


def test_groups_given_to_a_person_meanwhile_are_not_taken_away_again(root: Client, clerk: User):
    mine, theirs = opened(root, clerk), opened(root, clerk)
    viewer, operator = (str(Group.objects.get(name=name).pk) for name in ("viewer", "operator"))
    assert root.post(page_of(clerk), {**theirs, "groups": [viewer, operator]}).status_code == 302
    answer = root.post(page_of(clerk), {**mine, "first_name": "Cleo"})
    assert "Somebody changed this user while you edited it" in said(answer)
    clerk.refresh_from_db()
    assert {group.name for group in clerk.groups.all()} == {"viewer", "operator"}
    assert clerk.first_name == ""


def test_a_person_who_signs_in_meanwhile_is_no_lost_race(root: Client, clerk: User):
    form = opened(root, clerk)
    browser_of(clerk)
    clerk.refresh_from_db()
    signed_in = clerk.last_login
    assert root.post(page_of(clerk), {**form, "first_name": "Cleo"}).status_code == 302
    clerk.refresh_from_db()
    assert (clerk.first_name, clerk.last_login) == ("Cleo", signed_in)


def test_permissions_given_to_a_group_meanwhile_are_not_taken_away_again(root: Client, clerk: User):
    group = Group.objects.get(name="viewer")
    mine, theirs = opened(root, group), opened(root, group)
    more = [*theirs["permissions"], str(Permission.objects.get(codename="reset_breaker").pk)]
    assert root.post(page_of(group), {**theirs, "permissions": more}).status_code == 302
    answer = root.post(page_of(group), mine)
    assert "Somebody changed this group while you edited it" in said(answer)
    assert group.permissions.filter(codename="reset_breaker").exists()


def test_people_and_groups_are_added_as_before(root: Client):
    answer = root.post(
        "/admin/auth/user/add/",
        {"username": "new", "password1": "correct horse 7", "password2": "correct horse 7", "usable_password": "true"},
    )
    assert answer.status_code == 302
    assert root.post("/admin/auth/group/add/", {"name": "night shift"}).status_code == 302
    assert Group.objects.filter(name="night shift").exists()


def test_who_may_only_look_sees_a_rule_without_its_secrets(clerk: User, rule: NotificationRule):
    NotificationRule.objects.update(signing_secret="s1gn")
    for codename in ("view_notificationrule", "view_user", "view_group"):
        clerk.user_permissions.add(Permission.objects.get(codename=codename))
    browser = browser_of(clerk)
    page = browser.get(page_of(rule))
    assert page.status_code == 200
    for shown in ("on-call", "core", "error", "https://chat.example/…", "user:first"):
        assert shown in said(page)
    for secret in ("T0KEN", "hooks", "s1gn"):
        assert secret not in said(page)
    for other in (clerk, clerk.groups.get()):
        assert browser.get(page_of(other)).status_code == 200
    assert browser.post(page_of(rule), {}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_of_two_that_save_at_the_same_moment_one_is_told(ground: None, person: Callable[..., User]):
    chief = person("chief")
    User.objects.filter(pk=chief.pk).update(is_superuser=True, is_staff=True)
    row = NotificationRule.objects.create(name="r", levels=["error"], address=SECRET_ADDRESS, changed_by="x")
    browsers = [browser_of(User.objects.get(pk=chief.pk)) for _ in range(4)]
    forms, at_once, answers = [opened(one, row) for one in browsers], threading.Barrier(4), []

    def save(number: int) -> None:
        at_once.wait(20)
        form = {**forms[number], "after": str(number + 100)}
        answers.append((number, browsers[number].post(page_of(row), form).status_code))
        connection.close()

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.refresh_from_db()
    assert sorted(status for _, status in answers) == [200, 200, 200, 302]
    assert row.after == next(number for number, status in answers if status == 302) + 100
