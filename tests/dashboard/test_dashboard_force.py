"""Forcing a breaker from the pages: the questions, the guards, and who meets them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from breakers import services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import Override
from breakers.fleet import fleet
from breakers.models import BreakerConfig, ConfigChange
from breakers.services import Actor

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
SignedIn = Callable[[User], Client]
OPEN, CLOSED = "/dashboard/breakers/bank-api/forced_open", "/dashboard/breakers/bank-api/forced_closed"
MEANT = {"target": "bank-api 1", "reason": "INC-7", "hours": "1", "confirm": "on"}


@pytest.fixture
def bank(breaker: Callable[..., None], instance: Callable[..., Any]) -> Any:
    """``bank-api``, on one instance."""
    breaker("bank-api")
    linked = instance("payments")
    linked.tell("bank-api")
    fleet.synchronise()
    return linked


def stands() -> BreakerConfig:
    return BreakerConfig.objects.get(name="bank-api")


def test_an_order_has_a_reason_an_end_and_somebody_to_wait_for(bank: Any, operator: User, signed_in: SignedIn) -> None:
    answer = signed_in(operator).post(OPEN, MEANT, headers=JSON)
    said = answer.json()
    assert answer.status_code == 200
    assert said["message"].startswith("Forced open bank-api until ")
    assert (said["targeted"], said["confirmed"]) == (1, 0)
    shown = fleet.row("bank-api")
    assert shown is not None
    assert shown["override"] is not None
    assert said["command"] == f"bank-api {shown['override']['expires_at']}"
    row = stands()
    assert (row.override, row.override_reason, row.override_by) == ("forced_open", "INC-7", "user:olivia")
    assert row.override_expires_at is not None
    assert abs(row.override_expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("path", "changed", "sentence"),
    [
        (OPEN, {"reason": ""}, "Reason: This field is required."),
        (OPEN, {"hours": ""}, "For how many hours: This field is required."),
        (OPEN, {"hours": "169"}, "less than or equal to 168"),
        (OPEN, {"hours": "nan"}, "Enter a number."),
        (OPEN, {"hours": "-1"}, "greater than or equal to"),
        (OPEN, {"target": "calm 1"}, "The form is of another breaker."),
        (OPEN, {"target": "bank-api"}, "which version"),
        (CLOSED, {"typed": "bank"}, "This is not bank-api."),
        (CLOSED, {"typed": ""}, "Type the name of the breaker: This field is required."),
        (CLOSED, {"typed": "bank-api", "hours": "4.1"}, "less than or equal to 4"),
    ],
)
def test_what_is_not_answered_right_is_asked_again_and_nothing_happens(
    bank: Any, operator: User, signed_in: SignedIn, path: str, changed: dict[str, str], sentence: str
) -> None:
    for headers in (JSON, HTML):
        answer = signed_in(operator).post(path, MEANT | changed, headers=headers)
        assert answer.status_code == 400
        assert sentence in (answer.json()["message"] if headers is JSON else answer.content.decode())
    assert stands().override == ""


def test_forced_closed_with_its_name_typed(bank: Any, operator: User, signed_in: SignedIn) -> None:
    answer = signed_in(operator).post(CLOSED, MEANT | {"typed": "bank-api", "hours": "4"}, headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard/breakers/bank-api")
    assert stands().override == "forced_closed"


def test_most_of_a_group_takes_a_yes(
    breaker: Callable[..., None], ground: None, operator: User, signed_in: SignedIn
) -> None:
    for name in ("bank-api", "other"):
        breaker(name, group="settlement")
    services.override_set(
        name="other", override=Override.FORCED_OPEN, reason="", expires_at=None, by=Actor("system"), confirm=True
    )
    fleet.synchronise()
    unsure = {name: value for name, value in MEANT.items() if name != "confirm"}
    for headers in (JSON, HTML):
        answer = signed_in(operator).post(OPEN, unsure, headers=headers)
        assert answer.status_code == 409
        text = answer.json()["message"] if headers is JSON else answer.content.decode()
        assert "Then 2 of the 2 breakers of the group settlement reject every call." in text
    assert "I mean it" in text
    assert stands().override == ""
    assert signed_in(operator).post(OPEN, MEANT, headers=JSON).status_code == 200


def test_who_is_late_is_told_who_was_faster_and_what_is_true_now(
    bank: Any, operator: User, signed_in: SignedIn
) -> None:
    config = CircuitBreakerConfig(name="bank-api", failure_threshold=9)
    services.breaker_edit(name="bank-api", config=config, http=HttpConfig(), reason="INC-8", by=Actor("user", "alice"))
    answer = signed_in(operator).post(OPEN, MEANT, headers=JSON)
    assert answer.status_code == 412
    assert answer.json()["message"] == (
        "bank-api was changed meanwhile by user:alice (failure_threshold 5 → 9: INC-8): "
        "it is at v2 now, closed on 1 of 1 instance. Look again, then decide."
    )
    assert stands().override == ""


def test_who_may_not_is_refused_and_shown_why(
    bank: Any, viewer: User, stranger: User, signed_in: SignedIn, settings: Any
) -> None:
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    for client, why in (
        (signed_in(viewer), "Forcing needs the operator role"),
        (signed_in(stranger), "Forcing needs the operator role"),
        (Client(), "Sign in to force"),
    ):
        for path in (OPEN, CLOSED):
            answer = MEANT | {"typed": "bank-api"}
            assert client.post(path, answer, headers=JSON).status_code == 403
            assert client.post(path, answer, headers=HTML).status_code == 302
            assert f'disabled title="{why}"' in client.get(path, headers=HTML).content.decode()
        page = client.get("/dashboard/breakers/bank-api", headers=HTML).content.decode()
        assert page.count(f'disabled title="{why}"') == 2
        assert "-dialog" not in page.partition("<main")[2].partition("</main>")[0]
    assert not ConfigChange.objects.filter(kind="override_set").exists()


def test_a_form_of_another_page_is_refused(bank: Any, operator: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    assert client.post(OPEN, MEANT, headers=JSON).status_code == 403
    assert stands().override == ""


@pytest.mark.parametrize("path", ["/dashboard/breakers/nobody/forced_open", "/dashboard/breakers/bank-api/forced"])
def test_what_is_not_there_is_not_found(bank: Any, operator: User, signed_in: SignedIn, path: str) -> None:
    assert signed_in(operator).get(path, headers=HTML).status_code == 404
    form = MEANT | {"target": "nobody 1"} if "nobody" in path else MEANT
    assert signed_in(operator).post(path, form, headers=JSON).status_code == 404
