"""What is read, endpoint by endpoint."""

from __future__ import annotations

import pytest
from django.utils.dateparse import parse_datetime
from prometheus_client.parser import text_string_to_metric_families

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.services import Actor

pytestmark = pytest.mark.django_db

ROW = {
    "name", "group", "state", "override", "services", "instances", "since", "retry_at", "cause", "rates",
    "failure_rate", "p50", "p95", "p99", "version", "applied", "limit", "trend", "ready_to_probe",
}  # fmt: skip


@pytest.fixture
def several(breaker, running):
    breaker("bank-api", group="settlement")
    breaker("fix-gateway", group="orders", failure_rate_threshold=0.5)
    breaker("kyc", group="settlement")
    running(service="trading", bank_api="open", fix_gateway="half_open")
    running(service="billing", bank_api="closed", kyc="closed")


def names(answer):
    assert answer.status_code == 200, answer.content
    return [row["name"] for row in answer.json()["results"]]


def test_the_list_is_pages_of_rows(api, several):
    answer = api.get("/circuit-breakers").json()
    assert answer.keys() == {"count", "next", "previous", "results"}
    assert (answer["count"], answer["next"], answer["previous"]) == (3, None, None)
    assert [row.keys() for row in answer["results"]] == [ROW] * 3
    assert [row["name"] for row in answer["results"]] == ["bank-api", "fix-gateway", "kyc"]


def test_following_next_meets_each_row_once(api, several):
    url, seen = "/circuit-breakers?page_size=2", []
    while url:
        page = api.get(url).json()
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
    assert seen == ["bank-api", "fix-gateway", "kyc"]
    assert api.get("/circuit-breakers?page_size=2&page=2").json()["previous"].startswith("http://testserver/")


def test_a_page_beyond_the_last_is_not_there(api, several):
    answer = api.get("/circuit-breakers?page=2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_an_empty_fleet_has_one_empty_page(api):
    assert api.get("/circuit-breakers").json() == {"count": 0, "next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=open", ["bank-api"]),
        ("state=open,half_open", ["bank-api", "fix-gateway"]),
        ("state=closed", ["kyc"]),
        ("state=open&state=half_open", ["bank-api", "fix-gateway"]),
        ("service=billing", ["bank-api", "kyc"]),
        ("service=bill", []),
        ("group=settlement", ["bank-api", "kyc"]),
        ("state=&service=&group=&search=&ordering=", ["bank-api", "fix-gateway", "kyc"]),
        ("search=GATE", ["fix-gateway"]),
        ("search=settle", ["bank-api", "kyc"]),
        ("search=billing kyc", ["kyc"]),
        ("search=", ["bank-api", "fix-gateway", "kyc"]),
        ("state=open&group=orders", []),
        ("ordering=-name", ["kyc", "fix-gateway", "bank-api"]),
        ("ordering=-state", ["bank-api", "fix-gateway", "kyc"]),
        ("ordering=state", ["kyc", "fix-gateway", "bank-api"]),
        ("ordering=group,-name", ["fix-gateway", "kyc", "bank-api"]),
    ],
)
def test_rows_are_filtered_and_ordered(api, several, query, expected):
    assert names(api.get(f"/circuit-breakers?{query}")) == expected


@pytest.mark.parametrize("descending", ["", "-"])
@pytest.mark.parametrize("by", ["since", "failure_rate", "calls", "rejected", "p50", "p95", "p99", "version"])
def test_every_ordering_is_known_and_rows_without_a_value_come_last(api, several, by, descending):
    rows = api.get(f"/circuit-breakers?ordering={descending}{by}").json()["results"]
    values = [row.get(by, row["rates"].get(by)) for row in rows]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=bool(descending)) + [None] * (len(values) - len(known))


def test_a_breaker_is_its_row_with_config_metrics_instances_and_latest_transitions(api, several, transitions):
    transitions(*["closed>open", "open>half_open"] * 6)
    answer = api.get("/circuit-breakers/bank-api")
    body = answer.json()
    assert body.keys() >= ROW | {"config", "metrics", "instance_rows", "recent"}
    assert body["config"] == CircuitBreakerConfig(name="bank-api").as_dict() | HttpConfig().as_dict()
    assert [row["state"] for row in body["instance_rows"]] == ["open", "closed"]
    assert [row["cause"] for row in body["recent"]] == [f"cause {number}" for number in range(12, 2, -1)]
    assert body["metrics"]["successes_total"] == 16
    assert answer["ETag"] == '"1"'


def test_the_state_answers_three_questions_with_one_yes(api, several):
    answer = api.get("/circuit-breakers/bank-api/state").json()
    assert answer.keys() == {
        "name", "state", "override", "is_open", "is_half_open", "is_closed", "since", "instances",
    }  # fmt: skip
    assert (answer["is_open"], answer["is_half_open"], answer["is_closed"]) == (True, False, False)
    assert answer["instances"] == {"total": 2, "closed": 1, "half_open": 0, "open": 1, "silent": 0}
    answer = api.get("/circuit-breakers/fix-gateway/state").json()
    assert (answer["is_open"], answer["is_half_open"], answer["is_closed"]) == (False, True, False)


def test_forced_open_is_open_whatever_the_machine_says(api, several):
    api.put("/circuit-breakers/kyc/override", {"override": "forced_open"})
    answer = api.get("/circuit-breakers/kyc/state").json()
    assert (answer["state"], answer["is_open"], answer["is_closed"]) == ("closed", True, False)
    api.put("/circuit-breakers/kyc/override", {"override": "forced_closed"})
    answer = api.get("/circuit-breakers/kyc/state").json()
    assert (answer["is_open"], answer["is_closed"]) == (False, True)


def test_metrics_of_a_breaker_are_summed_over_the_fleet(api, several):
    answer = api.get("/circuit-breakers/bank-api/metrics").json()
    assert (answer["state"], answer["requests_total"], answer["failures_total"]) == ("open", 20, 4)
    assert answer["config_version"] == 1


def test_history_is_transitions_newest_first(api, bank_api, transitions):
    identity = transitions("closed>open", "open>half_open", "half_open>closed")
    answer = api.get("/circuit-breakers/bank-api/history?page_size=2").json()
    assert (answer["count"], [row["to_state"] for row in answer["results"]]) == (3, ["closed", "half_open"])
    row = answer["results"][0]
    assert (row["service"], row["instance"], row["from_state"]) == ("trading_service", str(identity.id), "half_open")
    assert (row["reason"], row["cause"], row["failures"], row["calls"], row["failure_rate"]) == (
        "reset", "cause 3", 5, 9, 0.55,
    )  # fmt: skip
    assert parse_datetime(row["at"]).utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("to_state=open", 2), ("from_state=open", 1), ("service=billing", 1), ("service=nobody", 0),
        ("reason=reset", 3),
        ("reason=failure_rate", 0), ("since=2100-01-01T00:00:00Z", 0), ("until=2100-01-01T00:00:00Z", 3),
    ],
)  # fmt: skip
def test_history_is_filtered(api, bank_api, transitions, query, count):
    transitions("closed>open", "open>half_open")
    transitions("closed>open", service="billing")
    assert api.get(f"/circuit-breakers/bank-api/history?{query}").json()["count"] == count


def test_history_of_one_instance(api, bank_api, transitions):
    identity = transitions("closed>open")
    transitions("closed>open")
    assert api.get(f"/circuit-breakers/bank-api/history?instance={identity.id}").json()["count"] == 1


def test_changes_say_who_when_why_from_and_to(api, bank_api):
    api.patch("/circuit-breakers/bank-api/config", {"failure_threshold": 9, "reason": "INC-7"})
    api.post("/circuit-breakers/bank-api/reset", {"reason": "try"})
    answer = api.get("/circuit-breakers/bank-api/changes").json()
    assert [row["kind"] for row in answer["results"]] == ["reset", "edited", "created"]
    edit = answer["results"][1]
    assert (edit["actor"], edit["reason"], edit["version"]) == ("key:deploy", "INC-7", 2)
    assert (edit["before"]["failure_threshold"], edit["after"]["failure_threshold"]) == (5, 9)
    assert api.get("/circuit-breakers/bank-api/changes?kind=edited").json()["count"] == 1
    assert api.get("/circuit-breakers/bank-api/changes?actor=user:alice").json()["count"] == 1


def test_what_was_deleted_keeps_its_history_and_its_audit(api, bank_api, transitions):
    transitions("closed>open")
    api.delete("/circuit-breakers/bank-api", {"reason": "retired"})
    assert api.get("/circuit-breakers/bank-api").status_code == 404
    assert api.get("/circuit-breakers/bank-api/history").json()["count"] == 1
    assert api.get("/circuit-breakers/bank-api/changes").json()["results"][0]["reason"] == "retired"


def test_the_dashboard_is_summary_and_breakers(api, several):
    answer = api.get("/dashboard", HTTP_ACCEPT="application/json").json()
    assert answer.keys() == {"summary", "breakers"}
    assert answer["summary"].keys() >= {
        "total", "open", "half_open", "closed", "requests", "failures", "successes", "rejected", "failure_rate",
    }  # fmt: skip
    assert (answer["summary"]["total"], answer["summary"]["open"], answer["summary"]["requests"]) == (3, 1, 40)
    assert [row.keys() for row in answer["breakers"]] == [ROW] * 3


def test_alerts_are_counted(api, several):
    answer = api.get("/alerts").json()
    assert answer["alert_count"] == len(answer["alerts"]) == 2
    first, second = answer["alerts"]
    assert (first["level"], first["name"], first["kind"]) == ("error", "bank-api", "open")
    assert (second["level"], second["name"], second["kind"]) == ("warning", "fix-gateway", "half_open")
    assert first.keys() >= {"level", "name", "kind", "message", "since", "cause", "link"}


def test_prometheus_reads_the_metrics_of_fleet_and_server(api, several):
    answer = api.get("/metrics", HTTP_ACCEPT="text/plain;version=0.0.4")
    assert answer["Content-Type"].startswith("text/plain")
    found = {family.name: family for family in text_string_to_metric_families(answer.content.decode())}
    states = {s.labels["name"]: (s.labels["state"], s.value) for s in found["circuit_breaker_state"].samples}
    assert states == {"bank-api": ("open", 1), "fix-gateway": ("half_open", 2), "kyc": ("closed", 0)}
    assert "django_http_requests_before_middlewares" in found


@pytest.mark.parametrize("path", ["", "/state", "/metrics", "/history", "/changes", "/config"])
def test_an_unknown_breaker_is_not_there(api, path):
    answer = api.get(f"/circuit-breakers/nobody{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_reading_asks_the_database_no_more_than_whether_something_is_newer(api, several, django_assert_max_num_queries):
    api.get("/circuit-breakers")
    with django_assert_max_num_queries(3):  # the key, its last use, the revision
        api.get("/circuit-breakers")


def test_an_edit_of_another_process_is_seen_by_the_next_read(api, several):
    assert api.get("/circuit-breakers/kyc").json()["config"]["failure_threshold"] == 5
    config = CircuitBreakerConfig(failure_threshold=9)
    services.breaker_edit(name="kyc", config=config, http=HttpConfig(), reason="", by=Actor("system"))
    assert api.get("/circuit-breakers/kyc").json()["config"]["failure_threshold"] == 9


@pytest.mark.parametrize(
    "path",
    ["/circuit-breakers", "/circuit-breakers/bank-api", "/circuit-breakers/bank-api/state", "/dashboard", "/alerts",
     "/configs", "/circuit-breakers/nobody"],
)  # fmt: skip
def test_nobody_keeps_an_answer_for_later(api, bank_api, path):
    assert "no-store" in api.get(path)["Cache-Control"]
