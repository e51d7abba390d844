"""Every address of the server and both sockets meet everybody: a new one that nobody thought of fails here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from breakers import services
from breakers.agents import AgentConsumer
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.models import ApiKey, BreakerConfig, ConfigChange, Delivery, Instance, NotificationRule, StateChange
from breakers.services import Actor
from dashboard.consumers import FeedConsumer

STAFF = {"viewer", "operator", "editor", "admin"}
OPERATORS, EDITORS, ADMIN = STAFF - {"viewer"}, {"editor", "admin"}, {"admin"}
PEOPLE = STAFF | {"stranger"}
GONE = {"nobody", "expired", "dismissed", "revoked"}
"""Nobody, or no longer somebody."""
KEYS = {"key:agent", "key:read", "key:operate"}
EVERYBODY = PEOPLE | GONE | KEYS
BY = Actor("system")
HOST = "testserver"


def addresses(resolver: Any = None, before: str = "") -> Iterator[str]:
    for found in (resolver or get_resolver()).url_patterns:
        here = before + str(found.pattern)
        if isinstance(found, URLResolver):
            yield from addresses(found, here)
        elif isinstance(found, URLPattern):
            yield here


# --- who may what -----------------------------------------------------------------------------------------------

NO: set[str] = set()
MODELS: dict[str, tuple[set[str], set[str], set[str], set[str]]] = {
    # who may look, add, change, delete
    "breakerconfig": (STAFF, EDITORS, EDITORS, EDITORS),
    "statechange": (STAFF, NO, NO, NO),
    "configchange": (STAFF, NO, NO, NO),
    "instance": (STAFF, NO, NO, NO),
    "apikey": (ADMIN, ADMIN, NO, NO),
    "notificationrule": (ADMIN, ADMIN, ADMIN, ADMIN),
    "delivery": (ADMIN, NO, NO, NO),
    "user": (ADMIN, ADMIN, ADMIN, ADMIN),
    "group": (ADMIN, ADMIN, ADMIN, ADMIN),
    "accessattempt": (ADMIN, NO, ADMIN, ADMIN),
    "accessfailurelog": (ADMIN, NO, ADMIN, ADMIN),
    "accesslog": (ADMIN, NO, ADMIN, ADMIN),
}
READ, RESET, EDIT = PEOPLE | {"key:read"}, OPERATORS | {"key:operate"}, EDITORS | {"key:operate"}
API: dict[str, tuple[set[str], set[str]]] = {
    # who may GET, who may POST; an empty set: there is no such method
    "alerts": (READ, NO),
    "schema": (READ, NO),
    "docs": (READ, NO),
    "metrics": (READ, NO),
    "configs": (READ, EDIT),
    "history.<form:form>": (READ, NO),
    "changes.<form:form>": (READ, NO),
    "circuit-breakers": (READ, EDIT),
    "circuit-breakers/reset-all": (NO, RESET),
    "circuit-breakers/<breaker:name>": (READ, NO),
    **{
        f"circuit-breakers/<breaker:name>/{what}": (READ, NO)
        for what in ("state", "metrics", "history", "changes", "config", "versions")
    },
    "circuit-breakers/<breaker:name>/history.<form:form>": (READ, NO),
    "circuit-breakers/<breaker:name>/changes.<form:form>": (READ, NO),
    "circuit-breakers/<breaker:name>/reset": (NO, RESET),
    "circuit-breakers/<breaker:name>/override": (NO, NO),
    "circuit-breakers/<breaker:name>/restore": (NO, EDIT),
    "circuit-breakers/<breaker:name>/copy": (NO, EDIT),
}
PAGES: dict[str, tuple[set[str], set[str]]] = {
    "dashboard": (PEOPLE, NO),
    "dashboard/latest": (PEOPLE, NO),
    "dashboard/alerts": (PEOPLE, NO),
    "dashboard/events": (PEOPLE, NO),
    "dashboard/instances": (PEOPLE, NO),
    "dashboard/breakers/<str:name>": (PEOPLE, NO),
    "dashboard/breakers/<str:name>/<str:override>": (PEOPLE, OPERATORS),
    "dashboard/connect": (PEOPLE, ADMIN),
    "dashboard/reset": (NO, OPERATORS),
    "dashboard/release": (NO, OPERATORS),
    "dashboard/reset-all": (PEOPLE, OPERATORS),
}
OPEN_TO_ALL = {"", "health", "dashboard/login", "dashboard/logout", "admin/login/", "admin/logout/"}
OF_STAFF = {
    "admin/",
    "admin/jsi18n/",
    "admin/password_change/",
    "admin/password_change/done/",
    "admin/r/<path:content_type_id>/<path:object_id>/",
    "admin/(?P<url>.*)$",
    "admin/^(?P<app_label>axes|breakers|auth)/$",
}
NOWHERE = {"admin/autocomplete/"}
"""Nothing that we have asks it."""
DJANGOS = re.compile(r"admin/(?:auth|axes)/\w+/<path:object_id>/(?:delete/|history/)?")
"""Places in the admin that are not ours and behave as those beside them."""


def welcome(address: str, method: str) -> set[str] | None:
    """Who gets through; ``None``: it is not there, or not with this method."""
    place = 0 if method == "GET" else 1
    for table in (API, PAGES):
        if address in table:
            return table[address][place] or None
    if address in OF_STAFF:
        return None if method == "POST" and address in ("admin/jsi18n/", "admin/password_change/done/") else STAFF
    if found := re.fullmatch(r"admin/[a-z]+/([a-z]+)/(.*?)/?", address):
        return _of_model(MODELS[found[1]], found[2].removeprefix("<path:object_id>/"), method)
    raise AssertionError(f"nobody has thought of {address}")


def _of_model(may: tuple[set[str], set[str], set[str], set[str]], what: str, method: str) -> set[str]:
    look, add, change, delete = may
    if what in ("", "history"):
        return look
    if what == "<path:object_id>":
        return STAFF  # it only says where the page is
    return {
        "add": add,
        "change": look if method == "GET" else change,
        "delete": delete,
        "import": change,
        "restore": look if method == "GET" else change,
        "<id>/password": change,
    }[what]


# --- everybody --------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets_of_keys(key: Callable[..., str]) -> dict[str, str]:
    found = {f"key:{scope}": key(scope) for scope in ("agent", "read", "operate")}
    found["revoked"] = key("agent", "read", "operate", name="revoked")
    services.api_key_revoke(name="revoked", by=BY)
    return found


@pytest.fixture
def sessions(person: Callable[..., User]) -> dict[str, str]:
    """Name to the key of a session."""
    found = {name: _session(person(name, name)) for name in ("viewer", "operator", "editor")}
    found["stranger"] = _session(person("stranger"))
    found["admin"] = _session(User.objects.create_superuser("admin"))
    found["expired"] = _session(person("expired", "editor"))
    Session.objects.filter(pk=found["expired"]).update(expire_date=timezone.now() - timedelta(seconds=1))
    gone = person("dismissed", "editor")
    found["dismissed"] = _session(gone)
    gone.is_active = False
    gone.save()
    return found


def _session(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


@pytest.fixture
def everybody(secrets_of_keys: dict[str, str], sessions: dict[str, str]) -> dict[str, Client]:
    found = {"nobody": Client()}
    for name, session in sessions.items():
        found[name] = Client()
        found[name].cookies[django_settings.SESSION_COOKIE_NAME] = session
    for name, secret in secrets_of_keys.items():
        found[name] = Client(headers={"Authorization": f"Bearer {secret}"})
    assert found.keys() == EVERYBODY
    return found


@pytest.fixture
def objects(ground: None, secrets_of_keys: dict[str, str]) -> dict[str, Any]:
    """One of each, by the name of its model."""
    row = services.breaker_create(name="bank-api", config=CircuitBreakerConfig(), http=HttpConfig(), by=BY)
    now = timezone.now()
    rule = NotificationRule(name="on-call", levels=["error"], address="http://127.0.0.1:9/")
    services.notification_rule_save(rule=rule, by=BY, now=now)
    delivery = services.notification_test(rule=rule, by=BY, now=now)
    seen = {"pid": 1, "started_at": now, "first_seen_at": now, "last_seen_at": now}
    instance = Instance.objects.create(id=uuid4(), service="s", **seen)
    moved = StateChange.objects.create(
        breaker="bank-api", instance=instance.pk, service="s", sequence=1, epoch=1, at=now,
        from_state="closed", to_state="open", reason="reset", failures=1, calls=1,
    )  # fmt: skip
    found: list[Any] = [row, rule, delivery, instance, moved, ConfigChange.objects.get(), ApiKey.objects.first()]
    return {each._meta.model_name: each.pk for each in [*found, User.objects.first(), Group.objects.first()] if each}


def reached(address: str, objects: dict[str, Any]) -> str:
    model = found[1] if (found := re.match(r"admin/[a-z]+/([a-z]+)/", address)) else ""
    pk = str(objects.get(model, 1))
    filled = address.replace("^(?P<app_label>axes|breakers|auth)/$", "breakers/").replace("(?P<url>.*)$", "nonsense")
    filled = re.sub("<(breaker|str):name>", "bank-api", filled).replace("<str:override>", "forced_open")
    filled = filled.replace("<form:form>", "csv").replace("<path:content_type_id>", "1")
    return "/" + filled.replace("<path:object_id>", pk).replace("<id>", pk)


def ask(client: Client, method: str, path: str) -> Any:
    page = path.startswith(("/admin", "/dashboard")) or path == "/"
    kind = "application/x-www-form-urlencoded" if page else "application/json"
    accept = "text/html" if page and method == "GET" else "application/json"
    return client.generic(method, path, "" if page else "{}", content_type=kind, headers={"Accept": accept})


def outcome(answer: Any) -> str:
    if answer.streaming:
        b"".join(answer.streaming_content)  # to its end, so that it is closed
    if answer.status_code == 401 or (answer.status_code == 302 and "/login" in answer["Location"].partition("?")[0]):
        return "unknown"
    return {403: "refused", 405: "no such method"}.get(answer.status_code, "welcome")


MATRIX = [
    (address, method)
    for address in sorted({each for each in addresses() if not each.startswith("^")} - OPEN_TO_ALL - NOWHERE)
    for method in ("GET", "POST")
    if not DJANGOS.fullmatch(address)
]


@pytest.mark.django_db
def test_everybody_gets_what_is_theirs_at_every_address_and_each_refusal_is_told(
    everybody: dict[str, Client], objects: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    wrong = []
    for address, method in MATRIX:
        wanted, path = welcome(address, method), reached(address, objects)
        for name in _askers(address, wanted):
            client = everybody[name]
            caplog.clear()
            found = outcome(ask(client, method, path))
            told = len(_told(caplog))
            if found != _expected(name, wanted, method, address):
                wrong.append((method, path, name, found))
            if found in ("refused", "unknown") and told != (0 if _merely_looks_in(name, method, address) else 1):
                wrong.append((method, path, name, f"{told} lines"))
    assert wrong == []
    assert len(MATRIX) > 120


def _askers(address: str, wanted: set[str] | None) -> set[str]:
    """Everybody; fewer where one door is before all pages, and pages are dear."""
    if wanted is None:
        return {"nobody", "admin", "revoked"}
    if not address.startswith("admin/"):
        return EVERYBODY
    return {"dismissed", "stranger", "key:operate", "viewer"} | (
        {"operator", "editor", "admin"} & (wanted | {"editor"})
    )


def _expected(name: str, wanted: set[str] | None, method: str, address: str) -> str:
    page = (address in PAGES and address != "dashboard") or address.startswith("admin/")
    if wanted is None:
        stopped = name not in STAFF if address.startswith("admin/") else name == "revoked" and not page
        return "unknown" if stopped else "no such method"
    if name in wanted:
        return "welcome"
    if address in PAGES and method == "POST":
        return "unknown" if address == "dashboard/connect" and name not in PEOPLE else "refused"
    page = page or address == "dashboard"
    known = STAFF if address.startswith("admin/") else PEOPLE if page else PEOPLE | KEYS
    return "refused" if name in known else "unknown"


def _merely_looks_in(name: str, method: str, address: str) -> bool:
    """Who is asked to sign in where people do that first, and has shown nothing."""
    page = address in PAGES or address == "docs" or address.startswith("admin/")
    return page and method == "GET" and name not in PEOPLE | KEYS | {"revoked"}


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "breakers.access"]


@pytest.mark.django_db
def test_nothing_that_changes_something_takes_a_session_without_its_token(
    sessions: dict[str, str], objects: dict[str, Any]
):
    """Signing in and out are among it. A method that is not there may say so first."""
    client = Client(enforce_csrf_checks=True)
    client.cookies[django_settings.SESSION_COOKIE_NAME] = sessions["admin"]
    wrong = []
    for address in sorted({each for each in addresses() if not each.startswith("^")}):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            found = outcome(ask(client, method, reached(address, objects)))
            if found not in ("refused", "no such method"):
                wrong.append((method, address, found))
    assert wrong == []
    assert BreakerConfig.objects.get().version == 1
    assert Delivery.objects.count() == 1


# --- groups and sockets -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_groups_have_exactly_what_they_are_for(ground: None):
    look = {"view_breakerconfig", "view_statechange", "view_configchange", "view_instance"}
    operate = look | {"reset_breaker", "override_breaker"}
    edit = operate | {"add_breakerconfig", "change_breakerconfig", "delete_breakerconfig"}
    found = {
        group.name: set(Permission.objects.filter(group=group).values_list("codename", flat=True))
        for group in Group.objects.all()
    }
    assert found == {"viewer": look, "operator": operate, "editor": edit}


@pytest.mark.django_db(transaction=True)
async def test_sockets_let_in_whom_they_are_for(
    secrets_of_keys: dict[str, str], sessions: dict[str, str], settings: Any
):
    settings.ALLOWED_HOSTS = [HOST]
    cookies = {name: f"{settings.SESSION_COOKIE_NAME}={session}" for name, session in sessions.items()}
    feed, agent, foreign = set(), set(), set()
    for name in EVERYBODY:
        headers = {"host": HOST}
        if name in cookies:
            headers |= {"cookie": cookies[name], "origin": f"http://{HOST}"}
            if await _is_let_in(FeedConsumer, "/ws/feed", {**headers, "origin": "https://evil.example"}):
                foreign.add(name)
        elif name in secrets_of_keys:
            headers["authorization"] = f"Bearer {secrets_of_keys[name]}"
        if await _is_let_in(FeedConsumer, "/ws/feed", headers):
            feed.add(name)
        if await _is_let_in(AgentConsumer, "/ws/agent", headers):
            agent.add(name)
    assert (feed, agent, foreign) == (PEOPLE | {"key:read"}, {"key:agent"}, set())


async def _is_let_in(consumer: Any, path: str, headers: dict[str, str]) -> bool:
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    socket = WebsocketCommunicator(consumer.as_asgi(), path, given)
    socket.scope["client"] = ["10.1.2.3", 5]
    connected, _ = await socket.connect(timeout=30)
    await socket.disconnect()
    return bool(connected)
