"""Each endpoint meets the operator, the viewer, the editor, a stranger, a key of each scope, and nobody."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from rest_framework.test import APIClient

from breakers.models import ConfigChange

pytestmark = pytest.mark.django_db

READ = {"operator", "viewer", "editor", "stranger", "key:read"}
RESET = {"operator", "editor", "key:operate"}
EDIT = {"editor", "key:operate"}
ENDPOINTS = [
    ("GET", "/circuit-breakers", None, READ),
    ("GET", "/circuit-breakers/bank-api", None, READ),
    ("GET", "/circuit-breakers/bank-api/state", None, READ),
    ("GET", "/circuit-breakers/bank-api/metrics", None, READ),
    ("GET", "/circuit-breakers/bank-api/history", None, READ),
    ("GET", "/circuit-breakers/bank-api/changes", None, READ),
    ("GET", "/circuit-breakers/bank-api/config", None, READ),
    ("GET", "/alerts", None, READ),
    ("GET", "/metrics", None, READ),
    ("GET", "/dashboard", None, READ),
    ("POST", "/circuit-breakers/bank-api/reset", {}, RESET),
    ("POST", "/circuit-breakers/reset-all", {}, RESET),
    ("PUT", "/circuit-breakers/bank-api/override", {"override": "forced_open"}, RESET),
    ("DELETE", "/circuit-breakers/bank-api/override", {}, RESET),
    ("PUT", "/circuit-breakers/bank-api/config", {}, EDIT),
    ("PATCH", "/circuit-breakers/bank-api/config", {"failure_threshold": 2}, EDIT),
    ("POST", "/circuit-breakers", {"name": "new"}, EDIT),
    ("GET", "/circuit-breakers/bank-api/versions", None, READ),
    ("GET", "/circuit-breakers/bank-api/history.<form:form>", None, READ),
    ("GET", "/circuit-breakers/bank-api/changes.<form:form>", None, READ),
    ("GET", "/history.<form:form>", None, READ),
    ("GET", "/changes.<form:form>", None, READ),
    ("GET", "/schema", None, READ),
    ("GET", "/configs", None, READ),
    ("POST", "/configs", {"format": 1, "breakers": {}}, EDIT),
    ("POST", "/circuit-breakers/bank-api/restore", {"version": 1}, EDIT),
    ("POST", "/circuit-breakers/bank-api/copy", {"to": "copied"}, EDIT),
    ("DELETE", "/circuit-breakers/bank-api", None, EDIT),
]
IDS = [f"{method} {path}" for method, path, _, _ in ENDPOINTS]


@pytest.mark.parametrize(("method", "path", "body", "welcome"), ENDPOINTS, ids=IDS)
def test_who_may(method, path, body, welcome, clients, bank_api):
    refused = {name for name, client in clients.items() if _status(client, method, path, body) in (401, 403)}
    assert refused == set(clients) - welcome


@pytest.mark.parametrize(("method", "path", "body", "welcome"), ENDPOINTS, ids=IDS)
def test_who_is_refused_learns_why_and_changes_nothing(method, path, body, welcome, clients, bank_api):
    before = ConfigChange.objects.count()
    for name in sorted(set(clients) - welcome):
        answer = clients[name].generic(
            method, path.replace("<form:form>", "csv"), "{}", content_type="application/json", HTTP_ACCEPT="*/*"
        )
        expected = (401, "not_authenticated") if name == "anonymous" else (403, "permission_denied")
        assert (answer.status_code, answer.json()["error"]["code"]) == expected, name
        assert answer.json().keys() == {"error"}
        assert answer.json()["error"].keys() == {"code", "message", "fields"}
    assert ConfigChange.objects.count() == before


def _status(client, method, path, body):
    send = getattr(client, method.lower())
    return send(path.replace("<form:form>", "csv"), body, HTTP_ACCEPT="application/json").status_code


def test_health_is_public(ground):
    assert APIClient().get("/health").status_code == 200


def test_a_wrong_key_is_refused_also_where_reading_is_public(settings, bank_api):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer nonsense")
    answer = client.get("/circuit-breakers")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication_failed")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_public_reading_lets_anybody_read_and_nobody_write(settings, bank_api):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    nobody = APIClient()
    for method, path, body, welcome in ENDPOINTS:
        status = _status(nobody, method, path, body)
        assert status == (200 if welcome is READ else 401), (method, path)


def test_a_page_of_somebody_else_cannot_act_with_my_session(operator, bank_api):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(operator)
    answer = client.post("/circuit-breakers/bank-api/reset")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert "CSRF" in answer.json()["error"]["message"]


def test_the_audit_names_who_acted(clients, bank_api):
    clients["operator"].post("/circuit-breakers/bank-api/reset", {"reason": "INC-1"})
    clients["key:operate"].post("/circuit-breakers/bank-api/reset", {"reason": "INC-2"})
    found = ConfigChange.objects.filter(kind="reset").order_by("revision").values_list("actor", "reason")
    assert list(found) == [("user:olivia", "INC-1"), ("key:operate", "INC-2")]


def test_a_method_that_nobody_may_use_is_a_405_for_everybody(clients, bank_api):
    for client in clients.values():
        answer = client.delete("/circuit-breakers/bank-api/state")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
        assert "GET" in answer["Allow"]


def test_every_view_of_the_api_has_been_met(bank_api):
    """An endpoint without a line in this file is an endpoint that nobody thought of who may use."""
    from breakers.api import urls

    met = {path.removeprefix("/").replace("bank-api", "<breaker:name>") for _, path, _, _ in ENDPOINTS}
    listed = {str(route.pattern) for route in urls.urlpatterns if route.name != "missing"}
    assert listed - met == {"health", "docs"}  # the page for people has its own test
    assert django_settings.CIRCUIT_BREAKER_PUBLIC_READ is False
