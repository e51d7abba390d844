"""What is changed, and what the answer says of it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from breakers import services
from breakers.core.config import TABLE_DEFAULTS, CircuitBreakerConfig, HttpConfig
from breakers.core.wire import Report
from breakers.fleet import fleet
from breakers.models import BreakerConfig, ConfigChange
from breakers.services import Actor

pytestmark = pytest.mark.django_db
CONFIG = "/circuit-breakers/bank-api/config"
OVERRIDE = "/circuit-breakers/bank-api/override"
RESET = "/circuit-breakers/bank-api/reset"


def test_a_breaker_is_created_from_a_config(api, ground):
    answer = api.post(
        "/circuit-breakers",
        {
            "name": "a:b.c_d-1",
            "failure_threshold": 3,
            "max_retries": 0,
            "group": "g",
            "description": "d",
            "reason": "r",
        },
    )
    assert (answer.status_code, answer["ETag"]) == (201, '"1"')
    body = answer.json()
    assert (body["name"], body["group"], body["version"]) == ("a:b.c_d-1", "g", 1)
    assert (body["config"]["failure_threshold"], body["config"]["max_retries"]) == (3, 0)
    assert api.get(answer["Location"]).json()["description"] == "d"
    assert ConfigChange.objects.get().reason == "r"


def test_defaults_are_the_tables_whatever_the_environment_of_the_server_says(api, bank_api, monkeypatch):
    monkeypatch.setenv("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "77")
    assert api.post("/circuit-breakers", {"name": "new"}).json()["config"]["failure_threshold"] == 5
    assert api.put(CONFIG, {}).json()["config"]["failure_threshold"] == 5


def test_a_name_that_is_taken_is_a_conflict(api, bank_api):
    answer = api.post("/circuit-breakers", {"name": "bank-api"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_exists")
    assert "name" in answer.json()["error"]["fields"]


def test_put_sets_the_whole_config_and_what_is_absent_to_its_default(api, breaker):
    breaker("bank-api", failure_threshold=9, recovery_timeout=5.0)
    answer = api.put(CONFIG, {"failure_threshold": 4, "retry_backoff": 1})
    body = answer.json()
    assert (answer.status_code, body["version"], answer["ETag"]) == (200, 2, '"2"')
    assert body["config"] == {
        **TABLE_DEFAULTS, **HttpConfig().as_dict(), "name": "bank-api", "failure_threshold": 4, "retry_backoff": 1.0,
    }  # fmt: skip
    assert body["applied"] == {"on": 0, "of": 0}


def test_patch_changes_a_part(api, breaker):
    breaker("bank-api", failure_threshold=9, recovery_timeout=5.0)
    config = api.patch(CONFIG, {"timeout": None, "max_retries": 7}).json()["config"]
    assert (config["failure_threshold"], config["recovery_timeout"]) == (9, 5.0)
    assert (config["timeout"], config["max_retries"]) == (None, 7)


def test_a_patch_keeps_an_edit_that_came_between(api, bank_api, monkeypatch):
    """The fleet's memory was read before the other edit was written."""
    api.get(CONFIG)
    synchronise = fleet.synchronise
    behind = iter([True])
    monkeypatch.setattr(fleet, "synchronise", lambda: next(behind, None) or synchronise())
    config = CircuitBreakerConfig(recovery_timeout=7.0)
    services.breaker_edit(name="bank-api", config=config, http=HttpConfig(), reason="", by=Actor("system"))
    saved = api.patch(CONFIG, {"failure_threshold": 9}).json()
    assert (saved["config"]["recovery_timeout"], saved["config"]["failure_threshold"]) == (7.0, 9)
    assert saved["version"] == 3


def test_what_was_read_can_be_put_back(api, breaker):
    breaker("bank-api", failure_threshold=9)
    before = api.get(CONFIG).json()
    after = api.put(CONFIG, before["config"])
    assert after.json() == before, "no change, no new version"
    assert ConfigChange.objects.count() == 1


def test_an_edit_tells_how_many_instances_have_still_to_apply_it(api, bank_api, running):
    running(bank_api="closed")
    assert api.patch(CONFIG, {"failure_threshold": 2}).json()["applied"] == {"on": 0, "of": 1}


def test_a_breaker_keeps_its_name(api, bank_api):
    answer = api.patch(CONFIG, {"name": "other"})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["name"])


def test_deleting_answers_nothing_and_leaves_nothing(api, bank_api):
    answer = api.delete("/circuit-breakers/bank-api")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not BreakerConfig.objects.exists()
    assert api.delete("/circuit-breakers/bank-api").status_code == 404


def test_an_override_is_set_until_it_expires_and_released(api, bank_api):
    answer = api.put(OVERRIDE, {"override": "forced_open", "reason": "INC-1", "expires_in": 900})
    override = answer.json()["override"]
    assert (answer.status_code, override["override"], override["reason"]) == (200, "forced_open", "INC-1")
    assert override["by"] == "key:deploy"
    until = BreakerConfig.objects.get().override_expires_at
    assert 890 < (until - timezone.now()).total_seconds() <= 900
    answer = api.delete(OVERRIDE, {"reason": "over"})
    assert (answer.status_code, answer.json()["override"]) == (200, None)
    assert ConfigChange.objects.first().reason == "over"


@pytest.mark.parametrize("expires", [{}, {"expires_in": None}])
def test_an_override_without_an_end_stands_until_released(api, bank_api, expires):
    answer = api.put(OVERRIDE, {"override": "forced_closed", **expires})
    assert answer.json()["override"]["expires_at"] is None


def test_a_reset_answers_at_once_with_who_has_still_to_confirm(api, bank_api, running):
    identity = running(bank_api="open")
    running(bank_api="closed")
    answer = api.post(RESET, {"reason": "INC-1"})
    body = answer.json()
    assert answer.status_code == 200
    assert {key: body[key] for key in ("status", "name", "new_state", "instances")} == {
        "status": "reset",
        "name": "bank-api",
        "new_state": "closed",
        "instances": {"targeted": 2, "confirmed": 0, "silent": 0},
    }
    (told,) = fleet.resets_for(identity.id, 0)
    fleet.report(identity.id, Report(2, 0.0, resets=(told.id,)), timezone.now())
    assert fleet.reset_progress(body["command"])["confirmed"] == 1


def test_a_reset_needs_no_body(api, bank_api):
    assert api.post(RESET).status_code == 200
    assert api.generic("POST", RESET, b"", content_type="application/json").status_code == 200


def test_one_instance_is_reset(api, bank_api, running):
    identity, other = running(bank_api="open"), running(bank_api="open")
    answer = api.post(RESET, {"instance": str(identity.id)})
    assert answer.json()["instances"]["targeted"] == 1
    assert fleet.resets_for(other.id, 0) == ()


def test_an_instance_that_does_not_have_the_breaker_is_named(api, bank_api, running):
    identity = running(kyc="open")
    answer = api.post(RESET, {"instance": str(identity.id)})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["instance"])


def test_reset_all_resets_every_breaker(api, breaker, running):
    breaker("bank-api")
    breaker("kyc")
    identity = running(bank_api="open", kyc="half_open")
    answer = api.post("/circuit-breakers/reset-all", {"reason": "INC-1"})
    assert answer.json() == {"status": "reset_all", "total_breakers": 2, "reset_count": 2}
    assert {told.name for told in fleet.resets_for(identity.id, 0)} == {"bank-api", "kyc"}
    assert set(ConfigChange.objects.filter(kind="reset").values_list("reason", flat=True)) == {"INC-1"}


ACTIONS = [
    ("put", CONFIG, {"failure_threshold": 2}),
    ("patch", CONFIG, {"failure_threshold": 2}),
    ("put", OVERRIDE, {"override": "forced_open"}),
    ("delete", OVERRIDE, {}),
    ("post", RESET, {}),
    ("delete", "/circuit-breakers/bank-api", {}),
]
WAYS = [f"{method} {path.rpartition('/')[2]}" for method, path, _ in ACTIONS]


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS, ids=WAYS)
def test_who_saw_an_older_version_is_told_the_current_one(api, bank_api, method, path, body):
    api.patch(CONFIG, {"failure_threshold": 8})
    before = ConfigChange.objects.count()
    answer = getattr(api, method)(path, body, HTTP_IF_MATCH='"1"')
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "version_conflict")
    assert answer["ETag"] == '"2"'
    assert ConfigChange.objects.count() == before


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS, ids=WAYS)
@pytest.mark.parametrize("header", ['"1"', 'W/"1"', "*", '"7", "1"', ' "1" '])
def test_who_saw_the_current_version_may_act(api, bank_api, method, path, body, header):
    assert getattr(api, method)(path, body, HTTP_IF_MATCH=header).status_code in (200, 204)


@pytest.mark.parametrize("header", ['"abc"', '"0"', '""', '"99999999999999999999"', '"-1"', '"1.0"'])
def test_a_tag_that_nothing_has_is_a_lost_race(api, bank_api, header):
    assert api.post(RESET, HTTP_IF_MATCH=header).status_code == 412


@pytest.mark.parametrize("header", ["1", "abc", '"1', '"1" "2"', ""])
def test_a_precondition_that_cannot_be_read_is_named(api, bank_api, header):
    answer = api.post(RESET, HTTP_IF_MATCH=header)
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["If-Match"])


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS, ids=WAYS)
def test_acting_on_an_unknown_breaker_is_a_404(api, ground, method, path, body):
    answer = getattr(api, method)(path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_forcing_most_of_a_group_open_takes_a_confirmation(api, breaker):
    for name in ("a", "b", "c"):
        breaker(name, group="core")
    forced = {"override": "forced_open", "reason": "INC-1"}
    assert api.put("/circuit-breakers/a/override", forced).status_code == 200
    answer = api.put("/circuit-breakers/b/override", forced)
    problem = answer.json()["error"]
    assert (answer.status_code, problem["code"], set(problem["fields"])) == (409, "needs_confirmation", {"confirm"})
    assert "2 of the 3 breakers of the group 'core'" in problem["message"]
    assert api.put("/circuit-breakers/b/override", {**forced, "confirm": 1}).status_code == 400
    assert api.put("/circuit-breakers/b/override", {**forced, "confirm": False}).status_code == 409
    assert api.put("/circuit-breakers/b/override", {**forced, "confirm": True}).status_code == 200
