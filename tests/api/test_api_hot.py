"""What is answered from memory is what the view would say, and no key outlives its revocation by more than a second."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from breakers import services
from breakers.api import hot, memory
from breakers.api.actions import BreakersView
from breakers.api.views import DashboardView, StateView
from breakers.fleet import fleet
from breakers.services import Actor

from .conftest import with_key

pytestmark = pytest.mark.django_db
VIEWS = {"/circuit-breakers": BreakersView, "/dashboard": DashboardView, "/circuit-breakers/a/state": StateView}


@pytest.fixture
def crowd(breaker, running):
    for name in ("a", "b-2", "ünï".encode("ascii", "ignore").decode() or "n", "zz"):
        breaker(name, group="ä\u2028")
    running(a="open", zz="half_open")


@pytest.mark.parametrize(
    "address",
    [
        "/circuit-breakers", "/circuit-breakers?page_size=2&page=2", "/circuit-breakers?state=open,half_open",
        "/circuit-breakers?ordering=-name&search=z", "/dashboard", "/circuit-breakers/a/state",
    ],
)  # fmt: skip
def test_it_is_what_the_view_says(crowd, key, address):
    secret = key("read")
    path = address.partition("?")[0]
    asked = RequestFactory().get(address, HTTP_AUTHORIZATION=f"Bearer {secret}", SERVER_NAME="testserver")
    expected = VIEWS[path].as_view()(asked, **({"name": "a"} if path.endswith("state") else {}))
    expected = expected.render() if hasattr(expected, "render") else expected
    for _ in range(2):
        answer = with_key(secret).get(address)
        assert (answer.content, answer["Content-Type"]) == (expected.content, expected["Content-Type"])
        assert answer.get("ETag") == expected.get("ETag")


def test_what_changed_is_seen_at_once(crowd, api, running):
    assert api.get("/circuit-breakers?state=open").json()["count"] == 1
    running(b_2="open")
    assert api.get("/circuit-breakers?state=open").json()["count"] == 2
    services.breaker_delete(name="zz", reason="", by=Actor("system"))
    assert "zz" not in api.get("/dashboard").content.decode()


@pytest.mark.parametrize("address", ["/circuit-breakers", "/dashboard", "/circuit-breakers/a/state"])
def test_a_key_costs_one_query_and_no_write(crowd, api, address):
    api.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert api.get(address).status_code == 200
    assert len(queries) == 1
    assert queries[0]["sql"].startswith("SELECT")


def test_a_revoked_key_stops_within_a_second(crowd, api, monkeypatch):
    assert api.get("/circuit-breakers").status_code == 200
    services.api_key_revoke(name="deploy", by=Actor("system"))
    later = time.monotonic() + memory.TRUSTED
    monkeypatch.setattr(memory.time, "monotonic", lambda: later)
    for address in ("/circuit-breakers", "/dashboard", "/circuit-breakers/a/state"):
        assert api.get(address).status_code == 401
    assert memory.TRUSTED <= 1


def test_keys_are_remembered_one_by_one(crowd, key):
    reader, agent = with_key(key("read")), with_key(key("agent"))
    for _ in range(2):
        assert reader.get("/circuit-breakers").status_code == 200
        assert agent.get("/circuit-breakers").status_code == 403
        assert with_key("tpcb_wrong").get("/circuit-breakers").status_code == 401
        assert APIClient().get("/circuit-breakers").status_code == 401


def test_where_reading_is_public_a_wrong_key_is_still_refused(crowd, settings):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    assert APIClient().get("/circuit-breakers/a/state").status_code == 200
    assert with_key("tpcb_wrong").get("/circuit-breakers/a/state").status_code == 401


def test_who_asks_too_often_is_told_so_here_too(crowd, api, settings):
    settings.CIRCUIT_BREAKER_KEY_RATE = 2
    assert 429 in {api.get("/circuit-breakers/a/state").status_code for _ in range(10)}


def test_only_the_latest_answers_are_kept(crowd):
    fleet.synchronise()
    for number in range(memory.MANY_ANSWERS + 5):
        hot.kept_answers.get(str(number), bytes)
    assert len(hot.kept_answers) == memory.MANY_ANSWERS
    assert hot.kept_answers.fit("4", 0.0) is None
    assert hot.kept_answers.fit("5", 0.0) == b""


def test_the_document_still_knows_them():
    assert (hot.state.cls, hot.breakers.cls, hot.dashboard.cls) == (StateView, BreakersView, DashboardView)
