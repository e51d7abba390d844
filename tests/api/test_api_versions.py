"""Versions, copies and documents over HTTP; and the warnings that an edit comes back with."""

from __future__ import annotations

import pytest
import yaml

from breakers import documents, selectors, services
from breakers.models import BreakerConfig, ConfigChange

pytestmark = pytest.mark.django_db


def edit(api, **values):
    return api.patch("/circuit-breakers/bank-api/config", values).json()


def test_an_edit_answers_with_its_warnings(api, bank_api):
    assert edit(api, failure_threshold=8)["warnings"] == []
    assert "probe every second" in edit(api, recovery_timeout=1)["warnings"][0]


def test_versions_are_listed_and_one_is_restored(api, bank_api):
    edit(api, failure_threshold=8, reason="calmer")
    listed = api.get("/circuit-breakers/bank-api/versions").json()
    assert [(row["version"], row["reason"], row["actor"]) for row in listed["results"]] == [
        (2, "calmer", "key:deploy"),
        (1, "", "user:alice"),
    ]
    assert listed["results"][1]["config"]["failure_threshold"] == 5
    answer = api.post("/circuit-breakers/bank-api/restore", {"version": 1, "reason": "back"})
    assert (answer.status_code, answer["ETag"], answer.json()["version"]) == (200, '"3"', 3)
    assert answer.json()["config"]["failure_threshold"] == 5
    assert ConfigChange.objects.latest("revision").reason == "back"


def test_a_restore_minds_the_race_and_what_never_was(api, bank_api):
    edit(api, failure_threshold=8)
    path = "/circuit-breakers/bank-api/restore"
    assert api.post(path, {"version": 1}, HTTP_IF_MATCH='"1"').status_code == 412
    answer = api.post(path, {"version": 7})
    assert (answer.status_code, set(answer.json()["error"]["fields"])) == (404, {"version"})
    for wrong in ({}, {"version": 0}, {"version": "1"}, {"version": 1, "x": 1}):
        assert api.post(path, wrong).status_code == 400, wrong
    assert selectors.breaker("bank-api").version == 2
    assert api.post("/circuit-breakers/nobody/restore", {"version": 1}).status_code == 404


def test_a_config_is_copied_to_a_new_and_to_an_old_breaker(api, breaker):
    breaker("bank-api", failure_threshold=9)
    path = "/circuit-breakers/bank-api/copy"
    made = api.post(path, {"to": "other"}).json()
    assert (made["name"], made["version"], made["config"]["failure_threshold"]) == ("other", 1, 9)
    edit(api, failure_threshold=8)
    assert api.post(path, {"to": "other", "to_version": 2}).status_code == 412
    assert api.post(path, {"to": "other", "to_version": 1}).json()["version"] == 2
    for wrong in ({}, {"to": "a b"}, {"to": "reset-all"}, {"to": 5}):
        assert set(api.post(path, wrong).json()["error"]["fields"]) == {"to"}
    assert api.post("/circuit-breakers/nobody/copy", {"to": "x"}).status_code == 404


def test_a_copy_of_what_was_edited_meanwhile_is_refused(api, breaker):
    breaker("bank-api")
    edit(api, failure_threshold=8)
    refused = api.post("/circuit-breakers/bank-api/copy", {"to": "other"}, HTTP_IF_MATCH='"1"')
    assert (refused.status_code, refused["ETag"]) == (412, '"2"')
    assert api.get("/circuit-breakers/other").status_code == 404
    made = api.post("/circuit-breakers/bank-api/copy", {"to": "other"}, HTTP_IF_MATCH='"2"')
    assert (made.status_code, made.json()["config"]["failure_threshold"]) == (200, 8)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("other", "'other' was changed meanwhile; its version is now 1."),
        ("nobody", "There is no 'nobody'."),
    ],
)
def test_a_copy_over_what_was_edited_meanwhile_is_refused_and_says_which(api, breaker, target, sentence):
    breaker("bank-api")
    breaker("other")
    edit(api, failure_threshold=8)
    refused = api.post("/circuit-breakers/bank-api/copy", {"to": target, "to_version": 2})
    assert (refused.status_code, refused.json()["error"]["fields"]) == (412, {"to_version": sentence})
    assert "ETag" not in refused


def post(api, text: str, query: str = "", content_type: str = "application/yaml"):
    return api.generic("POST", f"/configs{query}", text, content_type=content_type)


def test_configs_go_out_and_come_in_again_with_a_plan_first(api, bank_api):
    answer = api.get("/configs")
    assert answer["Content-Type"].startswith("application/yaml")
    document = yaml.safe_load(answer.content)
    document["breakers"]["bank-api"]["config"]["failure_threshold"] = 8
    text = yaml.safe_dump(document)
    plan = post(api, text, "?dry_run=1").json()
    assert (plan["dry_run"], plan["writes"], plan["refused"]) == (True, 1, False)
    assert plan["breakers"][0]["differences"] == {"failure_threshold": [5, 8]}
    assert selectors.breaker("bank-api").version == 1
    assert post(api, text, "?reason=INC-1").json()["writes"] == 1
    assert ConfigChange.objects.latest("revision").reason == "INC-1"
    assert api.get("/circuit-breakers/bank-api/config").json()["config"]["failure_threshold"] == 8


def test_an_import_that_lost_the_race_is_a_409_that_names_the_breaker(api, bank_api):
    document = yaml.safe_load(api.get("/configs").content)
    document["breakers"]["bank-api"]["config"]["failure_threshold"] = 8
    edit(api, success_threshold=7)
    answer = post(api, yaml.safe_dump(document))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "import_refused")
    assert "version 2 now" in answer.json()["error"]["fields"]["bank-api"]
    assert post(api, yaml.safe_dump(document), "?dry_run=1").json()["refused"] is True
    assert selectors.breaker("bank-api").failure_threshold == 5


def many(count: int) -> str:
    return "format: 1\nbreakers:\n" + "".join(f"  b{number}: {{}}\n" for number in range(count))


@pytest.mark.parametrize("query", ["", "?dry_run=1"])
def test_more_than_the_database_could_write_at_once_is_refused_in_words(api, ground, query):
    fields = post(api, many(services.MOST_IMPORTED + 1), query).json()["error"]["fields"]
    assert fields == {"breakers": "would write 1001 of them; at most 1000 at once: import it in parts"}
    fields = post(api, many(documents.MOST + 1), query).json()["error"]["fields"]
    assert fields == {"breakers": "must be at most 10000, not 10001"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("{", "application/yaml", 400),
        ("", "application/yaml", 400),
        ("\xff", "application/yaml; charset=latin-1", 400),
        ('{"format": 1, "breakers": {"x": {"config": {"timeout": -1}}}}', "application/json", 400),
        ("format: 1", "text/plain", 415),
        ("a: " + "x" * (4 * 1024 * 1024), "application/yaml", 413),
    ],
)
def test_a_document_that_cannot_be_is_refused_in_our_shape(api, bank_api, body, content_type, status):
    answer = api.generic("POST", "/configs", body.encode("latin-1"), content_type=content_type)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"code", "message", "fields"}
    assert BreakerConfig.objects.count() == 1


def test_json_is_a_document_too(api, ground):
    body = '{"format": 1, "breakers": {"new": {"group": "core"}}}'
    assert post(api, body, content_type="application/json").json()["writes"] == 1
    assert selectors.breaker("new").group == "core"


def test_an_import_reads_the_numbers_of_json(api, bank_api):
    body = '{"format": 1, "breakers": {"bank-api": {"config": {"recovery_timeout": 1e3, "max_retry_wait": 25E-2}}}}'
    assert api.generic("POST", "/configs", body, content_type="application/json").status_code == 200
    config = api.get("/circuit-breakers/bank-api/config").json()["config"]
    assert (config["recovery_timeout"], config["max_retry_wait"]) == (1000.0, 0.25)


@pytest.mark.parametrize("wanted", ["true", "1"])
def test_a_dry_run_may_be_said_in_words(api, bank_api, wanted):
    assert post(api, "format: 1\nbreakers: {new: {}}", f"?dry_run={wanted}").json()["dry_run"] is True
    assert BreakerConfig.objects.count() == 1
    assert post(api, "format: 1\nbreakers: {new: {}}", "?dry_run=false&reason=INC-1").json()["dry_run"] is False
    assert selectors.changes("new").get().reason == "INC-1"


@pytest.mark.parametrize("number", ["010", "1:30", "1_000", "0x10", "0b11", "1:30.5", "+-1", "5.", "٥"])
def test_a_number_that_yaml_reads_in_more_ways_than_one_is_refused(api, bank_api, number):
    text = f"format: 1\nbreakers: {{bank-api: {{config: {{failure_threshold: {number}}}}}}}"
    fields = post(api, text).json()["error"]["fields"]
    assert list(fields) == ["breakers.bank-api.config.failure_threshold"]
    assert number in fields["breakers.bank-api.config.failure_threshold"]


@pytest.mark.parametrize(
    ("number", "seconds"),
    [("7", 7.0), ("+7", 7.0), ("0.5", 0.5), (".5", 0.5), ("7.", 7.0), ("1e1", 10.0), ("2.5E-1", 0.25)],
)
def test_a_number_on_which_all_agree_is_read(api, bank_api, number, seconds):
    text = f"format: 1\nbreakers: {{bank-api: {{config: {{recovery_timeout: {number}}}}}}}"
    assert post(api, text).status_code == 200
    assert selectors.breaker("bank-api").recovery_timeout == seconds


@pytest.mark.parametrize("stated", ["true", "1.0", "'1'", "2"])
def test_a_document_of_another_format_is_refused(api, bank_api, stated):
    assert post(api, f"format: {stated}\nbreakers: {{}}").json()["error"]["fields"] == {"format": "must be 1"}


def test_names_that_yaml_could_take_for_something_else_go_out_and_come_in(api, breaker):
    for name in ("1", "010", "1_000", "1:30", "1e5", "yes", "null", "-", "_", "0x1F", "2026-01-01", "1.", ".5"):
        breaker(name, group=name)
    text = api.get("/configs?versions=0").content.decode()
    assert {line["action"] for line in post(api, text, "?dry_run=1").json()["breakers"]} == {"same"}
