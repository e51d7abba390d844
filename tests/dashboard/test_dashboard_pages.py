"""The pages as they are served, and what their buttons do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from breakers import services
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import Report, TransitionReport, WindowCounts
from breakers.fleet import fleet
from breakers.models import ApiKey, ConfigChange, Instance, InstanceIdentity, StateChange
from breakers.services import Actor
from dashboard.recent import Recent

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON = {"Accept": "application/json"}
PAGES = ["", "/breakers/bank-api", "/alerts", "/events", "/instances", "/connect", "/reset-all"]
SignedIn = Callable[[User], Client]


@pytest.fixture
def fleet_of_two(breaker: Callable[..., None], instance: Callable[..., Any]) -> Any:
    """``bank-api`` open on one of two instances, ``calm`` closed."""
    breaker("bank-api", group="settlement", failure_rate_threshold=0.5)
    breaker("calm")
    first, second = instance("payments"), instance("payments")
    first.tell("bank-api", "open", failures=6, successes=4)
    second.tell("bank-api")
    second.tell("calm")
    report = TransitionReport(
        1, "bank-api", CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, "failure_rate",
        "60 % failed, limit 50 %, 10 calls", timezone.now().timestamp(),
    )  # fmt: skip
    services.transitions_record(batch=[(first.identity, report)])
    return first


@pytest.fixture
def look(viewer: User, signed_in: SignedIn) -> Callable[[str], str]:
    client = signed_in(viewer)

    def page(path: str) -> str:
        answer = client.get(f"/dashboard{path}", headers=HTML)
        assert answer.status_code == 200, path
        return answer.content.decode()

    return page


def row_of(page: str, name: str) -> str:
    found = re.search(rf'<div class="row" role="row" data-name="{name}".*?data-cell="note">[^<]*</div>', page, re.S)
    assert found, f"no row of {name}"
    return found[0]


# --- as served -------------------------------------------------------------------------------------------------------


def test_the_overview_is_complete_without_javascript(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    page = look("")
    assert "1 of 2 breakers is open" in page
    assert "open on 1 of 2 instances" in page
    row = row_of(page, "bank-api")
    for text in ('data-state="open"', ">Open<", ">settlement<", ">1</span>", "limit 50%", "Reset bank-api"):
        assert text in row
    assert 'data-state="closed"' in row_of(page, "calm")
    assert "Open on payments: 60 % failed, limit 50 %, 10 calls" in page
    assert "<title>(1 open) Overview · Breakers</title>" in page


def test_an_empty_fleet_is_told_how_to_begin(ground: None, look: Callable[[str], str]) -> None:
    page = look("")
    assert "No breakers yet" in page
    verdict = page.split('id="verdict"')[1].split("</section>")[0]
    assert 'data-state="no_data"' in verdict, "nothing is not healthy"
    assert 'href="#i-no_data"' in verdict
    assert re.search(r'id="favicon" data-level="no_data".*data-no_data="[^"]+neutral', page, re.DOTALL)
    assert '<a href="/dashboard/connect">Connect</a>' in page
    assert "CIRCUIT_BREAKER_SERVICE_URL=http://testserver" in page


def test_the_query_string_filters(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    for query, names in {
        "?state=open": ["bank-api"],
        "?state=closed": ["calm"],
        "?group=settlement": ["bank-api"],
        "?search=CALM": ["calm"],
        "?state=nonsense": ["bank-api", "calm"],
    }.items():
        assert re.findall(r'role="row" data-name="([^"]+)"', look(query)) == names, query


@pytest.mark.parametrize("path", PAGES)
def test_every_page_obeys_the_policy_it_is_served_with(
    fleet_of_two: Any, look: Callable[[str], str], path: str
) -> None:
    page = look(path)
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_what_people_write_is_never_markup(
    breaker: Callable[..., None], instance: Callable[..., Any], look: Callable[[str], str]
) -> None:
    breaker("bank-api", group="<script>alert(1)</script>")
    instance("<b>payments</b>").tell("bank-api", "open")
    services.breaker_reset(name="bank-api", reason="<i>because</i>", by=Actor("user", "<u>me</u>"))
    for path in ("", "/breakers/bank-api", "/events", "/instances", "/alerts"):
        page = look(path)
        assert not re.search(r"<script>alert|<b>payments|<i>because|<u>me", page), path


def test_the_detail_shows_instances_config_history_and_audit(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    page = look("/breakers/bank-api")
    for text in (
        "Failure rate limit",
        "50%",
        "host-1:4711",
        "60 % failed, limit 50 %",
        "user:alice",
        "2 instances on the config of its code",
    ):
        assert text in page, text
    assert page.count('class="lanes"') == 2


def test_a_breaker_that_is_not_there_is_not_found(ground: None, viewer: User, signed_in: SignedIn) -> None:
    answer = signed_in(viewer).get("/dashboard/breakers/nobody", headers=HTML)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


def test_events_turn_the_page_and_filter(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    page = look("/events")
    assert "60 % failed" in page
    assert "created" in page
    assert "60 % failed" not in look("/events?what=actions")
    assert "created" not in look("/events?what=transitions")
    assert "Nothing is recorded." in look("/events?breaker=nobody")
    assert "Nothing is recorded." in look("/events?before=2020-01-01T00:00:00%2B00:00+t9")
    assert "60 % failed" in look("/events?before=nonsense")


def test_an_event_names_the_host_of_its_instance_for_as_long_as_that_is_known(
    fleet_of_two: Any, look: Callable[[str], str]
) -> None:
    known, opened, forgotten = fleet_of_two.identity, StateChange.objects.get(), uuid4()
    gone = InstanceIdentity(forgotten, "ledger", "host-9", 9, "0.1.0", opened.at)
    states = (CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN)
    report = TransitionReport(1, "bank-api", *states, "failure_rate", "why", opened.at.timestamp() - 60)
    services.transitions_record(batch=[(gone, report)])
    Instance.objects.filter(pk=forgotten).delete()
    for path in ("/events", f"/events?event=t{opened.pk}", "/breakers/bank-api"):
        page = look(path)
        assert f'title="{known.id}">payments {known.host}:{known.pid}<' in page, path
        assert f'title="{forgotten}">ledger {str(forgotten)[:8]}<' in page, path


def test_a_permalink_finds_its_event_however_old_that_is(
    fleet_of_two: Any, look: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.views.EVENTS", 1)
    opened = StateChange.objects.get()
    services.breaker_reset(name="calm", reason="", by=Actor("user", "alice"))
    assert f'id="t{opened.pk}"' not in look("/events?what=")
    page = look(f"/events?event=t{opened.pk}")
    assert re.findall(r'<tr role="row" id="(\w+)"', page)[0] == f"t{opened.pk}"
    assert f'href="/dashboard/events?event=t{opened.pk}#t{opened.pk}"' in page
    assert "data-live data-every" not in page.partition('id="events"')[2][:200], "it stays what it links to"
    for gone in ("t999999", "c0", "x1", "t", "t1;"):
        assert "That event is not kept any more." in look(f"/events?event={gone}")


def test_slow_calls_stand_against_their_limit_where_there_is_one(
    breaker: Callable[..., None], instance: Callable[..., Any], look: Callable[[str], str]
) -> None:
    breaker("slow", slow_call_duration=2.0, slow_call_rate_threshold=0.5, minimum_calls=10)
    breaker("plain")
    told = instance("payments")
    told.tell("slow", window=WindowCounts(20, 0, 15))
    told.tell("plain")
    page = look("/breakers/slow")
    assert '<span class="over">75.0%</span> <small>limit 50%, slow from 2 s</small>' in page
    assert "Slow calls" not in look("/breakers/plain")


def test_older_events_follow_without_a_gap(
    breaker: Callable[..., None], viewer: User, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.views.EVENTS", 4)
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number in range(5):
        breaker(f"b{number}")
    ConfigChange.objects.update(at=now)  # the moment of half of the transitions
    identity = InstanceIdentity(uuid4(), "payments", "host-1", 4711, "0.1.0", now)
    states = (CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN)
    batch = [
        (identity, TransitionReport(n, "b", *states, "reset", f"cause {n}.", now.timestamp() - n // 6))
        for n in range(1, 11)
    ]
    services.transitions_record(batch=batch)
    client, path, seen = signed_in(viewer), "/dashboard/events?", []
    while path:
        page = client.get(path, headers=HTML).content.decode()
        seen += re.findall(r'<tr role="row" id="([ct]\d+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = "/dashboard/events" + older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == len(set(seen)) == 15


def test_many_instances_at_once_are_one_entry(
    ground: None, breaker: Callable[..., None], look: Callable[[str], str]
) -> None:
    now = timezone.now()
    breaker("bank-api")
    states = (CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN)
    again = uuid4()
    for ago, instance in ((1, again), (2, uuid4()), (3, uuid4()), (4, again), (100, uuid4())):
        identity = InstanceIdentity(instance, "payments", "host-1", ago, "0.1.0", now)
        report = TransitionReport(ago, "bank-api", *states, "failure_rate", "why", now.timestamp() - ago)
        services.transitions_record(batch=[(identity, report)])
    page = look("")
    assert "Open on 3 instances: why" in page
    assert page.count("Open on payments: why") == 2


# --- who sees -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_signs_in_first_and_comes_back(fleet_of_two: Any, client: Client, path: str) -> None:
    answer = client.get(f"/dashboard{path}", headers=HTML)
    assert answer.status_code == 302
    assert answer["Location"] == f"/dashboard/login?next=/dashboard{path}"


@pytest.mark.parametrize("path", PAGES)
def test_where_reading_is_public_everybody_sees(fleet_of_two: Any, client: Client, settings: Any, path: str) -> None:
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    page = client.get(f"/dashboard{path}", headers=HTML).content.decode()
    assert "Sign in" in page
    assert "Make a key<" not in page


def test_the_root_goes_to_the_dashboard(client: Client) -> None:
    assert client.get("/")["Location"] == "/dashboard"


def test_one_address_answers_people_with_a_page_and_programs_with_json(
    fleet_of_two: Any, viewer: User, signed_in: SignedIn, client: Client
) -> None:
    for accept in ("application/json", "*/*", ""):
        answer = signed_in(viewer).get("/dashboard", headers={"Accept": accept})
        assert answer["Content-Type"] == "application/json", accept
        assert {row["name"] for row in answer.json()["breakers"]} == {"bank-api", "calm"}
    assert client.get("/dashboard", headers=JSON).status_code in (401, 403)
    assert "Accept" in answer["Vary"]


# --- what buttons do --------------------------------------------------------------------------------------------------


def audit(kind: str) -> list[tuple[str, str, str]]:
    return [(c.breaker, c.actor, c.reason) for c in ConfigChange.objects.filter(kind=kind).order_by("revision")]


def test_reset_is_a_command_with_who_and_why(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    client = signed_in(operator)
    form = {"target": "bank-api 1", "reason": "INC-7", "next": "/dashboard?state=open"}
    answer = client.post("/dashboard/reset", form, headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard?state=open")
    assert audit("reset") == [("bank-api", "user:olivia", "INC-7")]
    assert "Reset bank-api: asked 2 instances." in client.get("/dashboard", headers=HTML).content.decode()


def test_a_page_that_goes_on_by_itself_takes_nobodys_message(
    fleet_of_two: Any, operator: User, signed_in: SignedIn
) -> None:
    client = signed_in(operator)
    client.post("/dashboard/reset", {"target": "bank-api 1"}, headers=HTML)
    by_script = client.get("/dashboard/alerts", headers={**HTML, "Sec-Fetch-Dest": "empty"}).content.decode()
    assert "asked 2 instances" not in by_script
    assert "asked 2 instances" in client.get("/dashboard", headers=HTML).content.decode()


def test_a_script_is_told_whom_to_wait_for(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    answer = signed_in(operator).post("/dashboard/reset", {"target": "bank-api 1"}, headers=JSON).json()
    assert (answer["name"], answer["targeted"], answer["confirmed"]) == ("bank-api", 2, 0)
    assert answer["command"] == str(ConfigChange.objects.get(kind="reset").command_id)


def test_one_instance_is_reset_alone(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    form = {"target": "bank-api 1", "instance": str(fleet_of_two.id)}
    assert signed_in(operator).post("/dashboard/reset", form, headers=JSON).json()["targeted"] == 1
    assert ConfigChange.objects.get(kind="reset").instance == fleet_of_two.id


@pytest.mark.parametrize(
    ("form", "status"),
    [({"target": "bank-api 2"}, 412), ({"target": "nobody 1"}, 404), ({"target": "bank-api"}, 400), ({}, 400),
     ({"target": "bank-api 1", "instance": "x"}, 400)],
)  # fmt: skip
def test_what_cannot_be_reset_is_a_sentence_and_no_command(
    fleet_of_two: Any, operator: User, signed_in: SignedIn, form: dict[str, str], status: int
) -> None:
    answer = signed_in(operator).post("/dashboard/reset", form, headers=JSON)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert audit("reset") == []


@pytest.mark.parametrize("path", ["/dashboard/reset", "/dashboard/release", "/dashboard/reset-all"])
def test_nobody_operates_without_the_permission(
    fleet_of_two: Any, viewer: User, stranger: User, signed_in: SignedIn, settings: Any, path: str
) -> None:
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    form = {"target": "bank-api 1", "count": "2"}
    for client in (signed_in(viewer), signed_in(stranger), Client()):
        assert client.post(path, form, headers=JSON).status_code == 403
        assert client.post(path, form, headers=HTML)["Location"] == "/dashboard"
    assert audit("reset") == audit("override_released") == []


@pytest.mark.parametrize("path", ["/dashboard/reset", "/dashboard/release"])
def test_a_link_changes_nothing(fleet_of_two: Any, operator: User, signed_in: SignedIn, path: str) -> None:
    assert signed_in(operator).get(path).status_code == 405


def test_a_form_of_another_page_is_refused(fleet_of_two: Any, operator: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    refused = client.post("/dashboard/reset", {"target": "bank-api 1"}, headers=JSON)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")
    page = client.post("/dashboard/reset", {"target": "bank-api 1"}, headers=HTML)
    assert page.status_code == 403
    assert "This page was older than your session" in page.content.decode()
    assert audit("reset") == []


def test_what_is_not_allowed_or_is_for_another_host_is_told_on_a_page(viewer: User, signed_in: SignedIn) -> None:
    client = signed_in(viewer)
    refused = client.get("/admin/breakers/apikey/add/", headers=HTML)
    assert refused.status_code == 403
    assert "You may not do this" in refused.content.decode()
    odd = client.get("/dashboard", headers={**HTML, "Host": "elsewhere.example"})
    assert odd.status_code == 400
    assert "This cannot be answered" in odd.content.decode()


def test_whose_session_ended_is_told_so_and_not_that_a_role_is_missing(
    fleet_of_two: Any, viewer: User, signed_in: SignedIn
) -> None:
    for client, word in ((signed_in(viewer), "operator role"), (Client(), "You are not signed in")):
        assert word in client.post("/dashboard/reset", {"target": "bank-api 1"}, headers=JSON).json()["message"]


def test_a_reset_never_leads_elsewhere(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    for target in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        answer = signed_in(operator).post("/dashboard/reset", {"target": "calm 1", "next": target}, headers=HTML)
        assert answer["Location"] == "/dashboard"


def test_resetting_all_takes_the_number_of_them(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    client = signed_in(operator)
    assert "Type 2 to confirm" in client.get("/dashboard/reset-all", headers=HTML).content.decode()
    assert client.post("/dashboard/reset-all", {"count": "1"}, headers=JSON).status_code == 409
    assert client.post("/dashboard/reset-all", {"count": ""}, headers=JSON).status_code == 409
    assert audit("reset") == []
    answer = client.post("/dashboard/reset-all", {"count": "2", "reason": "INC-9"}, headers=JSON)
    assert answer.json()["message"] == "Reset 2 breakers."
    assert audit("reset") == [("bank-api", "user:olivia", "INC-9"), ("calm", "user:olivia", "INC-9")]


def test_resetting_all_stays_within_the_filter(fleet_of_two: Any, operator: User, signed_in: SignedIn) -> None:
    form = {"count": "1", "state": "open"}
    assert signed_in(operator).post("/dashboard/reset-all", form, headers=JSON).status_code == 200
    assert audit("reset") == [("bank-api", "user:olivia", "")]


def test_an_override_is_shown_and_released(
    fleet_of_two: Any, operator: User, signed_in: SignedIn, look: Callable[[str], str]
) -> None:
    services.override_set(
        name="calm", override=Override.FORCED_OPEN, reason="INC-7", expires_at=None, by=Actor("user", "alice")
    )
    row = row_of(look(""), "calm")
    for text in ('data-state="forced_open"', "machine: closed", "by user:alice: INC-7", "Release calm"):
        assert text in row
    version = fleet.rows()[1]["version"]
    answer = signed_in(operator).post("/dashboard/release", {"target": f"calm {version}"}, headers=JSON)
    assert answer.json()["message"] == "Released calm."
    assert audit("override_released") == [("calm", "user:olivia", "")]


# --- connect ----------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_to_who_may_make_it(ground: None, admin_user: User, signed_in: SignedIn) -> None:
    client = signed_in(admin_user)
    answer = client.post("/dashboard/connect", {"name": "payments"}, headers=HTML)
    assert "no-store" in answer["Cache-Control"]  # a key is shown once, by no cache again
    page = answer.content.decode()
    secret = re.search(r"TOKEN=(tpcb_[\w-]+)", page)
    assert secret
    assert ApiKey.objects.get(name="payments").scopes == ["agent"]
    assert secret[1] not in client.get("/dashboard/connect", headers=HTML).content.decode()
    assert "already" in client.post("/dashboard/connect", {"name": "payments"}, headers=HTML).content.decode()


def test_of_many_in_trouble_the_worst_come_first_and_the_others_are_counted(
    breaker: Callable[..., None], instance: Callable[..., Any], look: Callable[[str], str]
) -> None:
    mine = instance("payments")
    for number in range(23):
        breaker(f"many{number:02}")
        mine.tell(f"many{number:02}", "open")
    page = look("")
    assert 'id="attention-more">and 3 more</a>' in page, "that is the link, which needs no script"
    first, second = page.partition('id="attention">')[2].partition('id="attention-empty"')[0].split('class="chunk"')[1:]
    assert first.count('role="row"') == 20
    assert second.count('role="row"') == 3


def test_who_may_not_reset_reads_why_on_the_page(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    assert '<span class="soft">Resetting needs the operator role</span>' in look("/breakers/bank-api")


def test_resetting_all_resets_the_filter_that_is_in_the_address(
    fleet_of_two: Any, operator: User, signed_in: SignedIn
) -> None:
    client = signed_in(operator)
    answer = client.post("/dashboard/reset-all?search=calm", {"count": "1"}, headers=JSON)
    assert answer.status_code == 200
    assert [change.breaker for change in ConfigChange.objects.filter(kind="reset")] == ["calm"]


def test_who_may_not_makes_no_key(ground: None, operator: User, signed_in: SignedIn) -> None:
    signed_in(operator).post("/dashboard/connect", {"name": "payments"}, headers=HTML)
    assert not ApiKey.objects.exists()


def arrival(page: str) -> str:
    return re.sub(r"<[^>]+>|\s+", " ", page.partition('id="waiting"')[2].partition("</p>")[0])


def test_a_page_waits_for_whoever_links_after_it_was_opened(
    ground: None, viewer: User, signed_in: SignedIn, instance: Callable[..., Any]
) -> None:
    instance("here-already").tell("old")
    client = signed_in(viewer)
    page = client.get("/dashboard/connect", headers=HTML).content.decode()
    again = re.search(r'id="waiting"[^>]* data-live="([^"]+)"', page)
    assert again
    assert "Waiting for the first report." in arrival(page)
    instance("payments").tell("bank-api")
    assert "payments is linked , from host-1:4711, with 1 breaker." in " ".join(
        arrival(client.get(again[1].replace("&amp;", "&"), headers=HTML).content.decode()).split()
    )


def test_a_page_waits_for_the_service_whose_key_was_made(
    ground: None, admin_user: User, signed_in: SignedIn, instance: Callable[..., Any]
) -> None:
    client = signed_in(admin_user)
    page = client.post("/dashboard/connect", {"name": "payments"}, headers=HTML).content.decode()
    assert 'data-live="/dashboard/connect?service=payments"' in page
    instance("other").tell("bank-api")
    assert "Waiting for the first report of payments" in arrival(
        client.get("/dashboard/connect?service=payments", headers=HTML).content.decode()
    )
    assert client.get("/dashboard/connect?since=yesterday", headers=HTML).status_code == 200


def test_what_the_overview_asks_for_again_is_what_it_was_served(fleet_of_two: Any, look: Callable[[str], str]) -> None:
    whole, part = look(""), look("/latest")
    for name in ("changes", "groups", "pulse", "alert-count"):
        shown = re.search(rf'<(\w+)[^>]* id="{name}".*?</\1>', part, re.S)
        assert shown, name
        assert shown[0] in whole, name


def test_one_answer_is_everybodys_for_a_moment(fleet_of_two: Any) -> None:
    now = 100.0
    shared = Recent(lambda: now)
    first = shared.text()
    services.breaker_reset(name="calm", reason="INC-7", by=Actor("user", "alice"))
    now = 100.4
    assert shared.text() == first
    now = 100.5
    assert "INC-7" in shared.text()


def test_the_gaps_of_a_service_are_told_where_their_alert_leads_also_when_its_instance_has_left(
    ground: None, instance: Callable[..., Any], look: Callable[[str], str]
) -> None:
    linked, now = instance("payments"), timezone.now()
    assert "never reported" not in look("/instances")
    fleet.report(linked.id, Report(1, now.timestamp(), fleet.revision, dropped=1200), now)
    fleet.goodbye(linked.id)
    page = " ".join(look("/instances").split())
    assert "payments</span>: 1,200 transitions of 1 instance were never reported: the history has gaps." in page
    assert "No instance is linked" in page


def test_one_silent_instance_of_many_breakers_is_one_alert_to_read(
    ground: None, breaker: Callable[..., None], instance: Callable[..., Any], look: Callable[[str], str]
) -> None:
    linked = instance("payments")
    for number in range(6):
        breaker(f"b{number}")
    fleet.synchronise()
    for number in range(6):
        linked.tell(f"b{number}")
    linked.tell("b0", "open")
    fleet.tick(timezone.now() + timedelta(seconds=20))
    page = look("/alerts")
    assert page.count("1 of 1 instances silent") == 1
    assert "and 5 more: b1, b2, b3, …" in " ".join(page.split())
    assert "Open when last heard of" in page
    assert "7 firing" in page
