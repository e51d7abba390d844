"""Bad input of every kind: refused with 400, naming each field, and nothing is written."""

from __future__ import annotations

import gzip
import json

import pytest

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS
from breakers.models import ConfigChange

pytestmark = pytest.mark.django_db
CONFIG = "/circuit-breakers/bank-api/config"
JUNK = [
    "5",
    "",
    [],
    {},
    True,
    -1,
    -0.5,
    float("nan"),
    float("inf"),
    float("-inf"),
    10**400,
    "x" * 1000,
    "\x00",
    "\ud800",
]
FIELDS = {name: bounds for name, bounds in {**BREAKER_FIELDS, **HTTP_FIELDS}.items() if name != "name"}


def send(api, method, path, body):
    return api.generic(method, path, json.dumps(body), content_type="application/json")


def wrong(answer):
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert all(isinstance(sentence, str) and sentence for sentence in error["fields"].values())
    return set(error["fields"])


@pytest.fixture(autouse=True)
def nothing_is_written(bank_api):
    before = list(ConfigChange.objects.values_list("id", flat=True))
    yield
    assert list(ConfigChange.objects.values_list("id", flat=True)) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_refuses_what_the_library_refuses(api, method, name):
    bad = [value for value in [*JUNK, None] if FIELDS[name].problem(value) is not None]
    assert len(bad) > 5
    for value in bad:
        assert wrong(send(api, method, CONFIG, {name: value})) == {name}, value


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_every_wrong_field_is_named_at_once(api, method):
    body = {name: [] for name in FIELDS} | {"nonsense": 1, "group": 5, "description": None, "reason": 7, "name": "../x"}
    assert wrong(send(api, method, CONFIG, body)) == set(body)


def test_a_sentence_names_the_bound(api):
    fields = send(api, "PATCH", CONFIG, {"failure_threshold": "5"}).json()["error"]["fields"]
    assert fields == {"failure_threshold": "must be an integer >= 0 and <= 2147483647, not '5'"}


def test_what_only_the_whole_shows_is_named_too(api):
    assert wrong(send(api, "PATCH", CONFIG, {"minimum_calls": 101})) == {"minimum_calls"}
    assert wrong(send(api, "PUT", CONFIG, {"slow_call_rate_threshold": 0.5})) == {"slow_call_rate_threshold"}


@pytest.mark.parametrize("name", ["", ".", "..", "reset-all", "a/b", "a b", "ä", "x" * 101, None, 5, [], "a\n"])
def test_a_name_that_cannot_be_is_refused(api, name):
    assert wrong(send(api, "POST", "/circuit-breakers", {"name": name})) == {"name"}


def test_a_name_is_needed(api):
    assert wrong(send(api, "POST", "/circuit-breakers", {})) == {"name"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"override"}),
        ({"override": "closed"}, {"override"}),
        ({"override": None}, {"override"}),
        ({"override": ["forced_open"]}, {"override"}),
        ({"override": "forced_open", "expires_in": 0}, {"expires_in"}),
        ({"override": "forced_open", "expires_in": -5}, {"expires_in"}),
        ({"override": "forced_open", "expires_in": 5e-324}, {"expires_in"}),
        ({"override": "forced_open", "expires_in": "60"}, {"expires_in"}),
        ({"override": "forced_open", "expires_in": float("inf")}, {"expires_in"}),
        ({"override": "forced_open", "expires_in": 1e300}, {"expires_in"}),
        ({"override": "forced_open", "until": 5}, {"until"}),
        ({"override": "x", "expires_in": [], "reason": 5}, {"override", "expires_in", "reason"}),
    ],
)
def test_an_override_that_cannot_be_is_refused(api, body, fields):
    assert wrong(send(api, "PUT", "/circuit-breakers/bank-api/override", body)) == fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"reason": 5}, {"reason"}),
        ({"reason": "x" * 501}, {"reason"}),
        ({"reason": None}, {"reason"}),
        ({"instance": "host-1"}, {"instance"}),
        ({"instance": {}}, {"instance"}),
        ({"instances": []}, {"instances"}),
    ],
)
def test_a_reset_that_cannot_be_is_refused(api, body, fields):
    assert wrong(send(api, "POST", "/circuit-breakers/bank-api/reset", body)) == fields


def test_a_number_is_no_instance(api):
    fields = send(api, "POST", "/circuit-breakers/bank-api/reset", {"instance": 5}).json()["error"]["fields"]
    assert fields == {"instance": "Must be a valid UUID."}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("page=0", {"page"}),
        ("page=x", {"page"}),
        ("page=99999999999999999999", {"page"}),
        ("page=1.5", {"page"}),
        ("page_size=0", {"page_size"}),
        ("page_size=1001", {"page_size"}),
        ("page_size=x", {"page_size"}),
        ("state=OPEN", {"state"}),
        ("state=open,", {"state"}),
        ("ordering=size", {"ordering"}),
        ("ordering=--name", {"ordering"}),
        ("state=x&ordering=y&page=z", {"state", "ordering", "page"}),
    ],
)
def test_a_query_that_cannot_be_is_refused(api, query, fields):
    assert wrong(api.get(f"/circuit-breakers?{query}")) == fields


@pytest.mark.parametrize(
    "query",
    ["instance=x", "to_state=x", "from_state=x", "reason=x", "since=x", "until=yesterday", "service=%00", "page=x"],
)
def test_a_history_query_that_cannot_be_is_refused(api, query):
    assert wrong(api.get(f"/circuit-breakers/bank-api/history?{query}")) == {query.partition("=")[0]}


@pytest.mark.parametrize("query", ["kind=x", "since=x", "actor=%00"])
def test_a_changes_query_that_cannot_be_is_refused(api, query):
    assert wrong(api.get(f"/circuit-breakers/bank-api/changes?{query}")) == {query.partition("=")[0]}


@pytest.mark.parametrize("raw", [b"[]", b"5", b"null", b'"x"', b"true", b"{", b"\xff\xfe", b"[" * 60_000, b"{'a': 1}"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", CONFIG), ("POST", "/circuit-breakers"), ("POST", "/circuit-breakers/reset-all"),
        ("DELETE", "/circuit-breakers/bank-api"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_malformed(api, method, path, raw):
    answer = api.generic(method, path, raw, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")


def test_a_body_that_is_too_large_is_not_read(api):
    body = json.dumps({"reason": "x" * 70_000})
    answer = api.generic("POST", "/circuit-breakers/reset-all", body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
def test_a_body_of_another_type_is_unsupported(api, kind):
    answer = api.generic("PUT", CONFIG, b"failure_threshold=5", content_type=kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "accepted", "sentence"),
    [
        ("/circuit-breakers", "application/json", "A body here is application/json, not text/plain."),
        (
            "/configs",
            "application/yaml, application/json",
            "A body here is application/yaml or application/json, not text/plain.",
        ),
    ],
)
def test_who_sends_another_type_is_told_which_it_should_be(api, path, accepted, sentence):
    answer = api.generic("POST", path, b"x", content_type="text/plain")
    assert (answer["Accept"], answer.json()["error"]["message"]) == (accepted, sentence)
    assert "not of no type." in api.generic("POST", path, b"x", content_type="").json()["error"]["message"]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("[]", "an array"),
        ("null", "null"),
        ("5", "a number"),
        ("1.5", "a number"),
        ("true", "a boolean"),
        ('"x"', "a string"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_told_in_the_words_of_json(api, raw, kind):
    message = api.generic("PATCH", CONFIG, raw, content_type="application/json").json()["error"]["message"]
    assert message == f"The body must be a JSON object, not {kind}."


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("dry_run=maybe", "dry_run"),
        ("dry_run=", "dry_run"),
        ("dry_run=TRUE", "dry_run"),
        ("dryrun=1", "dryrun"),
        ("dry-run=1&reason=x", "dry-run"),
        (f"reason={501 * 'x'}", "reason"),
    ],
)
def test_an_import_that_may_not_be_what_was_meant_writes_nothing(api, query, field):
    answer = api.generic(
        "POST", f"/configs?{query}", "format: 1\nbreakers: {made: {}}", content_type="application/yaml"
    )
    assert wrong(answer) == {field}


@pytest.mark.parametrize("query", ["versions=no", "versions=", "versions=2"])
def test_an_export_that_may_not_be_what_was_meant_is_refused(api, query):
    assert wrong(api.get(f"/configs?{query}")) == {"versions"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_the_address_that_pages_and_programs_share_knows_reading_only(api, method):
    api.handler.enforce_csrf_checks = True
    answer = api.generic(method, "/dashboard", b"{}", content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in answer["Allow"]


@pytest.mark.parametrize(("path", "kind"), [(CONFIG, "application/json"), ("/configs", "application/yaml")])
def test_a_compressed_body_is_unsupported(api, path, kind):
    method = "POST" if path == "/configs" else "PUT"
    answer = api.generic(method, path, gzip.compress(b"{}"), content_type=kind, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "gzip" in answer.json()["error"]["message"]


def test_a_body_may_say_that_it_is_not_compressed(api):
    headers = {"Content-Encoding": "identity"}
    assert api.generic("PATCH", CONFIG, b"{}", content_type="application/json", headers=headers).status_code == 200


def test_json_may_say_its_charset(api):
    answer = api.generic("PUT", CONFIG, b"{}", content_type="Application/JSON; charset=utf-8")
    assert answer.status_code == 200


def test_text_that_no_database_takes_is_cleaned(api, bank_api):
    answer = send(api, "POST", "/circuit-breakers", {"name": "new", "description": "a\x00\ud800b", "reason": "\ud800"})
    assert answer.status_code == 201
    assert answer.json()["description"] == "a?b"
    assert api.delete("/circuit-breakers/new").status_code == 204
    ConfigChange.objects.filter(breaker="new").delete()


@pytest.mark.parametrize(
    "body", ['{"failure_threshold": 3, "failure_threshold": 4}', '{"reason": {"a": 1, "a": 1}}', '{"x": 1, "x": 1}']
)
def test_a_field_that_stands_there_twice_is_refused(api, body):
    answer = api.generic("PATCH", CONFIG, body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")
    assert "twice" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[" * 30_000 + "]" * 30_000, "The body is nested too deeply."),
        ('{"a":' * 10_500 + "1" + "}" * 10_500, "The body is nested too deeply."),
        ('{"failure_threshold": ' + "9" * 5000 + "}", "A number in the body has too many digits."),
    ],
)
def test_what_no_reader_takes_is_told_in_words_of_the_body(api, body, sentence):
    answer = api.generic("PATCH", CONFIG, body, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (
        400, {"code": "malformed", "message": sentence, "fields": {}},
    )  # fmt: skip
