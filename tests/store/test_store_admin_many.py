"""The admin with a thousand breakers: as many queries as with ten, and actions on all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.models import BreakerConfig, ConfigChange, Delivery, Instance, NotificationRule, StateChange
from breakers.services import Actor

pytestmark = pytest.mark.django_db
LIST = reverse("admin:breakers_breakerconfig_changelist")
PAGES = [
    f"{LIST}?all=",
    f"{LIST}?q=breaker-0",
    f"{LIST}?state=closed",
    f"{LIST}?forced=none&group=core",
    "/admin/breakers/statechange/",
    "/admin/breakers/configchange/?q=breaker",
    "/admin/breakers/instance/",
    "/admin/breakers/delivery/",
    "/admin/breakers/notificationrule/",
]


@pytest.fixture
def browser(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def fill(number: int, begin: int = 0) -> None:
    """So many of everything that has a list."""
    services.breaker_create(
        name=f"breaker-{begin:04}", config=CircuitBreakerConfig(), http=HttpConfig(), group="core", by=Actor("system")
    )
    row, change = BreakerConfig.objects.latest("pk"), ConfigChange.objects.latest("pk")
    numbers = range(begin + 1, begin + number)
    BreakerConfig.objects.bulk_create(_like(row, name=f"breaker-{n:04}", revision=n + 10_000) for n in numbers)
    ConfigChange.objects.bulk_create(_like(change, breaker=f"breaker-{n:04}", revision=n + 10_000) for n in numbers)
    now, rule = timezone.now(), NotificationRule.objects.get_or_create(name="on-call", levels=["error"])[0]
    seen = {"pid": 1, "started_at": now, "first_seen_at": now, "last_seen_at": now}
    Instance.objects.bulk_create(Instance(id=uuid4(), service=f"s{n}", **seen) for n in numbers)
    moved = {"from_state": "closed", "to_state": "open", "epoch": 1, "failures": 1, "calls": 1, "at": now}
    StateChange.objects.bulk_create(StateChange(breaker="x", instance=uuid4(), sequence=n, **moved) for n in numbers)
    Delivery.objects.bulk_create(Delivery(rule=rule, event="firing", message={}) for _ in numbers)


def _like(row: Any, **values: Any) -> Any:
    given = {field.attname: getattr(row, field.attname) for field in row._meta.fields}
    return type(row)(**{**given, "id": None, **values})


def queries(browser: Client, page: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as found:
        answer = browser.get(page)
    assert answer.status_code == 200, page
    return len(found)


def test_no_page_asks_the_database_more_often_for_a_thousand_rows_than_for_ten(browser: Client):
    fill(10)
    browser.get(LIST)  # the fleet reads its past
    pages = [*PAGES, reverse("admin:breakers_breakerconfig_change", args=ticked("breaker-0000"))]
    before = {page: queries(browser, page) for page in pages}
    fill(990, begin=10)
    browser.get(LIST)
    after = {page: queries(browser, page) for page in pages}
    assert max(before.values()) < 20
    assert {page: (before[page], more) for page, more in after.items() if more > before[page]} == {}


def ticked(*names: str) -> list[str]:
    rows = BreakerConfig.objects.filter(name__in=names) if names else BreakerConfig.objects.all()
    return [str(pk) for pk in rows.values_list("pk", flat=True)]


def test_an_action_can_be_asked_of_all_of_a_thousand(browser: Client):
    fill(1000)
    asked = {"action": "force_open", "select_across": "1", "_selected_action": ticked()[:100]}
    page = browser.post(LIST, asked).content.decode()
    assert "Force 1000 breakers open" in page
    given = {"action": "force_open", "_selected_action": ticked(), "forced": "yes", "reason": "INC-1", "hours": "1"}
    answer = browser.post(LIST, given)
    assert answer.status_code == 200, "its fields are not too many"
    assert "Then 1000 of the 1000 breakers of the group core reject every call" in answer.content.decode()


def test_deleting_several_keeps_the_reason_that_was_typed_beside_the_action(browser: Client):
    fill(3)
    chosen = {"action": "delete_selected", "_selected_action": ticked("breaker-0000", "breaker-0002")}
    page = browser.post(LIST, {**chosen, "reason": 'retired "now"'}).content.decode()
    assert "these 2 breakers" in page
    assert 'value="retired &quot;now&quot;"' in page
    assert browser.post(LIST, {**chosen, "post": "yes", "reason": "retired"}).status_code == 302
    assert set(ConfigChange.objects.filter(kind="deleted").values_list("breaker", "actor", "reason")) == {
        ("breaker-0000", "user:admin", "retired"),
        ("breaker-0002", "user:admin", "retired"),
    }


def test_several_are_deleted_or_none(browser: Client, monkeypatch: pytest.MonkeyPatch):
    fill(3)
    delete: Callable[..., None] = services.breaker_delete

    def second_fails(*, name: str, **how: Any) -> None:
        if name == "breaker-0001":
            raise RuntimeError("the disk is full")
        delete(name=name, **how)

    monkeypatch.setattr(services, "breaker_delete", second_fails)
    with pytest.raises(RuntimeError):
        browser.post(LIST, {"action": "delete_selected", "_selected_action": ticked(), "post": "yes"})
    assert BreakerConfig.objects.count() == 3
    assert not ConfigChange.objects.filter(kind="deleted").exists()


def test_states_and_moments_are_told_as_on_our_own_pages(browser: Client):
    fill(1)
    row = BreakerConfig.objects.get()
    now, moved = timezone.now(), {"from_state": "half_open", "to_state": "open", "epoch": 1, "failures": 1, "calls": 1}
    StateChange.objects.create(breaker=row.name, instance=uuid4(), sequence=1, at=now, **moved)
    page = browser.get(reverse("admin:breakers_breakerconfig_change", args=[row.pk])).content.decode()
    assert '<span class="breaker-badge" data-state="half_open">Half-open</span>' in page
    assert f'<div class="readonly">{row.updated_at:%Y-%m-%d %H:%M:%S} UTC</div>' in page
    assert f'href="/dashboard/breakers/{row.name}"' in page


# --- configs in and out -----------------------------------------------------------------------------------------

IMPORT = reverse("admin:breakers_breakerconfig_import")
DOCUMENT = """format: 1
breakers:
  breaker-0000:
    version: 1
    config: {recovery_timeout: 1.0}
  new: {}
"""


def file_of(text: str | bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("configs.yaml", text if isinstance(text, bytes) else text.encode())


def test_an_import_is_shown_first_and_then_done(browser: Client):
    fill(2)
    page = browser.post(IMPORT, {"file": file_of(DOCUMENT), "reason": "INC-1"}).content.decode()
    assert "What would change: 2 of 2" in page
    assert "recovery_timeout: 60.0 → 1.0" in page
    assert "A wait of 1 s means a probe every second" in page
    assert BreakerConfig.objects.count() == 2, "nothing is written yet"
    shown = re.search(r'<textarea name="document".*?>\s*(.*?)</textarea>', page, re.DOTALL)
    assert shown is not None
    answer = browser.post(IMPORT, {"document": unescape(shown[1]), "reason": "INC-1", "write": "Import"})
    assert (answer.status_code, answer["Location"]) == (302, LIST)
    assert set(ConfigChange.objects.filter(reason="INC-1").values_list("breaker", "kind", "actor")) == {
        ("breaker-0000", "edited", "user:admin"),
        ("new", "created", "user:admin"),
    }


def test_an_import_that_lost_a_race_writes_nothing_and_says_so(browser: Client):
    fill(1)
    config = CircuitBreakerConfig(success_threshold=9)
    services.breaker_edit(name="breaker-0000", config=config, http=HttpConfig(), reason="", by=Actor("system"))
    page = browser.post(IMPORT, {"document": DOCUMENT, "write": "Import"}).content.decode()
    assert "Nothing was imported: look at what stands by now." in page
    assert "it is at version 2 now, the document was made of version 1" in page
    assert 'name="write"' not in page
    assert list(BreakerConfig.objects.values_list("name", "version")) == [("breaker-0000", 2)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"document": "breakers: ["}, "document"),
        ({"document": ""}, "document"),
        ({"document": "format: 1\nbreakers: {x: {config: {failure_threshold: -1}}}"}, "failure_threshold"),
        ({"file": file_of(b"\xff\xfe")}, "It is not UTF-8."),
    ],
)
def test_a_document_that_cannot_be_is_told_and_nothing_written(browser: Client, given: dict[str, Any], said: str):
    answer = browser.post(IMPORT, {**given, "write": "Import"})
    assert answer.status_code == 200
    errors = str(answer.context["form"].errors) + str(answer.context["plan"])
    assert said in errors
    assert not BreakerConfig.objects.exists()


@pytest.mark.parametrize("write", [{}, {"write": "Import"}])
def test_more_than_can_be_written_at_once_is_told(browser: Client, write: dict[str, str]):
    many = "format: 1\nbreakers:\n" + "".join(f"  b{number}: {{}}\n" for number in range(1001))
    answer = browser.post(IMPORT, {"document": many, **write})
    assert "at most 1000 at once" in answer.content.decode()
    assert not BreakerConfig.objects.exists()


def test_what_is_exported_is_imported_as_the_same(browser: Client):
    fill(3)
    assert "/configs" in browser.get(LIST).content.decode()
    exported = browser.get("/configs", headers={"Accept": "text/html,*/*;q=0.8"}).content.decode()
    page = browser.post(IMPORT, {"document": exported}).content.decode()
    assert "What would change: 0 of 3" in page
