"""The OpenAPI document: whole, without a warning, true to the bounds; and who may have it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from django.core.management import call_command
from django.utils import timezone
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from breakers import exports, selectors
from breakers.api.openapi.operations import OPERATIONS
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS
from breakers.models import StateChange

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2]
FIELDS = {name: bounds for name, bounds in {**BREAKER_FIELDS, **HTTP_FIELDS}.items() if name != "name"}
VALUES = [
    0,
    -1,
    1,
    2147483647,
    2147483648,
    0.5,
    1.5,
    1e308,
    True,
    None,
    "",
    "count",
    "429,500-599",
    "99",
    "x" * 201,
    [],
]


@pytest.fixture
def document(api):
    answer = api.get("/schema")
    assert answer["Content-Type"] == "application/vnd.oai.openapi+json"
    return json.loads(answer.content)


def body(document, path, method):
    return document["paths"][path][method]["requestBody"]["content"]["application/json"]


def test_it_is_made_and_valid_without_a_warning(tmp_path, capfd):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yaml"))
    assert "Warning" not in capfd.readouterr().err


def test_every_operation_of_the_table_is_in_it(document):
    ids = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert {operation.id for operation in OPERATIONS.values()} <= ids
    assert document["openapi"].startswith("3.")


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_takes_what_the_library_takes(document, name):
    schema = body(document, "/circuit-breakers/{name}/config", "put")["schema"]["properties"][name]
    judge = Draft202012Validator(schema)
    for value in VALUES:
        assert judge.is_valid(value) == (FIELDS[name].problem(value) is None), value


def contents(document):
    """Every body that is sent or answered: whose it is, its media type, and what the document says of it."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            places = {"sent": operation.get("requestBody", {}), **operation["responses"]}
            for place, told in places.items():
                for media, content in told.get("content", {}).items():
                    yield f"{method} {path} {place}", media, content


def test_every_example_is_what_its_schema_says(document):
    for where, media, content in contents(document):
        judge = Draft202012Validator({**content["schema"], "components": document["components"]})
        for example in content.get("examples", {}).values():
            value = yaml.safe_load(example["value"]) if media.endswith("yaml") else example["value"]
            assert judge.is_valid(value), (where, media, list(judge.iter_errors(value)))
    problem = document["components"]["schemas"]["Problem"]
    judge = Draft202012Validator({**problem, "components": document["components"]})
    assert all(judge.is_valid(example) for example in problem["examples"])


def test_every_body_has_an_example_and_what_goes_wrong_has_one_in_its_shape(document):
    problem = "#/components/schemas/Problem"
    without = [(where, media) for where, media, content in contents(document)
               if not content.get("examples") and content["schema"].get("$ref") != problem]  # fmt: skip
    assert without == []
    assert document["components"]["schemas"]["Problem"]["examples"]


@pytest.mark.parametrize(
    ("address", "rows", "table"),
    [
        ("history", selectors.history, exports.TRANSITIONS),
        ("changes", selectors.changes, exports.CHANGES),
    ],
)
def test_a_file_is_what_its_schema_says(document, bank_api, address, rows, table):
    now = timezone.now()
    StateChange.objects.create(
        breaker="bank-api", instance=uuid4(), sequence=1, at=now, received_at=now, service="trading",
        from_state="closed", to_state="open", reason="failure_rate", epoch=1, failures=5, calls=9, failure_rate=0.5,
    )  # fmt: skip
    lines = json.loads(b"".join(exports.stream(rows(), table, "json")))
    told = document["paths"][f"/{address}.{{form}}"]["get"]["responses"]["200"]["content"]["application/json"]
    judge = Draft202012Validator({**told["schema"], "components": document["components"]})
    assert lines
    assert judge.is_valid(lines), list(judge.iter_errors(lines))


def test_everything_but_health_needs_somebody(document):
    for path, methods in document["paths"].items():
        for operation in methods.values():
            public = path == "/health"
            assert operation["security"] == ([{}] if public else [{"key": []}, {"session": []}])
            assert ("401" in operation["responses"]) != public
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_whatever_goes_wrong_has_one_shape(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")


@pytest.mark.parametrize("path", ["/schema", "/docs"])
def test_who_may_not_read_does_not_get_it(path, clients):
    refused = {name for name, client in clients.items() if client.get(path).status_code != 200}
    assert refused == {"anonymous", "key:agent", "key:operate"}


def test_the_page_asks_nobody_else_and_says_nothing_inline(clients):
    page = clients["viewer"].get("/docs").content.decode()
    assert "//" not in page.replace("http://www.w3.org", "")
    assert "<style" not in page
    assert "style=" not in page
    assert "<script>" not in page


def test_the_page_sends_who_is_nobody_to_sign_in():
    answer = APIClient().get("/docs")
    assert answer.status_code == 302
    assert "next=/docs" in answer["Location"]


def test_both_are_public_where_reading_is(settings):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    assert APIClient().get("/schema").status_code == APIClient().get("/docs").status_code == 200


def test_the_page_about_the_api_knows_every_kind_of_alert():
    source, page = (ROOT / "breakers/alerts.py").read_text(), (ROOT / "docs/api.md").read_text()
    kinds = set(re.findall(r'_alert\(\s*"\w+", row, "(\w+)"', source)) | set(re.findall(r'kind="(\w+)"', source))
    told = page.partition("## Alerts")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)) == kinds
    assert len(kinds) == 9
