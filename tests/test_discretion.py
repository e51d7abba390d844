"""Error pages of ``DJANGO_DEBUG=1`` show where and why, and nothing that opens anything."""

from __future__ import annotations

import sys
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, QueryDict
from django.test import Client, RequestFactory
from django.views.debug import technical_500_response

from breakers.models import NotificationRule


def page_of(error: Exception, request: HttpRequest | None = None) -> str:
    """The error page, as a browser shows it."""
    try:
        raise error
    except Exception:
        return _shown(request or RequestFactory().get("/dashboard"))


def failing(**locals_of_it: Any) -> str:
    """The page of a function that fails with these among its local variables."""
    lines = ["def work():", *(f"    {name} = given[{name!r}]" for name in locals_of_it), "    1 / 0"]
    room: dict[str, Any] = {"given": locals_of_it}
    exec(compile("\n".join(lines), "nowhere", "exec"), room)  # the names are what is tested
    try:
        room["work"]()
    except ZeroDivisionError:
        return _shown(RequestFactory().get("/"))
    raise AssertionError("it did not fail")


def _shown(request: HttpRequest) -> str:
    return unescape(technical_500_response(request, *sys.exc_info()).content.decode())


class Trap:
    """As a lazy object that cannot be made."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("not even its class")

    def __repr__(self) -> str:
        raise RuntimeError("nor its text")


KEY = "tpcb_Zk3v9QpLr7XwT1aB5cD8eF2gH4jK6mN0oPqRsTuVw"
SESSION, CSRF = "k2j3h4g5f6d7s8a9q1w2e3r4t5y6u7i8", 32 * "aB"
SECRETS = (KEY, SESSION, CSRF, "T0KEN", "hunter2", "s1gn")


class Carrier:
    """Something whose own words give its secret away."""

    def __repr__(self) -> str:
        return "<Carrier password='hunter2', token=T0KEN, address=\"s1gn\" name='on-call'>"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("secret", "hunter2"),
        ("signing_secret", b"s1gn"),
        ("address", "T0KEN"),
        ("raw_password", "hunter2"),
        ("text", f"the key {KEY} is wrong"),
        ("text", f"Bearer {KEY}"),
        ("header", "Basic aHVudGVyMjpodW50ZXIy hunter".replace("hunter", "")),
        ("headers", [(b"authorization", b"Bearer T0KEN"), (b"cookie", b"sessionid=hunter2; a=T0KEN"), (b"host", b"x")]),
        ("headers", {"X-Api-Key": "T0KEN", "Cookie": "sessionid=hunter2"}),
        ("meta", {"outer": [{"password": "hunter2"}, ("token", "T0KEN")]}),
        ("post", QueryDict("csrfmiddlewaretoken=hunter2&address=slack%3A%2F%2FT0KEN%2Fx&password=s1gn")),
        ("body", b"name=a&password=hunter2&address=https%3A%2F%2Fhooks.example%2FT0KEN"),
        ("body", '{"name": "a", "token": "T0KEN", "signing_secret": "s1gn"}'),
        ("where", "https://hooks.example/services/T0KEN?k=hunter2"),
        ("where", "https://user:hunter2@hooks.example"),
        ("where", "slack://T0KEN/hunter2/s1gn"),
        ("where", ["mailto://user:hunter2@example.org?to=T0KEN"]),
        ("where", "redis://:hunter2@cache:6379/0"),
        ("words", f"session {SESSION} and form {CSRF}"),
        ("page", f'<input type="hidden" name="csrfmiddlewaretoken" value="{CSRF}">'),
        ("stored", "pbkdf2_sha256$1000000$T0KEN$hunter2="),
        ("thing", Carrier()),
        ("things", {"a": [Carrier()]}),
        ("raw", "GET / HTTP/1.1\r\nCookie: a=T0KEN; b=hunter2\r\nAuthorization: Token s1gn\r\n\r\n"),
    ],
)  # fmt: skip
def test_a_local_variable_gives_no_secret_away(name: str, value: Any, settings: Any):
    settings.DEBUG = True
    page = failing(**{name: value, "harmless": "plainly shown"})
    assert "plainly shown" in page
    for secret in (*SECRETS, "aHVudGVyMjpodW50ZXIy"):
        assert secret not in page


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("name", "bank-api", "'bank-api'"),
        ("rows", [{"name": "bank-api", "state": "open"}], "'state': 'open'"),
        ("instance", "61f38342-0624-4ab6-91f1-d333eba7e9dd", "61f38342-0624-4ab6-91f1-d333eba7e9dd"),
        ("where", "https://hooks.example/services/x", "https://hooks.example/"),
        ("token", None, "None"),
        ("thing", Carrier(), "on-call"),
        ("seconds", 12.5, "12.5"),
    ],
)
def test_what_is_no_secret_is_shown(name: str, value: Any, shown: str, settings: Any):
    settings.DEBUG = True
    assert shown in failing(**{name: value})


def test_what_cannot_even_be_looked_at_is_no_second_error(settings: Any):
    settings.DEBUG = True
    loop: list[Any] = []
    loop.append({"again": loop})
    page = failing(trap=Trap(), loop=loop, harmless="plainly shown")
    assert "plainly shown" in page


def test_the_request_is_shown_without_what_opens_anything(settings: Any):
    settings.DEBUG = True
    request = RequestFactory(headers={"Authorization": f"Bearer {KEY}", "X-CSRFToken": CSRF}).post(
        "/dashboard/login?token=T0KEN&page=2", {"username": "alice", "password": "hunter2", "address": "s1gn"}
    )
    request.COOKIES = {"sessionid": SESSION, "csrftoken": CSRF, "theme": "dark"}
    request.META["HTTP_COOKIE"] = f"sessionid={SESSION}; csrftoken={CSRF}"
    page = page_of(ValueError(f"cannot send to https://hooks.example/T0KEN with {KEY}"), request)
    for secret in SECRETS:
        assert secret not in page
    for shown in ("cannot send to https://hooks.example/", "alice", "dark", "ValueError", "page"):
        assert shown in page


def test_what_an_error_came_of_is_shown_as_discreetly(settings: Any):
    settings.DEBUG = True
    cause = RuntimeError("password='hunter2' is refused")
    cause.add_note("at slack://T0KEN/x")
    error = ValueError("no")
    error.__cause__ = cause
    page = page_of(error)
    assert "is refused" in page
    assert "hunter2" not in page
    assert "T0KEN" not in page


def test_the_settings_are_shown_without_what_opens_anything(settings: Any):
    settings.DEBUG, settings.SECRET_KEY = True, "hunter2"
    settings.REDIS_URL = "redis://:T0KEN@cache:6379/0"
    settings.PLACES = {"default": {"NAME": "db", "PASSWORD": "s1gn"}}
    page = page_of(ValueError("no"))
    assert "CIRCUIT_BREAKER_KEY_RATE" in page
    for secret in SECRETS:
        assert secret not in page


@pytest.mark.django_db
def test_a_page_that_fails_while_a_rule_is_saved_shows_no_target(
    admin_user: User, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.DEBUG = True

    def fail(rule: NotificationRule, **how: object) -> None:
        raise RuntimeError(f"no room for {rule.address}")

    monkeypatch.setattr(NotificationRule, "save", fail)
    browser = Client(raise_request_exception=False)
    browser.force_login(admin_user)
    session = browser.cookies["sessionid"].value
    given = {"name": "on-call", "levels": ["error"], "groups": "core-banking", "after": "5", "quiet": "60",
             "channel": "webhook", "address": "https://hooks.example/T0KEN", "signing_secret": "s1gn"}  # fmt: skip
    answer = browser.post("/admin/breakers/notificationrule/add/", given)
    page = unescape(answer.content.decode())
    assert answer.status_code == 500
    for shown in ("RuntimeError", "notification_rule_save", "core-banking"):
        assert shown in page
    for secret in ("T0KEN", "s1gn", session):
        assert secret not in page
