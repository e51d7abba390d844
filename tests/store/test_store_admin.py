"""The admin writes through the services, in the name of who is signed in, and overwrites nobody."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from breakers import selectors, services
from breakers.admin.forms import BreakerConfigForm
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import Override
from breakers.models import ApiKey, BreakerConfig, ConfigChange
from breakers.problems import VersionConflict
from breakers.services import Actor, authenticate_key

pytestmark = pytest.mark.django_db
Create = Callable[..., BreakerConfig]
LIST = reverse("admin:breakers_breakerconfig_changelist")


@pytest.fixture
def admin_page(client: Client) -> Callable[..., Client]:
    """``admin_page(editor)``: a browser in which that person is signed in."""

    def sign_in(user: User) -> Client:
        client.force_login(user)
        return client

    return sign_in


def change_url(row: BreakerConfig) -> str:
    return reverse("admin:breakers_breakerconfig_change", args=[row.pk])


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send of the form on ``page``, as far as we need it."""
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", page):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") == "checkbox" and "checked" not in tag:
            continue
        if "name" in attributes and attributes.get("type") != "submit":
            found[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, options in re.findall(r'<select name="(\w+)".*?>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    for name, text in re.findall(r'<textarea name="(\w+)".*?>\s*(.*?)</textarea>', page, re.DOTALL):
        found[name] = unescape(text)
    return found


def edit(browser: Client, row: BreakerConfig, **values: object):
    form = fields_of(browser.get(change_url(row)).content.decode())
    return browser.post(change_url(row), {**form, **values})


def test_a_breaker_that_was_edited_since_the_question_is_not_deleted(
    create: Create, editor: User, admin_page, alice: Actor
):
    row, browser = create(), admin_page(editor)
    url = reverse("admin:breakers_breakerconfig_delete", args=[row.pk])
    asked = fields_of(browser.get(url).content.decode())
    services.breaker_edit(
        name=row.name, config=CircuitBreakerConfig(timeout=3.0), http=HttpConfig(), reason="", by=alice
    )
    page = browser.post(url, asked, follow=True)
    assert "Nothing was deleted" in page.content.decode()
    assert "its version is now 2" in page.content.decode()
    assert selectors.breaker(row.name).timeout == 3.0
    again = fields_of(browser.get(url).content.decode())
    assert browser.post(url, {**again, "reason": "over"}).status_code == 302
    assert not BreakerConfig.objects.exists()
    assert selectors.changes(row.name)[0].reason == "over"


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 30])
def test_a_deletion_of_what_is_no_version_changes_nothing(create: Create, editor: User, admin_page, seen):
    row = create()
    url = reverse("admin:breakers_breakerconfig_delete", args=[row.pk])
    assert admin_page(editor).post(url, {"post": "yes", "expected_version": seen}).status_code == 400
    assert BreakerConfig.objects.exists()


# --- edit -------------------------------------------------------------------------------------------------------


def test_an_edit_goes_through_the_service_in_the_editors_name(create: Create, editor: User, admin_page):
    row = create(timeout=None, group="core")
    answer = edit(admin_page(editor), row, failure_threshold="8", reason="INC-9")
    assert answer.status_code == 302
    stands = selectors.breaker("data_service")
    assert (stands.failure_threshold, stands.version, stands.timeout, stands.group) == (8, 2, None, "core")
    change = ConfigChange.objects.get(kind="edited")
    assert (change.actor, change.reason, change.differences()) == ("user:edith", "INC-9", {"failure_threshold": (5, 8)})


def test_saving_an_unchanged_form_writes_nothing(create: Create, editor: User, admin_page):
    row = create(recovery_timeout=0.1, failure_rate_threshold=0.5, description="two\nlines")
    assert edit(admin_page(editor), row).status_code == 302
    assert (selectors.breaker("data_service").version, selectors.current_revision()) == (1, 1)


def test_each_wrong_field_is_told_by_the_librarys_own_check(create: Create, editor: User, admin_page):
    row = create()
    wrong = {
        "failure_threshold": "-1",
        "recovery_timeout": "0",
        "timeout": "nan",
        "failure_statuses": "teapot",
        "recovery_jitter": "1.5",
    }
    answer = edit(admin_page(editor), row, **wrong)
    assert answer.status_code == 200
    errors = answer.context["adminform"].form.errors
    assert set(errors) == set(wrong)
    assert "must be an integer &gt;= 0" in str(errors["failure_threshold"])
    assert "as &#x27;429,500-599&#x27;" in str(errors["failure_statuses"])
    assert selectors.current_revision() == 1


def test_rules_that_span_two_fields_are_told_at_the_field(create: Create, editor: User, admin_page):
    row = create()
    answer = edit(admin_page(editor), row, minimum_calls="101", slow_call_rate_threshold="0.5")
    errors = answer.context["adminform"].form.errors
    assert set(errors) == {"minimum_calls", "slow_call_rate_threshold"}
    assert "at most window_size (100)" in str(errors["minimum_calls"])


def test_a_lost_race_is_shown_and_not_overwritten(create: Create, editor: User, admin_page, alice: Actor):
    row, browser = create(), admin_page(editor)
    form = fields_of(browser.get(change_url(row)).content.decode())
    config = CircuitBreakerConfig(success_threshold=9)
    services.breaker_edit(name="data_service", config=config, http=HttpConfig(), reason="", by=alice)
    answer = browser.post(change_url(row), {**form, "failure_threshold": "8"})
    assert answer.status_code == 200
    page = unescape(answer.content.decode())
    assert "it is now at version 2, not 1" in page
    assert "failure_threshold is now 5; success_threshold is now 9" in page
    stands = selectors.breaker("data_service")
    assert (stands.failure_threshold, stands.success_threshold, stands.version) == (5, 9, 2)
    again = fields_of(answer.content.decode())
    assert (again["failure_threshold"], again["expected_version"]) == ("8", "2")
    assert browser.post(change_url(row), again).status_code == 302
    assert selectors.breaker("data_service").failure_threshold == 8


def test_an_edit_that_lost_after_the_forms_check_is_not_saved(
    create: Create, editor: User, admin_page, alice: Actor, rf
):
    row = create()
    data = fields_of(admin_page(editor).get(change_url(row)).content.decode())
    form = BreakerConfigForm({**data, "name": row.name, "failure_threshold": "8"}, instance=row)
    assert form.is_valid()
    config = CircuitBreakerConfig(success_threshold=9)
    services.breaker_edit(name="data_service", config=config, http=HttpConfig(), reason="", by=alice)
    request = rf.post("/")
    request.user = editor
    with pytest.raises(VersionConflict):
        site._registry[BreakerConfig].save_model(request, row, form, True)
    assert selectors.breaker("data_service").failure_threshold == 5


def test_an_edit_without_the_version_that_was_seen_is_refused(create: Create, editor: User, admin_page):
    row, browser = create(), admin_page(editor)
    form = fields_of(browser.get(change_url(row)).content.decode())
    del form["expected_version"]
    assert browser.post(change_url(row), {**form, "failure_threshold": "8"}).status_code == 200
    assert selectors.breaker("data_service").failure_threshold == 5


def test_a_breaker_that_is_deleted_under_the_form_is_told(create: Create, editor: User, admin_page, alice: Actor):
    row, browser = create(), admin_page(editor)
    form = fields_of(browser.get(change_url(row)).content.decode())
    services.breaker_delete(name="data_service", reason="", by=alice)
    answer = browser.post(change_url(row), form, follow=True)
    assert "Perhaps it was deleted" in answer.content.decode()


def test_the_name_cannot_be_edited(create: Create, editor: User, admin_page):
    edit(admin_page(editor), create(), name="other", failure_threshold="8")
    assert selectors.breaker("data_service").failure_threshold == 8


def test_unwise_values_are_saved_and_told_in_words(create: Create, editor: User, admin_page):
    row, browser = create(), admin_page(editor)
    edit(browser, row, failure_threshold="0", recovery_timeout="1")
    page = browser.get(LIST).content.decode()
    assert "this breaker never opens" in page
    assert "A wait of 1 s means a probe every second from each instance" in page


# --- create and delete ------------------------------------------------------------------------------------------


def test_a_breaker_is_created_through_the_service(editor: User, admin_page):
    browser, add = admin_page(editor), reverse("admin:breakers_breakerconfig_add")
    form = fields_of(browser.get(add).content.decode())
    assert form["failure_threshold"] == "5"
    answer = browser.post(add, {**form, "name": "new", "group": "core", "reason": "first"})
    assert answer.status_code == 302
    row = selectors.breaker("new")
    assert (row.version, row.managed, row.group) == (1, True, "core")
    change = ConfigChange.objects.get()
    assert (change.kind, change.actor, change.reason) == ("created", "user:edith", "first")


def test_a_wrong_or_taken_name_is_told_at_the_field(create: Create, editor: User, admin_page):
    create("taken")
    browser, add = admin_page(editor), reverse("admin:breakers_breakerconfig_add")
    form = fields_of(browser.get(add).content.decode())
    for name in ("taken", "reset-all", "not a name"):
        answer = browser.post(add, {**form, "name": name})
        assert set(answer.context["adminform"].form.errors) == {"name"}
    assert selectors.current_revision() == 1


def test_a_breaker_is_deleted_through_the_service(create: Create, editor: User, admin_page):
    row = create()
    url = reverse("admin:breakers_breakerconfig_delete", args=[row.pk])
    browser = admin_page(editor)
    assert 'name="reason"' in browser.get(url).content.decode()
    browser.post(url, {"post": "yes", "reason": "retired"})
    change = ConfigChange.objects.get(kind="deleted")
    assert (change.actor, change.reason) == ("user:edith", "retired")
    assert not BreakerConfig.objects.exists()


def test_deleting_several_writes_an_audit_row_each(create: Create, editor: User, admin_page):
    rows = [create("a"), create("b")]
    data = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    admin_page(editor).post(LIST, data)
    assert not BreakerConfig.objects.exists()
    assert list(ConfigChange.objects.filter(kind="deleted").order_by("breaker").values_list("breaker", flat=True)) == [
        "a",
        "b",
    ]


# --- actions ----------------------------------------------------------------------------------------------------


def act(browser: Client, action: str, *rows: BreakerConfig, **more: object):
    return browser.post(LIST, {"action": action, "_selected_action": [row.pk for row in rows], **more})


def test_the_reset_action_commands_each_ticked_breaker(create: Create, operator: User, admin_page):
    a, b, _ = create("a"), create("b"), create("c")
    act(admin_page(operator), "reset", a, b, reason="fixed")
    resets = ConfigChange.objects.filter(kind="reset").order_by("breaker")
    assert [(c.breaker, c.actor, c.reason) for c in resets] == [
        ("a", "user:olivia", "fixed"),
        ("b", "user:olivia", "fixed"),
    ]
    assert [reset.name for reset in selectors.desired_state().resets] == ["a", "b"]


def test_force_open_asks_first_and_then_forces(create: Create, operator: User, admin_page):
    row, browser = create(), admin_page(operator)
    page = act(browser, "force_open", row, reason="INC-2").content.decode()
    form = fields_of(page)
    assert (form["reason"], form["hours"]) == ("INC-2", "1")
    assert selectors.breaker("data_service").override == ""
    before = timezone.now()
    assert browser.post(LIST, form).status_code == 302
    stands = selectors.breaker("data_service")
    assert (stands.override, stands.override_reason, stands.override_by) == ("forced_open", "INC-2", "user:olivia")
    assert timedelta(hours=1) <= stands.override_expires_at - before < timedelta(hours=1, minutes=1)


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"hours": "0"}, {"hours": "nan"}, {"hours": "1e9"}])
def test_force_open_without_reason_or_end_asks_again(create: Create, operator: User, admin_page, wrong: dict[str, str]):
    row = create()
    given = {"forced": "yes", "reason": "INC-2", "hours": "1", **wrong}
    assert act(admin_page(operator), "force_open", row, **given).status_code == 200
    assert selectors.breaker("data_service").override == ""


def test_the_release_action_lifts_overrides(create: Create, operator: User, admin_page, alice: Actor):
    a, b = create("a"), create("b")
    services.override_set(name="a", override=Override.FORCED_CLOSED, reason="", expires_at=None, by=alice)
    browser = admin_page(operator)
    act(browser, "release", a, b, reason="over")
    assert "1 breaker released." in browser.get(LIST).content.decode()
    assert selectors.breaker("a").override == ""
    change = ConfigChange.objects.get(kind="override_released")
    assert (change.breaker, change.actor, change.reason) == ("a", "user:olivia", "over")


def test_force_open_of_most_of_a_group_is_asked_once_more(create: Create, operator: User, admin_page):
    a, b, _ = create("a", group="core"), create("b", group="core"), create("c", group="core")
    browser, given = admin_page(operator), {"forced": "yes", "reason": "INC-2", "hours": "1"}
    page = act(browser, "force_open", a, b, **given).content.decode()
    assert "Then 2 of the 3 breakers of the group core reject every call" in page
    assert re.search(r'<input type="checkbox" name="confirm"', page)
    assert not BreakerConfig.objects.exclude(override="").exists()
    assert act(browser, "force_open", a, b, **given, confirm="on").status_code == 302
    assert BreakerConfig.objects.filter(override="forced_open").count() == 2


def test_force_closed_takes_the_name_a_reason_and_an_end_within_four_hours(create: Create, operator: User, admin_page):
    row, other = create(), create("b")
    browser, given = admin_page(operator), {"forced": "yes", "reason": "INC-2", "hours": "4", "typed": "data_service"}
    assert "Type the name of the breaker" in act(browser, "force_closed", row).content.decode()
    for wrong in ({"typed": ""}, {"typed": "b"}, {"reason": ""}, {"hours": "4.1"}, {"hours": "0"}):
        assert act(browser, "force_closed", row, **{**given, **wrong}).status_code == 200
    assert act(browser, "force_closed", row, other, **given).status_code == 200, "they are two"
    assert not BreakerConfig.objects.exclude(override="").exists()
    assert act(browser, "force_closed", row, **given).status_code == 302
    stands = selectors.breaker("data_service")
    assert (stands.override, stands.override_reason, stands.override_by) == ("forced_closed", "INC-2", "user:olivia")
    assert act(browser, "force_closed", row, other, **{**given, "typed": "2"}).status_code == 302
    assert BreakerConfig.objects.filter(override="forced_closed").count() == 2


# --- copies and versions ----------------------------------------------------------------------------------------


def test_a_config_is_copied_to_others_and_to_a_new_one(create: Create, editor: User, admin_page):
    row, _, _ = create(failure_threshold=9), create("b"), create("c")
    browser = admin_page(editor)
    page = act(browser, "copy_config", row).content.decode()
    assert "Copy the config of data_service, version 1" in page
    assert 'value="1 b"' in page
    answer = act(browser, "copy_config", row, forced="yes", to=["1 b", "1 c"], new="d", reason="alike")
    assert answer.status_code == 302
    found = {row.name: (row.failure_threshold, row.version) for row in BreakerConfig.objects.all()}
    assert found == {"data_service": (9, 1), "b": (9, 2), "c": (9, 2), "d": (9, 1)}
    assert set(ConfigChange.objects.filter(reason="alike").values_list("breaker", "actor")) == {
        ("b", "user:edith"), ("c", "user:edith"), ("d", "user:edith"),
    }  # fmt: skip


def test_a_copy_that_lost_a_race_changes_nothing_anywhere(create: Create, editor: User, admin_page, alice: Actor):
    row, _, _ = create(failure_threshold=9), create("b"), create("c")
    config = CircuitBreakerConfig(success_threshold=9)
    browser = admin_page(editor)
    act(browser, "copy_config", row)
    services.breaker_edit(name="c", config=config, http=HttpConfig(), reason="", by=alice)
    answer = act(browser, "copy_config", row, forced="yes", to=["1 b", "1 c"])
    assert answer.status_code == 200
    assert not answer.context["form"].is_valid()
    assert {row.name: row.failure_threshold for row in BreakerConfig.objects.all()} == {
        "data_service": 9,
        "b": 5,
        "c": 5,
    }


@pytest.mark.parametrize(
    "wrong", [{}, {"new": "a b"}, {"new": "b"}, {"new": "reset-all"}, {"to": ["1 data_service"]}, {"to": ["nonsense"]}]
)
def test_a_copy_to_nowhere_asks_again(create: Create, editor: User, admin_page, wrong: dict[str, object]):
    row, _ = create(failure_threshold=9), create("b")
    assert act(admin_page(editor), "copy_config", row, forced="yes", **wrong).status_code == 200
    assert BreakerConfig.objects.count() == 2
    assert selectors.current_revision() == 2


def test_a_copy_is_of_one(create: Create, editor: User, admin_page):
    a, b = create("a"), create("b")
    browser = admin_page(editor)
    assert act(browser, "copy_config", a, b).status_code == 302
    assert "Tick the one breaker" in browser.get(LIST).content.decode()


def test_an_older_version_is_restored_by_its_button(create: Create, editor: User, admin_page):
    row, browser = create(failure_threshold=7), admin_page(editor)
    edit(browser, row, failure_threshold="8")
    page = browser.get(change_url(row)).content.decode()
    assert "failure_threshold: 7 → 8" in page
    buttons = re.findall(r'<button class="button" form="restore" name="version" value="(\d+)">', page)
    assert buttons == ["1"], "the one in force has no button"
    url = re.search(r'id="restore" action="([^"]+)"', page)[1]
    answer = browser.post(url, {"version": "1", "expected_version": "2", "reason": "calmer"}, follow=True)
    assert "Version 1 is in force again, as version 3." in answer.content.decode()
    assert selectors.breaker("data_service").failure_threshold == 7
    change = ConfigChange.objects.latest("revision")
    assert (change.actor, change.reason, change.version) == ("user:edith", "calmer", 3)


def test_a_restore_that_lost_a_race_or_makes_no_sense_changes_nothing(create: Create, editor: User, admin_page):
    row, browser = create(failure_threshold=7), admin_page(editor)
    edit(browser, row, failure_threshold="8")
    url = change_url(row).replace("change/", "restore/")
    lost = browser.post(url, {"version": "1", "expected_version": "1"}, follow=True).content.decode()
    assert "Nothing was restored" in lost
    assert "its version is now 2" in lost
    assert (
        "never had a version 9"
        in browser.post(url, {"version": "9", "expected_version": "2"}, follow=True).content.decode()
    )
    for nonsense in ({}, {"version": "x", "expected_version": "2"}, {"version": "1"}):
        assert browser.post(url, nonsense).status_code == 400
    assert browser.get(url).status_code == 404
    assert selectors.breaker("data_service").version == 2


def test_who_may_not_edit_neither_restores_nor_copies(create: Create, operator: User, admin_page):
    row, browser = create(), admin_page(operator)
    assert 'form="restore"' not in browser.get(change_url(row)).content.decode()
    url = change_url(row).replace("change/", "restore/")
    assert browser.post(url, {"version": "1", "expected_version": "1"}).status_code == 403
    act(browser, "copy_config", row, forced="yes", new="d")
    assert BreakerConfig.objects.count() == 1


def test_advice_stands_above_the_form_also_of_one_that_was_refused(create: Create, editor: User, admin_page):
    row, browser = create(recovery_timeout=1.0), admin_page(editor)
    assert "A wait of 1 s means a probe every second" in browser.get(change_url(row)).content.decode()
    answer = edit(browser, row, window_size="10")  # fewer than minimum_calls
    assert "must be at most window_size" in unescape(answer.content.decode())


# --- who may ----------------------------------------------------------------------------------------------------


def test_a_viewer_reads_and_changes_nothing(create: Create, viewer: User, admin_page):
    row, browser = create(), admin_page(viewer)
    assert "data_service" in browser.get(LIST).content.decode()
    page = browser.get(change_url(row)).content.decode()
    assert "Last transitions" in page
    assert 'name="failure_threshold"' not in page
    assert browser.post(change_url(row), {"failure_threshold": "8"}).status_code == 403
    for action in ("reset", "force_open", "force_closed", "release", "copy_config", "delete_selected"):
        act(browser, action, row, forced="yes", reason="x", hours="1", post="yes", typed="data_service", new="new")
    assert selectors.current_revision() == 1


def test_an_operator_acts_and_edits_nothing(create: Create, operator: User, admin_page):
    row, browser = create(), admin_page(operator)
    assert browser.post(change_url(row), {"failure_threshold": "8"}).status_code == 403
    assert (
        browser.post(reverse("admin:breakers_breakerconfig_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )
    act(browser, "reset", row)
    assert selectors.current_revision() == 2


def test_a_stranger_is_sent_to_the_door(create: Create, stranger: User, admin_page):
    create()
    assert admin_page(stranger).get(LIST).status_code == 302


# --- what is shown ----------------------------------------------------------------------------------------------


def test_the_list_tells_state_limits_override_and_who_changed_it(
    create: Create, editor: User, admin_page, alice: Actor
):
    create(failure_rate_threshold=0.5)
    services.override_set(name="data_service", override=Override.FORCED_OPEN, reason="", expires_at=None, by=alice)
    page = admin_page(editor).get(LIST).content.decode()
    assert 'data-state="closed">Closed<' in page
    assert "5 in a row, 50% failed" in page
    assert "until released" in page
    assert "user:alice" in page
    assert '"/dashboard/breakers/data_service"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=quo", {"quotes"}),
        ("forced=forced_open", {"bank"}),
        ("forced=none", {"quotes"}),
        ("state=closed", {"bank", "quotes"}),
        ("state=open", set()),
        ("group__exact=core", {"bank"}),
    ],
)
def test_the_list_is_searched_and_filtered(
    create: Create, viewer: User, admin_page, alice: Actor, query: str, found: set[str]
):
    create("bank", group="core")
    create("quotes")
    services.override_set(name="bank", override=Override.FORCED_OPEN, reason="", expires_at=None, by=alice)
    answer = admin_page(viewer).get(f"{LIST}?{query}")
    assert {row.name for row in answer.context["cl"].result_list} == found


def test_the_page_of_a_breaker_shows_its_history_and_its_audit(
    create: Create, viewer: User, admin_page, identity, transition
):
    row = create()
    services.transitions_record(batch=[(identity(), transition(1))])
    page = admin_page(viewer).get(change_url(row)).content.decode()
    assert "5 consecutive failures, last: OSError" in page
    assert "trading_service" in page
    assert "user:alice" in page


def test_an_expired_override_is_none(create: Create, viewer: User, admin_page, alice: Actor):
    create()
    until = timezone.now() + timedelta(hours=1)
    services.override_set(name="data_service", override=Override.FORCED_OPEN, reason="", expires_at=until, by=alice)
    browser = admin_page(viewer)
    assert browser.get(f"{LIST}?forced=forced_open").context["cl"].result_count == 1
    BreakerConfig.objects.update(override_expires_at=timezone.now())
    assert browser.get(f"{LIST}?forced=forced_open").context["cl"].result_count == 0
    assert browser.get(f"{LIST}?forced=none").context["cl"].result_count == 1


@pytest.mark.parametrize(
    "model", ["breakerconfig", "statechange", "configchange", "instance", "apikey", "notificationrule", "delivery"]
)
def test_every_list_opens_under_the_strict_policy(
    create: Create, admin_user: User, admin_page, identity, transition, model: str
):
    create()
    services.transitions_record(batch=[(identity(), transition(1))])
    answer = admin_page(admin_user).get(reverse(f"admin:breakers_{model}_changelist"))
    assert answer.status_code == 200
    assert "style-src 'self'" in answer["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*(src=|type=\"application/json\"))|\sstyle=|\son\w+=", answer.content.decode())


@pytest.mark.parametrize("model", ["statechange", "configchange", "instance", "delivery"])
def test_history_audit_and_instances_are_read_only_even_for_a_superuser(admin_user: User, admin_page, model: str):
    browser = admin_page(admin_user)
    assert browser.get(reverse(f"admin:breakers_{model}_add")).status_code == 403
    assert "delete_selected" not in browser.get(reverse(f"admin:breakers_{model}_changelist")).content.decode()


# --- keys -------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_stored_nowhere(admin_user: User, admin_page):
    browser, add = admin_page(admin_user), reverse("admin:breakers_apikey_add")
    answer = browser.post(add, {"name": "deploy", "scopes": ["read", "operate"]})
    secret = re.search(r'id="secret">([^<]+)<', answer.content.decode())[1]
    assert "no-store" in answer["Cache-Control"]
    assert authenticate_key(secret).name == "deploy"
    key = ApiKey.objects.get()
    assert (key.scopes, key.created_by) == (["read", "operate"], "user:admin")
    assert not any(secret in str(value) for value in ApiKey.objects.values().get().values())
    assert secret not in str(answer.cookies)
    page = browser.get(reverse("admin:breakers_apikey_changelist")).content.decode()
    assert secret not in page
    assert key.prefix in page


@pytest.mark.parametrize("wrong", [{"name": "taken"}, {"scopes": ["root"]}, {"scopes": []}, {"name": "a\tb"}])
def test_a_wrong_key_is_told_at_the_field(
    admin_user: User, admin_page, key: Callable[..., str], wrong: dict[str, object]
):
    key("read", name="taken")
    given = {"name": "deploy", "scopes": ["read"], **wrong}
    answer = admin_page(admin_user).post(reverse("admin:breakers_apikey_add"), given)
    assert set(answer.context["adminform"].form.errors) == set(wrong)


def test_a_key_is_revoked_and_neither_edited_nor_deleted(admin_user: User, admin_page, key: Callable[..., str]):
    secret, browser = key("read", name="deploy"), admin_page(admin_user)
    row = ApiKey.objects.get()
    assert browser.post(reverse("admin:breakers_apikey_change", args=[row.pk]), {"name": "x"}).status_code == 403
    assert browser.post(reverse("admin:breakers_apikey_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    url = reverse("admin:breakers_apikey_changelist")
    browser.post(url, {"action": "revoke", "_selected_action": [row.pk]})
    assert authenticate_key(secret) is None
    assert "by user:admin" in browser.get(url).content.decode()


def test_keys_are_no_business_of_an_editor(editor: User, admin_page):
    assert admin_page(editor).get(reverse("admin:breakers_apikey_changelist")).status_code == 403
