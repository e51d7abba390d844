"""Notifications when things go wrong: targets that hang or lie, ends before beginnings, a thousand at once, secrets."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from breakers import services
from breakers.models import Delivery, FiringAlert, Notice, NotificationRule
from breakers.notifications import sending
from breakers.notifications.couriers import Couriers
from breakers.notifications.messages import Outgoing
from breakers.notifications.sending import address_problem, send
from tests.receiver import Mailbox, Receiver
from tests.servers import ServerProcess, eventually
from tests.store.test_store_notifications import ALERT, NOW, Save, at, firing, outgoing, receiver, rule

__all__ = ["firing", "receiver", "rule"]  # fixtures

pytestmark = pytest.mark.django_db
SECRET = "T0KENSECRET"
READY = replace(ALERT, level="warning", kind="ready_to_probe", message="Ready to probe, waiting for a call")


# --- rules that change meanwhile --------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{"levels": ["warning"]}, {"groups": ["edge"]}])
def test_what_a_rule_no_longer_wants_is_not_told_as_over(rule: Save, values: dict[str, Any]):
    saved = rule(after=0.0, quiet=0.0)
    assert at(0, ALERT) == ["firing"]
    NotificationRule.objects.filter(pk=saved.pk).update(**values)
    assert [at(10, ALERT), at(20), at(30)] == [[], [], []]
    assert not Notice.objects.exists()


def test_the_end_of_one_kind_says_what_still_fires(rule: Save):
    rule(after=0.0, quiet=0.0)
    at(0, ALERT)
    assert at(10, READY, replace(ALERT, name="other")) == ["resolved", "firing"]
    over = Delivery.objects.get(event="resolved")
    assert over.message["still"] == ["Ready to probe, waiting for a call"]
    assert "Still: Ready to probe, waiting for a call" in Outgoing.of(over).body


def test_what_no_database_can_hold_keeps_nobody_from_being_told(rule: Save):
    """PostgreSQL's JSON has no NUL, and no text half a character: services may tell both."""
    rule(after=0.0)
    assert at(0, replace(ALERT, message="a\x00b", cause="c\ud800d")) == ["firing"]
    told = json.dumps([Delivery.objects.get().message, Notice.objects.get().facts])
    assert "u0000" not in told
    assert "ud800" not in told
    assert '"a' in told


# --- many at once -----------------------------------------------------------------------------------------------


def storm(number: int) -> list[FiringAlert]:
    found = [replace(ALERT, name=f"breaker-{place:04}", since=NOW) for place in range(number)]
    found[-1] = replace(found[-1], level="warning", kind="flapping")
    return found


def test_a_thousand_alerts_at_once_are_one_message_and_their_end_another(rule: Save, django_assert_max_num_queries):
    rule(after=0.0, quiet=0.0, levels=["error", "warning"])
    with django_assert_max_num_queries(30):
        assert at(0, *storm(1000)) == ["firing"]
    assert at(5, *storm(1000)) == []
    with django_assert_max_num_queries(40):
        assert at(10) == ["resolved"]
    told, over = (Outgoing.of(Delivery.objects.get(event=event)) for event in ("firing", "resolved"))
    assert told.title == "[local] 1000 alerts: 999 open, 1 flapping"
    assert over.title == "[local] Over: 1000 alerts: 999 open, 1 flapping"
    lines = told.body.splitlines()
    assert lines[0] == "breaker-0000: Open on 3 of 4 instances"
    assert (len(lines), lines[20]) == (23, "and 980 more")
    assert [told.message[key] for key in ("level", "kind", "link")] == ["error", "digest", "/dashboard/alerts"]
    assert len(told.message["alerts"]) == 1000
    assert told.message["alerts"][0]["link"] == ALERT.link
    assert not Notice.objects.exists()


def test_ten_are_ten(rule: Save):
    rule(after=0.0)
    assert at(0, *storm(10)) == ["firing"] * 9
    rule("both", after=0.0, levels=["error", "warning"])
    assert at(1, *storm(10)) == ["firing"] * 10


# --- in order ---------------------------------------------------------------------------------------------------


def due(seconds: float = 0) -> list[tuple[str, str]]:
    return [(d.event, d.kind) for d in services.deliveries_due(now=NOW + timedelta(seconds=seconds), most=99)]


def fail(delivery: Delivery) -> None:
    services.delivery_settle(delivery=delivery.pk, problem="answered 500", now=NOW)


def test_nobody_hears_an_end_before_its_beginning(rule: Save):
    rule(after=0.0, quiet=0.0)
    at(0, ALERT)
    fail(Delivery.objects.get())
    at(1)
    at(2, replace(ALERT, name="other"))
    assert due(3) == [("firing", "open")], "of another breaker"
    assert due(6) == [("firing", "open"), ("firing", "open")]
    first = Delivery.objects.get(breaker="bank-api", event="firing")
    services.delivery_settle(delivery=first.pk, problem=None, now=NOW)
    assert due(6) == [("resolved", "open"), ("firing", "open")]


def test_a_message_about_many_keeps_its_place_and_other_rules_do_not_wait(rule: Save):
    rule(after=0.0, quiet=0.0, levels=["error", "warning"])
    at(0, *storm(20))
    fail(Delivery.objects.get())
    at(1, *storm(20), ALERT)
    assert due(2) == []
    rule("another", after=0.0)
    at(3, ALERT)
    assert due(4) == [("firing", "open")]
    Delivery.objects.filter(kind="digest").update(status="given_up")
    assert len(due(4)) > 1


def test_a_message_about_many_waits_for_what_is_older(rule: Save):
    rule(after=0.0, quiet=0.0, levels=["error", "warning"])
    at(0, ALERT)
    fail(Delivery.objects.get())
    at(1, ALERT, *storm(20))
    assert due(2) == []
    Delivery.objects.filter(kind="open").update(status="delivered")
    assert due(2) == [("firing", "digest")]


# --- targets that hang, or lie ----------------------------------------------------------------------------------


@pytest.fixture
def target() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """``target(act)``: the address of a server that does that with each connection, once it was asked something."""
    servers: list[socket.socket] = []

    def listen(act: Callable[[socket.socket], None]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    act(connection)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}"

    yield listen
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def say(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """A letter at a time, for as long as somebody listens."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        try:
            connection.sendall(b"x")
        except OSError:
            return
        time.sleep(0.01)  # its pace


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (say(b""), "closed without an answer"),
        (say(b"nonsense\r\n\r\n"), "failed: "),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\npart of it"), None),
        (hang, "no answer within 0.5 s"),
        (drip, "no answer within 0.5 s"),
    ],
    ids=["closes", "talks nonsense", "closes in the middle", "hangs", "drips"],
)
def test_a_target_that_does_not_behave_is_a_problem_and_never_an_end_of_all(
    rule: Save, target, act: Any, problem: str | None, monkeypatch
):
    if act in (hang, drip):  # the others end by themselves, as soon as the machine lets them
        monkeypatch.setattr(sending, "TIMEOUT", 0.5)
    found = send(outgoing(rule(address=target(act))))
    assert found is None if problem is None else str(found).startswith(problem)
    assert SECRET not in str(found)


def test_a_password_in_an_address_is_sent_as_one(rule: Save, receiver: Receiver):
    assert send(outgoing(rule(address=receiver.url.replace("http://", "http://user:pw@")))) is None
    assert receiver.got[0][1]["authorization"] == "Basic dXNlcjpwdw=="


def message(rule: int) -> Outgoing:
    return Outgoing(uuid4(), rule, "webhook", "", "", "firing", {})


@pytest.fixture
def hanging() -> Iterator[tuple[Callable[[Outgoing], None], threading.Event, list[Outgoing]]]:
    """A way to send on which rule 1 hangs until the event is set, and what was sent."""
    released, sent = threading.Event(), list[Outgoing]()

    def slow(message: Outgoing) -> None:
        sent.append(message)
        if message.rule == 1:
            released.wait(60)

    yield slow, released, sent
    released.set()


def test_one_that_hangs_holds_up_its_own_rule_and_nobody_waits_for_it(hanging):
    slow, released, sent = hanging
    couriers = Couriers(slow, patience=0.1, within=60.0)
    one, two, other = message(1), message(1), message(2)
    assert (other, None) in told_of(couriers, [one, two, other], until=other)
    assert told_of(couriers, [one, two, other], until=other) == [(other, None)], "its messages are under way, or wait"
    released.set()
    assert told_of(couriers, [one, two], until=two) == [(one, None), (two, None)]
    assert (sent.count(one), sent.count(two)) == (1, 1)


def test_one_that_hangs_for_ever_has_failed_and_its_rule_goes_on_when_it_ends(hanging):
    slow, released, sent = hanging
    couriers = Couriers(slow, patience=0.01, within=0.1)
    one, two = message(1), message(1)
    assert told_of(couriers, [one, two], until=one) == [(one, "no answer within 0.1 s")]
    assert list(couriers.deliver([one, two])) == [], "one thread at most waits for a target"
    released.set()
    assert told_of(couriers, [two], until=two) == [(two, None)]
    assert sent == [one, two], "what nobody would hear of is not sent"


def test_what_has_ended_between_two_rounds_is_told_and_not_sent_again(hanging):
    slow, released, sent = hanging
    couriers, one = Couriers(slow, patience=0.0, within=60.0), message(1)
    assert list(couriers.deliver([one])) == []
    released.set()
    eventually(lambda: not any(thread.name == "notify" for thread in threading.enumerate()))
    assert list(couriers.deliver([one])) == [(one, None)]
    assert sent == [one]


def told_of(couriers: Couriers, messages: list[Outgoing], *, until: Outgoing) -> list[tuple[Outgoing, str | None]]:
    """What rounds with these messages tell, up to the one that tells of ``until``."""
    told: list[tuple[Outgoing, str | None]] = []

    def is_told() -> bool:
        told.extend(couriers.deliver([each for each in messages if each not in [done for done, _ in told]]))
        return until in [done for done, _ in told]

    eventually(is_told)
    return told


def test_messages_of_one_rule_go_one_after_the_other_until_one_does_not_arrive():
    sent: list[Outgoing] = []

    def second_fails(message: Outgoing) -> str | None:
        sent.append(message)
        return "answered 500" if len(sent) == 2 else None

    one, two, three = message(1), message(1), message(1)
    assert list(Couriers(second_fails).deliver([one, two, three])) == [(one, None), (two, "answered 500")]
    assert sent == [one, two]


def test_who_takes_long_for_each_does_not_take_all_of_the_round():
    one, two = message(1), message(1)
    assert list(Couriers(lambda _: None, begin=0.0).deliver([one, two])) == []


# --- who died in the middle -------------------------------------------------------------------------------------

LOOK = """
import os
from django.utils import timezone
from breakers import services
from breakers.models import Delivery, Lease, NotificationRule
from breakers.notifications import couriers
from breakers.notifications.notifier import Notifier
couriers.PATIENCE = 60.0
now, by = timezone.now(), services.Actor("system")
rule = NotificationRule.objects.first() or NotificationRule(name="on-call", levels=["error"])
rule.address = "{url}/" + str(os.getpid())
services.notification_rule_save(rule=rule, by=by, now=now)
if not rule.delivery_set.exists():
    services.notification_test(rule=rule, by=by, now=now)
Lease.objects.all().delete()  # the dead one's, which would end by itself
standing = Delivery.objects.values_list("status", "attempts")
before = list(standing.all())
Notifier().look()
print(before, list(standing.all()))
"""


def test_who_is_killed_between_sending_and_recording_has_another_send_it_again_under_the_same_id(
    tmp_path: Path, receiver: Receiver
):
    """At least once; the id tells."""
    server = ServerProcess(tmp_path)
    server.prepare()
    receiver.then = lambda path: os.kill(int(path[1:]), signal.SIGKILL)
    with pytest.raises(AssertionError):
        server.python(LOOK.format(url=receiver.url))
    receiver.then = lambda path: None
    assert server.python(LOOK.format(url=receiver.url)).strip() == "[('pending', 0)] [('delivered', 1)]"
    ids = [headers["x-circuit-breaker-delivery"] for _, headers, _ in receiver.got]
    assert (len(ids), len(set(ids))) == (2, 1)


# --- words and secrets ------------------------------------------------------------------------------------------


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    server = Mailbox()
    yield server
    server.close()


def test_a_mail_says_it_in_any_language_and_nobody_writes_headers_or_lines_of_his_own(rule: Save, mailbox: Mailbox):
    address = f"mailto://{mailbox.address}?from=cb@example.com&to=ops@example.com&mode=insecure"
    said = {
        "message": "Öffnet\r\nBcc: eve@example.com\r\n\r\n日本 \x1b[1m\x00🔥",
        "cause": "no\nSee: https://evil <b>\u2028x",
    }
    assert send(outgoing(rule(channel="apprise", address=address), **said)) is None
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[local] bank-api: Öffnet Bcc: eve@example.com 日本 [1m 🔥"
    assert (mail["To"], mail["Bcc"]) == ("ops@example.com", None)
    assert mail.get_content_type() == "text/plain"
    lines = mail.get_content().splitlines()
    assert lines[0] == "Cause: no See: https://evil <b> x"
    assert [line for line in lines if line.startswith("See:")] == ["See: /dashboard/breakers/bank-api"]


def test_a_title_is_short(rule: Save):
    assert len(outgoing(rule(), message="x" * 5000).title) == 200


@pytest.mark.parametrize(
    "address",
    [
        f"slakc://{SECRET}/x",
        f"slack://{SECRET}",
        f"nonsense {SECRET}",
        f"tgram://{SECRET}/abc",
        f"jsons://user:{SECRET}@127.0.0.1:9/{SECRET}?k={SECRET}",
        f"json://127.0.0.1:9/{SECRET}",
        f"json://127.0.0.1:9/{SECRET}, json://127.0.0.1:9/{SECRET}",
    ],
)
def test_no_log_has_an_address_of_apprise_however_wrong_it_is(rule: Save, address: str, caplog):
    caplog.set_level(logging.DEBUG)
    address_problem("apprise", address)
    assert send(outgoing(rule(channel="apprise", address=address))) is not None
    assert SECRET not in caplog.text


def test_no_log_has_the_path_of_a_target(rule: Save, receiver: Receiver, caplog):
    caplog.set_level(logging.DEBUG)
    for status in (204, 500):
        receiver.status = status
        send(outgoing(rule(f"w{status}", address=f"{receiver.url}/{SECRET}")))
        apprise = receiver.url.replace("http:", "json:")
        send(outgoing(rule(f"a{status}", channel="apprise", address=f"{apprise}/{SECRET}")))
    assert len(receiver.got) == 4
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "address",
    ["http://[::1/", "http://a b/", "http://127.0.0.1:x/", "http://127.0.0.1:99999/", "http://a\t/", "http://a:0/"],
)
def test_an_address_that_cannot_be_read_is_told_at_the_field(admin_user: User, address: str):
    assert address_problem("webhook", address) == "must be an http or https address"
    client = Client()
    client.force_login(admin_user)
    given = {"name": "on-call", "levels": ["error"], "after": "5", "quiet": "60", "channel": "webhook"}
    answer = client.post("/admin/breakers/notificationrule/add/", {**given, "address": address})
    assert answer.status_code == 200
    assert not NotificationRule.objects.exists()
