"""Whatever goes wrong has one shape, and says nothing that is nobody's business."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from breakers import selectors
from breakers.api import health
from breakers.fleet import fleet

pytestmark = pytest.mark.django_db


def code(answer):
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "fields"}
    assert isinstance(error["message"], str)
    assert isinstance(error["fields"], dict)
    return answer.status_code, error["code"]


@pytest.mark.parametrize(
    "path",
    [
        "/circuit-breakers/", "/circuit-breakers/a/b", "/circuit-breakers/a/state/", "/circuit-breakers/..",
        "/circuit-breakers/%2e", "/circuit-breakers/a%2Fb/state", "/circuit-breakers/a b", "/circuit-breakers/ä",
        "/circuit-breakers/" + "x" * 101, "/circuit-breakers/reset-all/state", "/alerts/", "/health/x", "/metrics/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_address_that_is_not_there_is_a_404_whoever_asks(path, method):
    assert code(getattr(APIClient(), method)(path)) == (404, "not_found")


@pytest.mark.parametrize("name", ["x" * 100, "a:b", "a.b", "a-b", "A_9", "...", "-", ":"])
def test_every_name_that_a_breaker_can_have_has_an_address(api, breaker, name):
    breaker(name)
    assert api.get(f"/circuit-breakers/{name}/state").json()["name"] == name
    assert api.post(f"/circuit-breakers/{name}/reset").status_code == 200


def test_what_nobody_expected_is_logged_and_told_without_details(api, bank_api, monkeypatch, caplog):
    def broken():
        raise RuntimeError("secret")

    monkeypatch.setattr(fleet, "rows", broken)
    answer = api.get("/circuit-breakers")
    assert code(answer) == (500, "internal")
    assert b"secret" not in answer.content
    assert "GET /circuit-breakers failed" in caplog.text
    assert "secret" in caplog.text


@pytest.fixture
def no_database(monkeypatch):
    """Every statement fails, as when the server is gone."""

    def gone(*args, **kwargs):
        raise OperationalError("could not connect to server")

    monkeypatch.setattr(selectors, "current_revision", gone)
    monkeypatch.setattr(health.connection, "cursor", gone)


def test_without_the_database_reading_is_unavailable(api, bank_api, no_database):
    answer = api.get("/circuit-breakers")
    assert code(answer) == (503, "unavailable")
    assert b"could not connect" not in answer.content


def test_without_the_database_metrics_are_told_as_last_known(api, bank_api, monkeypatch):
    api.get("/circuit-breakers")

    def gone():
        raise OperationalError("gone")

    monkeypatch.setattr(selectors, "current_revision", gone)
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert b'circuit_breaker_state{name="bank-api",state="closed"} 0.0' in answer.content


def test_health_is_healthy(ground):
    answer = APIClient().get("/health")
    body = answer.json()
    assert answer.status_code == 200
    assert body.keys() == {"status", "service", "timestamp", "checks"}
    assert (body["status"], body["service"]) == ("healthy", "circuit_breaker_service")
    assert body["checks"] == {"database": "ok", "channel_layer": "ok"}
    assert parse_datetime(body["timestamp"]).utcoffset().total_seconds() == 0


def test_health_is_unhealthy_when_the_database_is_gone(ground, no_database):
    answer = APIClient().get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.json()["checks"] == {"database": "failed", "channel_layer": "ok"}


def test_health_says_that_the_channel_layer_is_gone_and_is_still_healthy(ground, monkeypatch):
    async def gone():
        raise ConnectionError("no redis")

    monkeypatch.setattr(health, "_ask_layer", gone)
    answer = APIClient().get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert answer.json()["checks"]["channel_layer"] == "failed"
    assert answer.json()["degraded"] == ["redis"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "text/plain", "*/*", "nonsense", ""])
def test_the_api_answers_json_whatever_is_accepted(api, bank_api, accept):
    answer = api.get("/circuit-breakers", HTTP_ACCEPT=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert Client().get("/health", HTTP_ACCEPT=accept).status_code == 200


def test_options_names_the_methods(api, bank_api):
    answer = api.options("/circuit-breakers/bank-api/config")
    assert answer.status_code == 200
    assert {"GET", "PUT", "PATCH"} <= set(answer["Allow"].replace(" ", "").split(","))


@pytest.mark.parametrize("path", ["/circuit-breakers/%0A", "/circuit-breakers/a%0Ab/metrics", "/circuit-breakers/a%0A"])
def test_an_address_with_a_line_break_is_missing_in_our_shape_too(api, path):
    answer = api.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_an_address_that_nobody_has_is_missing_in_our_shape(accept):
    answer = Client().get("/nope", HTTP_ACCEPT=accept)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_who_asks_for_a_page_that_is_not_there_gets_a_page():
    answer = Client().get("/nope", HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_another_host_is_refused_in_our_shape(settings):
    settings.ALLOWED_HOSTS = ["breakers.example"]
    answer = Client().get("/circuit-breakers", HTTP_HOST="evil.example")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "evil" not in answer.content.decode()


def test_a_page_that_fails_says_nothing_of_why(monkeypatch, settings, ground):
    def fail():
        raise RuntimeError("a secret")

    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    monkeypatch.setattr("dashboard.views.fleet.rows", fail)
    page = Client(raise_request_exception=False).get("/dashboard", HTTP_ACCEPT="text/html")
    assert (page.status_code, page["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert "secret" not in page.content.decode()
