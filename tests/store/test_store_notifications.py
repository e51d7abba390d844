"""Alerts told to people: when, how often, and that it arrives; against a real server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from breakers import services
from breakers.client.backoff import CEILING_WHEN_LONG_AWAY
from breakers.core.errors import ConfigError
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Report
from breakers.fleet import fleet
from breakers.models import (
    BreakerConfig,
    Delivery,
    FiringAlert,
    InstanceIdentity,
    InstanceRecord,
    Lease,
    Notice,
    NotificationRule,
)
from breakers.notifications.messages import Outgoing
from breakers.notifications.notifier import BLIND, Notifier
from breakers.notifications.sending import address_problem, send
from breakers.services import Actor
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ALERT = FiringAlert(
    "error", "bank-api", "core", "open", "Open on 3 of 4 instances", "5 failures", None, "/dashboard/breakers/bank-api"
)
Save = Callable[..., NotificationRule]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def rule(alice: Actor) -> Save:
    def save(name: str = "on-call", **values: Any) -> NotificationRule:
        given = {"levels": ["error"], "groups": [], "after": 30.0, "quiet": 60.0, "address": "http://127.0.0.1:9/hook"}
        return services.notification_rule_save(
            rule=NotificationRule(name=name, **{**given, **values}), by=alice, now=NOW
        )

    return save


def at(seconds: float, *alerts: FiringAlert) -> list[str]:
    """The events of the messages that follow from these alerts, so many seconds after noon."""
    told = services.notices_advance(alerts=alerts, now=NOW + timedelta(seconds=seconds))
    return [delivery.event for delivery in told]


# --- when -------------------------------------------------------------------------------------------------------


def test_an_alert_is_told_once_it_has_fired_for_so_long_and_then_not_again(rule: Save):
    rule(after=30.0)
    assert [at(seconds, ALERT) for seconds in (0, 15, 29.9, 30, 31, 5000)] == [[], [], [], ["firing"], [], []]


def test_an_alert_that_is_older_than_we_are_is_told_at_once(rule: Save):
    rule(after=30.0)
    assert at(0, replace(ALERT, since=NOW - timedelta(minutes=5))) == ["firing"]


def test_an_alert_of_the_future_is_not_waited_for_longer(rule: Save):
    rule(after=30.0)
    ahead = replace(ALERT, since=NOW + timedelta(hours=1))
    assert [at(0, ahead), at(30, ahead)] == [[], ["firing"]]


def test_what_passes_by_itself_is_never_told(rule: Save):
    rule(after=30.0)
    assert [at(0, ALERT), at(20), at(25, ALERT), at(54, ALERT)] == [[], [], [], []]
    assert at(55, ALERT) == ["firing"]


def test_its_end_is_told_once_it_was_quiet_for_so_long(rule: Save):
    rule(after=0.0, quiet=60.0)
    assert [at(0, ALERT), at(100), at(159), at(160), at(161)] == [["firing"], [], [], ["resolved"], []]
    assert not Notice.objects.exists()
    assert at(170, ALERT) == ["firing"], "a new one, after the old one's end"


def test_flapping_is_one_message_and_one_end_that_counts_it(rule: Save):
    rule(after=0.0, quiet=60.0)
    told = [at(0, ALERT)]
    for seconds in range(10, 210, 20):
        told += [at(seconds), at(seconds + 10, ALERT)]
    assert told == [["firing"]] + 20 * [[]]
    at(210)
    assert at(270) == ["resolved"]
    assert Delivery.objects.get(event="resolved").message["returns"] == 10


def test_whoever_does_not_want_to_know_of_the_end_is_not_told(rule: Save):
    rule(after=0.0, quiet=0.0, tell_resolved=False)
    assert [at(0, ALERT), at(10)] == [["firing"], []]
    assert not Notice.objects.exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, True),
        ({"levels": ["warning"]}, False),
        ({"levels": ["warning", "error"]}, True),
        ({"groups": ["core"]}, True),
        ({"groups": ["edge"]}, False),
        ({"groups": ["edge", "core"]}, True),
        ({"enabled": False}, False),
    ],
)
def test_a_rule_is_told_of_its_groups_and_levels(rule: Save, values, told):
    rule(after=0.0, **values)
    assert at(0, ALERT) == (["firing"] if told else [])


def test_each_rule_and_each_alert_is_told_by_itself(rule: Save):
    rule("a", after=0.0)
    rule("b", after=0.0)
    assert at(0, ALERT, replace(ALERT, name="kyc"), replace(ALERT, kind="flapping")) == ["firing"] * 6
    assert at(1, ALERT) == []


def test_a_rule_that_is_switched_off_forgets_what_it_told(rule: Save):
    saved = rule(after=0.0, quiet=0.0)
    at(0, ALERT)
    NotificationRule.objects.filter(pk=saved.pk).update(enabled=False)
    assert at(10) == []
    assert not Notice.objects.exists()


def test_rounds_without_news_write_nothing(rule: Save, django_assert_num_queries):
    rule(after=0.0)
    at(0, ALERT)
    with django_assert_num_queries(4):  # two, in a transaction
        at(10, ALERT)


# --- how --------------------------------------------------------------------------------------------------------


def outgoing(rule: NotificationRule, event: str = "firing", **facts: Any) -> Outgoing:
    message = {**ALERT.facts(), "event": event, "rule": rule.name, **facts}
    return Outgoing.of(Delivery.objects.create(rule=rule, event=event, message=message))


def test_a_webhook_gets_the_facts_signed(rule: Save, receiver: Receiver, settings):
    settings.CIRCUIT_BREAKER_PUBLIC_URL = "https://breakers.example/"
    settings.CIRCUIT_BREAKER_ENVIRONMENT = "prod"
    message = outgoing(rule(address=f"{receiver.url}/hook?token=t", signing_secret="s3cret"))
    assert send(message) is None
    ((path, headers, body),) = receiver.got
    assert path == "/hook?token=t"
    assert headers["content-type"] == "application/json"
    assert headers["x-circuit-breaker-event"] == "firing"
    assert headers["x-circuit-breaker-delivery"] == str(message.id)
    assert headers["x-circuit-breaker-signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["name"], told["group"], told["kind"], told["level"]) == ("bank-api", "core", "open", "error")
    assert (told["cause"], told["environment"], told["rule"]) == ("5 failures", "prod", "on-call")
    assert told["link"] == "https://breakers.example/dashboard/breakers/bank-api"


def test_without_a_secret_nothing_is_signed(rule: Save, receiver: Receiver):
    assert send(outgoing(rule(address=receiver.url))) is None
    assert "x-circuit-breaker-signature" not in receiver.got[0][1]


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_a_webhook_that_does_not_take_it_is_a_problem(rule: Save, receiver: Receiver, status: int):
    receiver.status = status
    assert send(outgoing(rule(address=f"{receiver.url}/s3cret"))) == f"answered {status}"
    assert len(receiver.got) == 1, "what was signed for one address goes to no other"


def test_a_webhook_that_is_not_there_is_a_problem_without_its_address(rule: Save):
    problem = send(outgoing(rule(address="http://127.0.0.1:9/s3cret")))
    assert problem is not None
    assert problem.startswith("not reached")
    assert "s3cret" not in problem


def test_apprise_gets_a_title_and_a_text(rule: Save, receiver: Receiver, settings):
    settings.CIRCUIT_BREAKER_ENVIRONMENT = "prod"
    receiver.status = 200
    saved = rule(channel="apprise", address=receiver.url.replace("http:", "json:") + "/hook")
    assert send(outgoing(saved)) is None
    assert send(outgoing(saved, "resolved", returns=3)) is None
    firing, resolved = receiver.messages
    assert (firing["title"], firing["type"]) == ("[prod] bank-api: Open on 3 of 4 instances", "failure")
    assert "Cause: 5 failures" in firing["message"]
    assert (resolved["title"], resolved["type"]) == ("[prod] Over: bank-api: Open on 3 of 4 instances", "success")
    assert "Came again: 3 times" in resolved["message"]


def test_apprise_that_does_not_deliver_is_a_problem(rule: Save, receiver: Receiver):
    receiver.status = 500
    saved = rule(channel="apprise", address=receiver.url.replace("http:", "json:"))
    assert "apprise did not deliver it" in str(send(outgoing(saved)))
    saved.address = "nonsense"
    assert send(outgoing(saved)) == "apprise does not know this address"


@pytest.mark.parametrize(
    ("channel", "address", "fine"),
    [
        ("webhook", "https://example.com/x", True),
        ("webhook", "http://127.0.0.1:8080", True),
        ("webhook", "file:///etc/passwd", False),
        ("webhook", "ftp://example.com", False),
        ("webhook", "https://", False),
        ("webhook", "json://localhost", False),
        ("apprise", "json://localhost/x", True),
        ("apprise", "nonsense", False),
        ("apprise", "", False),
    ],
)
def test_only_addresses_that_can_be_are_taken(channel, address, fine):
    assert (address_problem(channel, address) is None) is fine


# --- that it arrives --------------------------------------------------------------------------------------------


@pytest.fixture
def firing(create: Callable[..., BreakerConfig]) -> None:
    """An instance whose breaker has been open for an hour."""
    create("bank-api", group="core")
    now = timezone.now()
    identity = InstanceIdentity(uuid4(), "s", "h", 1, "0", now)
    fleet.synchronise()
    fleet.connect(identity, now)
    status = BreakerStatus("bank-api", CircuitBreakerState.OPEN, state_age=3600.0)
    fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, (status,)), now)


def due_now() -> None:
    """The time until the next attempt has passed."""
    Delivery.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def test_an_alert_of_the_fleet_reaches_the_webhook_and_is_recorded(firing, rule: Save, receiver: Receiver):
    rule(address=receiver.url, after=0.0)
    notifier = Notifier()
    notifier.look()
    (told,) = receiver.messages
    assert (told["event"], told["name"], told["kind"], told["group"]) == ("firing", "bank-api", "open", "core")
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.problem) == ("delivered", 1, "")
    assert delivery.delivered_at is not None
    notifier.look()
    assert len(receiver.got) == 1


def test_what_does_not_arrive_is_tried_again_later_each_time_and_given_up(
    firing, rule: Save, receiver: Receiver, caplog
):
    rule(address=f"{receiver.url}/s3cret", after=0.0)
    receiver.status = 500
    notifier, waits = Notifier(), []
    notifier.look()
    while (delivery := Delivery.objects.get()).status == "pending":
        assert delivery.problem == "answered 500"
        before = len(receiver.got)
        notifier.look()
        assert len(receiver.got) == before, "not before its time"
        waits.append(round((delivery.due_at - timezone.now()).total_seconds() / 5))
        due_now()
        notifier.look()
    assert waits == [1, 2, 4, 8, 16, 32, 60]
    assert (delivery.status, delivery.attempts, len(receiver.got)) == ("given_up", 8, 8)
    assert len({headers["x-circuit-breaker-delivery"] for _, headers, _ in receiver.got}) == 1
    assert [r.levelno for r in caplog.records if r.name.startswith("breakers.notifications")] == [
        logging.WARNING, logging.ERROR,
    ]  # fmt: skip
    assert "s3cret" not in caplog.text


def test_a_target_that_comes_back_gets_what_it_missed(firing, rule: Save, receiver: Receiver):
    rule(address=receiver.url, after=0.0)
    receiver.status = 503
    notifier = Notifier()
    notifier.look()
    receiver.status = 200
    due_now()
    notifier.look()
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.problem) == ("delivered", 2, "")


# --- a server that has just started -----------------------------------------------------------------------------


@pytest.fixture
def restarted(create: Callable[..., BreakerConfig]) -> InstanceIdentity:
    """An instance that was linked to an earlier process, its breaker open; nobody has heard of it since."""
    create("bank-api", group="core")
    now = timezone.now()
    identity, ago = InstanceIdentity(uuid4(), "s", "h", 1, "0", now), now - timedelta(minutes=4)
    observed = {"bank-api": {"state": "open", "epoch": 1, "since": ago.isoformat()}}
    record = InstanceRecord(identity.id, "s", "h", 1, "0", ago, ago, ago, None, observed)
    services.instances_persist(rows=[record])
    return identity


def returns(identity: InstanceIdentity, state: CircuitBreakerState) -> None:
    now = timezone.now()
    fleet.connect(identity, now)
    status = BreakerStatus("bank-api", state, epoch=2)
    fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, (status,)), now)


def test_a_server_that_has_just_started_waits_for_those_who_were_there(
    restarted: InstanceIdentity, rule: Save, receiver: Receiver
):
    rule(address=receiver.url, after=0.0, quiet=0.0, levels=["error", "warning"])
    notifier = Notifier(lambda: 7.0)
    notifier.look()
    assert fleet.row("bank-api")["state"] == "open"
    assert receiver.got == [], "it may have closed while nobody listened"
    returns(restarted, CircuitBreakerState.CLOSED)
    notifier.look()
    assert receiver.got == []
    assert not Notice.objects.exists()


def test_what_was_told_before_the_restart_is_over_when_it_is_seen_to_be(
    restarted: InstanceIdentity, rule: Save, receiver: Receiver
):
    rule(address=receiver.url, after=0.0, quiet=0.0)
    returns(restarted, CircuitBreakerState.OPEN)
    before = Notifier()
    before.look()
    before.stop()
    fleet.clear()
    notifier = Notifier(lambda: 7.0)
    notifier.look()
    returns(restarted, CircuitBreakerState.CLOSED)
    notifier.look()
    notifier.look()
    assert [told["event"] for told in receiver.messages] == ["firing", "resolved"]


def test_who_does_not_come_back_is_waited_for_as_long_as_a_link_may_take_and_no_longer(
    restarted: InstanceIdentity, rule: Save, receiver: Receiver
):
    rule(address=receiver.url, after=0.0)
    now = 7.0
    notifier = Notifier(lambda: now)
    assert CEILING_WHEN_LONG_AWAY < BLIND
    now += BLIND - 0.1
    notifier.look()
    assert receiver.got == []
    now += 0.1
    notifier.look()
    assert [told["kind"] for told in receiver.messages] == ["open"]


def test_what_waits_to_be_sent_waits_for_nobody_to_come_back(
    restarted: InstanceIdentity, rule: Save, receiver: Receiver
):
    services.notification_test(rule=rule(address=receiver.url), by=Actor("system"), now=timezone.now())
    Notifier().look()
    assert [told["event"] for told in receiver.messages] == ["test"]


def test_only_one_of_several_processes_tells(firing, rule: Save, receiver: Receiver):
    rule(address=receiver.url, after=0.0)
    first, second = Notifier(), Notifier()
    first.look()
    rule("another", address=receiver.url, after=0.0)
    second.look()
    assert len(receiver.got) == 1
    first.stop()
    second.look()
    assert len(receiver.got) == 2
    Lease.objects.update(until=timezone.now() - timedelta(seconds=1))  # it died, and said nothing
    rule("a third", address=receiver.url, after=0.0)
    Notifier().look()
    assert len(receiver.got) == 3


def test_a_lease_is_of_one_until_its_end():
    def take(holder: str, seconds: float) -> bool:
        return services.lease_take(name="x", holder=holder, seconds=30, now=NOW + timedelta(seconds=seconds))

    assert [take("a", 0), take("b", 29), take("a", 29), take("b", 58.9), take("b", 59), take("a", 60)] == [
        True, False, True, False, True, False,
    ]  # fmt: skip
    services.lease_return(name="x", holder="a")
    assert not take("a", 61), "nobody returns what is another's"


def test_old_messages_go_and_those_on_their_way_stay(rule: Save):
    saved = rule()
    for status in ("pending", "delivered", "given_up"):
        Delivery.objects.create(rule=saved, event="test", message={}, status=status, created_at=NOW)
    assert services.deliveries_prune(before=NOW) == 0
    assert services.deliveries_prune(before=NOW + timedelta(seconds=1)) == 2
    assert Delivery.objects.get().status == "pending"


def test_a_message_whose_rule_is_gone_is_settled_without_a_word(rule: Save):
    saved = rule()
    delivery = services.notification_test(rule=saved, by=Actor("system"), now=NOW)
    services.notification_rule_delete(name=saved.name)
    assert services.delivery_settle(delivery=delivery.pk, problem=None, now=NOW) is None


# --- rules and secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"), [({"levels": []}, "levels"), ({"levels": ["x"]}, "levels"), ({"groups": [1]}, "groups")]
)
def test_a_rule_that_cannot_be_is_refused(rule: Save, values, field):
    with pytest.raises(ConfigError) as wrong:
        rule(**values)
    assert set(wrong.value.fields) == {field}


def test_no_text_of_a_rule_or_a_message_shows_where_it_goes(rule: Save):
    saved = rule(address="https://user:pw@hooks.example/services/T0KEN?k=v", signing_secret="s1gn")
    texts = [str(saved), repr(saved), saved.masked_address, repr(outgoing(saved))]
    texts.append(rule("b", channel="apprise", address="slack://T0KEN/pw").masked_address)
    for hidden in ("T0KEN", "pw", "s1gn", "k=v"):
        assert hidden not in " ".join(texts)
    assert saved.masked_address == "https://hooks.example/…"


def seen_by(client: Client, page: str) -> str:
    """The mark of what stands, as the form on the page sends it back."""
    found = re.search(r'name="seen" value="(\w+)"', client.get(page).content.decode())
    assert found is not None
    return found[1]


def test_the_admin_takes_a_rule_and_never_shows_its_address(admin_user: User, receiver: Receiver, alice: Actor):
    client = Client()
    client.force_login(admin_user)
    add = "/admin/breakers/notificationrule/add/"
    given = {"name": "on-call", "enabled": "on", "levels": ["error"], "groups": "core, edge", "after": "5",
             "quiet": "60", "channel": "webhook", "address": "file:///x", "signing_secret": "s1gn"}  # fmt: skip
    assert "must be an http or https address" in client.post(add, given).content.decode()
    answer = client.post(add, {**given, "address": f"{receiver.url}/T0KEN"})
    assert answer.status_code == 302
    saved = NotificationRule.objects.get()
    assert (saved.groups, saved.levels, saved.changed_by) == (["core", "edge"], ["error"], "user:admin")
    change = f"/admin/breakers/notificationrule/{saved.pk}/change/"
    for page in (change, "/admin/breakers/notificationrule/", f"/admin/breakers/notificationrule/{saved.pk}/history/"):
        text = client.get(page).content.decode()
        assert "T0KEN" not in text
        assert "s1gn" not in text
    given["seen"] = seen_by(client, change)
    answer = client.post(change, {**given, "address": "", "signing_secret": "", "after": "7"})
    assert answer.status_code == 302
    saved.refresh_from_db()
    assert (saved.after, saved.address, saved.signing_secret) == (7.0, f"{receiver.url}/T0KEN", "s1gn")
    given["seen"] = seen_by(client, change)
    wrong = client.post(change, {**given, "address": "", "channel": "apprise"})
    assert wrong.status_code == 302 or "no address that apprise knows" in wrong.content.decode()
    assert client.post(add, {**given, "name": "b", "address": ""}).status_code == 200, "an address is needed"
    client.post("/admin/breakers/notificationrule/", {"action": "test", "_selected_action": [saved.pk]})
    Notifier().look()
    assert "A test of the rule on-call, sent by user:admin" in receiver.messages[-1]["message"]
    assert "delivered" in client.get("/admin/breakers/delivery/").content.decode()
    client.post(f"/admin/breakers/notificationrule/{saved.pk}/delete/", {"post": "yes"})
    assert not NotificationRule.objects.exists()


def test_the_admin_removes_a_signing_secret_when_told_to_and_only_then(admin_user: User, rule: Save):
    client = Client()
    client.force_login(admin_user)
    saved = rule(signing_secret="s1gn")
    change = f"/admin/breakers/notificationrule/{saved.pk}/change/"
    given = {"name": saved.name, "enabled": "on", "levels": ["error"], "groups": "", "after": "5", "quiet": "60",
             "channel": "webhook", "address": "", "signing_secret": "", "seen": seen_by(client, change)}  # fmt: skip
    offered = '<input type="checkbox" name="unsign"'
    assert offered in client.get(change).content.decode()
    both = client.post(change, {**given, "signing_secret": "n3w", "unsign": "on"}).content.decode()
    assert "A secret is either given or removed." in both
    assert NotificationRule.objects.get().signing_secret == "s1gn"
    assert client.post(change, {**given, "unsign": "on"}).status_code == 302
    unsigned = NotificationRule.objects.get()
    assert (unsigned.signing_secret, unsigned.address) == ("", saved.address)
    assert offered not in client.get(change).content.decode(), "there is none"
    given["seen"] = seen_by(client, change)
    assert client.post(change, {**given, "signing_secret": "n3w"}).status_code == 302
    assert NotificationRule.objects.get().signing_secret == "n3w"


def test_rules_are_for_administrators(editor: User):
    client = Client()
    client.force_login(editor)
    assert client.get("/admin/breakers/notificationrule/").status_code == 403
