"""A client that heard no answer asks again under its key: nothing is done twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from breakers.api import idempotency
from breakers.models import ConfigChange, KeptAnswer

pytestmark = pytest.mark.django_db
RESET = "/circuit-breakers/bank-api/reset"
EDIT = "/circuit-breakers/bank-api/config"
ACTIONS = [
    ("POST", RESET, {"reason": "INC-1"}),
    ("POST", "/circuit-breakers/reset-all", {}),
    ("PUT", "/circuit-breakers/bank-api/override", {"override": "forced_closed"}),
    ("PUT", EDIT, {"failure_threshold": 9}),
    ("PATCH", EDIT, {"failure_threshold": 8}),
    ("POST", "/circuit-breakers", {"name": "new"}),
    ("POST", "/circuit-breakers/bank-api/copy", {"to": "copied"}),
    ("POST", "/configs", {"format": 1, "breakers": {"made": {}}}),
    ("DELETE", "/circuit-breakers/bank-api", {}),
]


def ask(client, method, path, body, key="once", **headers):
    return getattr(client, method.lower())(path, body, format="json", headers={"Idempotency-Key": key, **headers})


@pytest.mark.parametrize(("method", "path", "body"), ACTIONS, ids=[f"{m} {p}" for m, p, _ in ACTIONS])
def test_the_same_again_answers_the_same_and_does_nothing(api, bank_api, method, path, body):
    first = ask(api, method, path, body)
    done = ConfigChange.objects.count()
    again = ask(api, method, path, body)
    assert first.status_code == again.status_code < 300
    assert first.content == again.content
    assert {name: first.get(name) for name in ("ETag", "Location")} == {
        name: again.get(name) for name in ("ETag", "Location")
    }
    assert ("Idempotent-Replayed" in first.headers, again["Idempotent-Replayed"]) == (False, "true")
    assert ConfigChange.objects.count() == done


def test_without_a_key_and_under_another_it_is_done_again(api, bank_api):
    commands = {ask(api, "POST", RESET, {}, key).json()["command"] for key in ("a", "b")}
    commands |= {api.post(RESET).json()["command"] for _ in range(2)}
    assert len(commands) == 4


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", RESET, {"reason": "other"}, {}),
        ("POST", "/circuit-breakers/reset-all", {"reason": "INC-1"}, {}),
        ("POST", RESET + "?x=1", {"reason": "INC-1"}, {}),
        ("POST", RESET, {"reason": "INC-1"}, {"If-Match": '"1"'}),
    ],
)
def test_another_request_under_the_same_key_is_refused(api, bank_api, method, path, body, headers):
    ask(api, "POST", RESET, {"reason": "INC-1"})
    done = ConfigChange.objects.count()
    answer = ask(api, method, path, body, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "key_reused")
    assert ConfigChange.objects.count() == done


def test_keys_of_two_callers_are_two_keys(api, bank_api, clients):
    first = ask(api, "POST", RESET, {}).json()["command"]
    assert ask(clients["operator"], "POST", RESET, {}).json()["command"] != first


def test_what_was_refused_leaves_the_key_free(api, bank_api):
    assert ask(api, "PATCH", EDIT, {"failure_threshold": -1}).status_code == 400
    assert ask(api, "PATCH", EDIT, {"failure_threshold": 3}, **{"If-Match": '"9"'}).status_code == 412
    assert ask(api, "PATCH", EDIT, {"failure_threshold": 3}).status_code == 200
    assert KeptAnswer.objects.count() == 1


def test_who_may_not_takes_no_key(bank_api, clients):
    assert ask(clients["viewer"], "POST", RESET, {}).status_code == 403
    assert not KeptAnswer.objects.exists()


def test_one_that_has_not_ended_is_not_begun_a_second_time(api, bank_api):
    ask(api, "POST", RESET, {})
    KeptAnswer.objects.update(status=None)
    done = ConfigChange.objects.count()
    answer = ask(api, "POST", RESET, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "key_in_use")
    assert ConfigChange.objects.count() == done


def test_after_a_day_the_key_is_a_new_one(api, bank_api):
    first = ask(api, "POST", RESET, {}).json()["command"]
    KeptAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert ask(api, "POST", RESET, {}).json()["command"] != first
    KeptAnswer.objects.update(created_at=timezone.now() - timedelta(hours=23))
    assert ask(api, "POST", RESET, {})["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("bad", ["", "x" * 201, "ä", "a\tb"])
def test_a_key_that_cannot_be_is_refused(api, bank_api, bad):
    answer = ask(api, "POST", RESET, {}, bad)
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"].keys() == {idempotency.HEADER}


def test_reading_takes_no_key(api, bank_api):
    assert api.get("/circuit-breakers", headers={"Idempotency-Key": "x" * 300}).status_code == 200
    assert not KeptAnswer.objects.exists()


def test_a_person_with_a_session_is_answered_once_too(operator, bank_api):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(operator)
    client.cookies["csrftoken"] = "x" * 32
    given = {"HTTP_IDEMPOTENCY_KEY": "k", "HTTP_X_CSRFTOKEN": "x" * 32}
    first, again = (client.post("/circuit-breakers/bank-api/reset", {"reason": "INC-1"}, **given) for _ in range(2))
    assert (first.status_code, again.status_code, again["Idempotent-Replayed"]) == (200, 200, "true")
    assert first.json() == again.json()
    assert ConfigChange.objects.filter(kind="reset").count() == 1
