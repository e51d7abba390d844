"""People and programs who try what they may not: what they get, and what is written down of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html import unescape
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.test import APIClient

from breakers import services
from breakers.access import address_of, address_of_scope, addresses
from breakers.agents import AgentConsumer
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Refusal, Report, TransitionReport
from breakers.exports import csv_of
from breakers.fleet import fleet
from breakers.models import InstanceIdentity, NotificationRule
from dashboard.access import same_origin
from dashboard.consumers import FeedConsumer

from .test_store_refusals import PASSWORD, clock, lines, server, sign_in

__all__ = ["clock", "lines"]  # fixtures

pytestmark = pytest.mark.django_db
Lines = Callable[[], list[str]]


# --- who is told of -----------------------------------------------------------------------------------------------


def test_a_session_whose_token_is_missing_or_anothers_is_told_by_name(operator: User, lines: Lines):
    client = APIClient(enforce_csrf_checks=True)
    client.login(username="olivia", password=PASSWORD, request=RequestFactory().get("/"))
    assert client.post("/circuit-breakers/reset-all").status_code == 403
    assert client.post("/circuit-breakers/reset-all", headers={"Origin": "https://evil.example"}).status_code == 403
    assert lines() == 2 * ["Refused: user:olivia from 127.0.0.1, POST /circuit-breakers/reset-all: not allowed"]


def test_who_shows_a_key_to_a_page_is_told_and_not_called_unknown(service_key: str, lines: Lines):
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {service_key}"})
    assert client.get("/dashboard/alerts").status_code == 302
    assert client.post("/dashboard/reset-all").status_code == 403
    assert [line.split(",")[0] for line in lines()] == 2 * ["Refused: a key from 127.0.0.1"]


def test_who_asks_for_another_host_is_told_in_one_line(db, lines: Lines, caplog: pytest.LogCaptureFixture):
    assert Client().get("/dashboard/login", headers={"Host": "evil.example"}).status_code == 400
    assert lines() == ["Refused: nobody from 127.0.0.1, GET /dashboard/login: for another host"]
    assert [record for record in caplog.records if record.exc_info] == []


async def knock(path: str, **headers: str) -> bool:
    """Whether the socket opens; ``_`` for ``-``."""
    application = AgentConsumer if path == "/ws/agent" else FeedConsumer
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    socket = WebsocketCommunicator(application.as_asgi(), path, raw)
    socket.scope["client"] = ["10.1.2.3", 5]
    connected, _ = await socket.connect(timeout=10)
    await socket.disconnect()
    return connected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("scope", "path"), [("read", "/ws/agent"), ("operate", "/ws/agent"), ("agent", "/ws/feed")])
async def test_a_key_of_another_scope_opens_no_socket_and_is_told_by_name(
    key: Callable[..., str], lines: Lines, scope: str, path: str
):
    secret = await sync_to_async(key)(scope, name="grafana")
    assert not await knock(path, authorization=f"Bearer {secret}")
    (line,) = lines()
    assert line.startswith(f"Refused: key:grafana from 10.1.2.3, {path}: ")
    assert secret not in line


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws/agent", "/ws/feed"])
@pytest.mark.parametrize(("given", "who"), [({}, "nobody"), ({"authorization": "Bearer x"}, "an unknown key")])
async def test_who_has_no_key_opens_no_socket_and_is_told_as_such(
    ground: None, lines: Lines, path: str, given: dict[str, str], who: str
):
    assert not await knock(path, **given)
    (line,) = lines()
    assert line.startswith(f"Refused: {who} from 10.1.2.3, {path}: ")


@pytest.mark.django_db(transaction=True)
async def test_a_page_of_somebody_else_opens_no_socket_in_the_name_of_who_looks_at_it(viewer: User, lines: Lines):
    client = Client()
    await sync_to_async(client.force_login)(viewer)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    assert await knock("/ws/feed", cookie=cookie, origin="http://testserver", host="testserver")
    assert not await knock("/ws/feed", cookie=cookie, origin="http://evil.example", host="testserver")
    assert not await knock("/ws/agent", cookie=cookie, origin="http://testserver", host="testserver")
    assert [line.split(":", 2)[1].split(" from")[0] for line in lines()] == [" user", " nobody"]
    assert "user:victor" in lines()[0]


@pytest.mark.parametrize(
    ("secure", "origin", "ours"),
    [
        (False, "http://testserver", True),
        (False, "https://testserver", True),
        (True, "https://testserver", True),
        (True, "http://testserver", False),
    ],
)
def test_where_all_is_https_a_page_that_came_without_it_is_not_ours(settings, secure: bool, origin: str, ours: bool):
    settings.SESSION_COOKIE_SECURE = secure
    assert same_origin({"host": "testserver", "origin": origin}) is ours


# --- from where ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", "unknown"),
    ],
)
def test_a_line_that_has_addresses_without_end_is_one_neighbour(peer: str, network: str):
    assert addresses.network_of(RequestFactory().get("/", REMOTE_ADDR=peer)) == network


def test_an_address_is_the_same_however_the_socket_writes_it():
    assert address_of(RequestFactory().get("/", REMOTE_ADDR="::ffff:10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:5678", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("1.2.3.4:5:6", "unknown"),
        ("[1.2.3.4", "unknown"),
        ("nonsense:80", "unknown"),
    ],
)
def test_a_proxy_may_write_the_port_too(settings, written: str, found: str):
    """Those who would share one place of nowhere would lock each other out."""
    settings.CIRCUIT_BREAKER_PROXIES = 1
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.9", HTTP_X_FORWARDED_FOR=f"6.6.6.6, {written}")
    assert address_of(request) == found


def test_who_changes_the_address_within_his_line_is_locked_and_slowed_down_all_the_same(operator: User):
    answers = [sign_in("olivia", "wrong", REMOTE_ADDR=f"2001:db8::{number}").status_code for number in range(5)]
    assert answers == [200] * 4 + [429]
    assert sign_in("olivia", PASSWORD, REMOTE_ADDR="2001:db8::99").status_code == 429
    assert sign_in("olivia", PASSWORD, REMOTE_ADDR="2001:db8:0:1::99").status_code == 302
    answers = [sign_in(f"name{n}", "x", REMOTE_ADDR=f"2001:db8:9::{n}").status_code for n in range(21)]
    assert answers == [200] * 20 + [429]


def test_a_socket_that_says_twice_where_it_comes_from_is_read_as_a_request_is(settings):
    """Some proxies append a line of their own and no entry."""
    settings.CIRCUIT_BREAKER_PROXIES = 2
    headers = [(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4"), (b"x-forwarded-for", b"10.0.0.9")]
    assert address_of_scope({"headers": headers, "client": ("10.0.0.10", 5)}) == "1.2.3.4"


# --- what is left of limits -----------------------------------------------------------------------------------------


def test_a_rate_below_one_in_two_seconds_lets_people_in_now_and_then(settings, viewer: User, clock):
    settings.CIRCUIT_BREAKER_USER_RATE = 0.1
    client = APIClient()
    client.force_login(viewer)
    assert [client.get("/alerts").status_code for _ in range(2)] == [200, 429]
    clock.now += 10
    assert client.get("/alerts").status_code == 200


def test_a_pool_of_one_connection_is_one():
    code = (
        "import django; django.setup(); from django.conf import settings as s; print(s.DATABASES['default']['OPTIONS'])"
    )
    url = "postgres://x@127.0.0.1:1/x"
    said = server("-c", code, DATABASE_URL=url, CIRCUIT_BREAKER_POOL="1").stdout
    assert "'min_size': 1, 'max_size': 1" in said
    refused = server("-c", code, DATABASE_URL=url, CIRCUIT_BREAKER_POOL="0")
    assert "CIRCUIT_BREAKER_POOL" in refused.stderr


# --- where people are sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dashboard/login", "/admin/login/"])
@pytest.mark.parametrize("wish", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_who_signs_in_is_sent_to_a_page_of_ours(operator: User, path: str, wish: str):
    answer = Client().post(path, {"username": "olivia", "password": PASSWORD, "next": wish})
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard")


def test_a_session_that_somebody_else_chose_is_not_the_one_that_is_signed_in(operator: User):
    client = Client()
    client.cookies["sessionid"] = "a" * 32
    client.post("/dashboard/login", {"username": "olivia", "password": PASSWORD})
    assert client.cookies["sessionid"].value != "a" * 32
    planted = Client()
    planted.cookies["sessionid"] = "a" * 32
    assert planted.get("/dashboard/alerts").status_code == 302


# --- what spreadsheets run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["=1", "+1", "-1", "@x", "＝1", "＋1", "－1", "＠x", "\t=1", "\r=1", "\n=1"])
def test_no_cell_begins_as_a_formula(formula: str):
    ((cell,),) = csv.reader(io.StringIO(csv_of([(formula,)]).decode()))
    assert (cell[0], cell.replace("'", "")) == ("'", formula)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_no_text_breaks_out_of_its_cell_where_another_separator_is_usual(separator: str):
    """A spreadsheet of many countries splits at semicolons, and knows no quotes where no cell begins."""
    said = csv_of([("fine", f'it"{separator} =HYPERLINK("evil"){separator}+x', 5)]).decode()
    for cell in said.replace('"', "").split(separator):
        assert not cell.lstrip().startswith(("=", "+"))
    assert csv_of([("a; b|c", "5 - 3; x=1")]).decode() == "a; b|c,5 - 3; x=1\r\n"


# --- markup ---------------------------------------------------------------------------------------------------------

MARKUP = """"'><script>alert(1)</script><img src=x onerror=alert(2)>"""
LINK = re.compile(r'href="(/(?:admin|dashboard)[^"#]*|[a-z0-9]+/change/)"')


@pytest.fixture
def marked(create: Callable[..., object], transition: Callable[..., TransitionReport], admin_user: User) -> None:
    """Markup in whatever people and services may choose: names, groups, reasons, causes, hosts."""
    create("bank-api", group=MARKUP, description=MARKUP)
    by, now = services.Actor("user", MARKUP), timezone.now()
    until = now + timedelta(minutes=4)
    services.override_set(
        name="bank-api", override=Override.FORCED_CLOSED, reason=MARKUP, expires_at=until, by=by, confirm=True
    )
    services.breaker_reset(name="bank-api", reason=MARKUP, by=by)
    services.api_key_create(name=MARKUP, scopes=["read"], by=by)
    User.objects.create_user(MARKUP, first_name=MARKUP)
    rule = NotificationRule(name=MARKUP, levels=["error"], groups=[MARKUP], address="http://127.0.0.1:9/x")
    services.notification_rule_save(rule=rule, by=by, now=now)
    services.notification_test(rule=rule, by=by, now=now)
    identity = InstanceIdentity(uuid4(), MARKUP, MARKUP, 1, MARKUP, now)
    told = replace(transition(1, name="bank-api"), cause=MARKUP, reason=MARKUP[:50], at=now.timestamp())
    services.transitions_record(batch=[(identity, told)])
    fleet.synchronise()
    fleet.connect(identity, now)
    status = BreakerStatus("bank-api", CircuitBreakerState.OPEN, epoch=1)
    refusal = Refusal("bank-api", fleet.revision, MARKUP)
    report = Report(1, now.timestamp(), fleet.revision, (status,), (told,), refusals=(refusal,), dropped=3)
    fleet.report(identity.id, report, now)


def test_no_page_takes_what_people_and_services_wrote_for_markup(marked: None, admin_user: User):
    client = Client()
    client.force_login(admin_user)
    told = "&lt;script&gt;alert(1)&lt;/script&gt;"
    seen, ahead, shown = set[str](), ["/dashboard", "/dashboard/alerts", "/dashboard/instances", "/admin/"], 0
    while ahead and len(seen) < 120:
        path = ahead.pop(0)
        if path in seen or "logout" in path or path.count("__") > 1:
            continue
        seen.add(path)
        page = client.get(path, headers={"Accept": "text/html"}).content.decode()
        assert not re.search(r"<script>alert|<img src=x", page), path
        shown += told in page
        ahead += [urljoin(path, unescape(link)) for link in LINK.findall(page)]
    assert shown > 20
    must = {"/dashboard/breakers/bank-api", "/dashboard/events", "/admin/breakers/notificationrule/"}
    assert must | {"/admin/breakers/delivery/", "/admin/breakers/configchange/", "/admin/breakers/apikey/"} <= seen
