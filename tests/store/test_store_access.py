"""Who may do what: people by group, keys by scope; a stranger nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import OperationalError, connection
from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from breakers import services
from breakers.api.permissions import (
    MayEdit,
    MayOverride,
    MayRead,
    MayReset,
    actor_of,
    may_operate,
    may_read,
)
from breakers.core.errors import ConfigError
from breakers.models import ApiKey
from breakers.problems import AlreadyExists, NotFound
from breakers.services import Actor, authenticate_key, keys

pytestmark = pytest.mark.django_db


class View(APIView):
    """Answers with its caller's name, on any method."""

    def answer(self, request: Request) -> Response:
        return Response(str(actor_of(request)) if request.user.is_authenticated or request.auth else "nobody")

    get = post = put = patch = delete = answer


@pytest.fixture
def ask() -> Callable[..., Response]:
    """``ask(MayReset, "POST", user=…, key=…)``: what a view with that permission answers."""

    def make(
        permission: type[BasePermission],
        method: str = "GET",
        *,
        user: User | None = None,
        key: str | None = None,
        csrf: bool = False,
    ) -> Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        request = APIRequestFactory(enforce_csrf_checks=csrf).generic(method, "/", headers=headers)
        request.user = user or AnonymousUser()
        return View.as_view(permission_classes=[permission])(request)

    return make


OPERATIONS = [
    (MayReset, "POST"),
    (MayOverride, "PUT"),
    (MayOverride, "DELETE"),
    (MayEdit, "POST"),
    (MayEdit, "PUT"),
    (MayEdit, "PATCH"),
    (MayEdit, "DELETE"),
]
OPERATOR_MAY = OPERATIONS[:3]


# --- people -----------------------------------------------------------------------------------------------------


def test_whoever_is_signed_in_may_read(ask, stranger: User, viewer: User):
    for user in (stranger, viewer):
        assert ask(MayRead, user=user).status_code == 200


def test_nobody_is_asked_for_a_key(ask):
    for permission, method in [(MayRead, "GET"), *OPERATIONS]:
        answer = ask(permission, method)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


def test_anybody_may_read_where_reading_is_public_and_nothing_else(ask, settings, key):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    assert ask(MayRead).data == "nobody"
    assert ask(MayRead, key=key("agent")).status_code == 200
    for permission, method in OPERATIONS:
        assert ask(permission, method).status_code == 401


@pytest.mark.parametrize(("permission", "method"), OPERATIONS)
def test_a_viewer_and_a_stranger_may_change_nothing(ask, viewer: User, stranger: User, permission, method: str):
    for user in (viewer, stranger):
        assert ask(permission, method, user=user).status_code == 403


@pytest.mark.parametrize(("permission", "method"), OPERATIONS)
def test_an_operator_may_reset_and_override_and_not_edit(ask, operator: User, permission, method: str):
    expected = 200 if (permission, method) in OPERATOR_MAY else 403
    assert ask(permission, method, user=operator).status_code == expected


@pytest.mark.parametrize(("permission", "method"), OPERATIONS)
def test_an_editor_may_do_all_of_it(ask, editor: User, permission, method: str):
    assert ask(permission, method, user=editor).data == "user:edith"


def test_editing_creating_and_deleting_are_three_permissions(ask, stranger: User):
    stranger.user_permissions.add(Permission.objects.get(codename="change_breakerconfig"))
    answers = {method: ask(MayEdit, method, user=stranger).status_code for method in ("PATCH", "POST", "DELETE")}
    assert answers == {"PATCH": 200, "POST": 403, "DELETE": 403}


def test_who_was_dismissed_may_not_even_read(ask, editor: User):
    editor.is_active = False
    assert ask(MayRead, user=editor).status_code == 401
    assert not may_read(editor)
    assert not may_operate(editor, "reset_breaker")


def test_a_session_that_changes_something_needs_its_token(ask, operator: User):
    assert ask(MayReset, "POST", user=operator, csrf=True).status_code == 403


def test_a_view_that_does_not_say_what_changing_takes_refuses_everybody(ask, editor: User, key):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(MayRead, method, user=editor).status_code == 403
        assert ask(MayRead, method, key=key("read", "operate", name=method)).status_code == 403


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scope", "may"), [("agent", 403), ("read", 200), ("operate", 403)])
def test_reading_takes_the_scope_read(ask, key, scope: str, may: int):
    assert ask(MayRead, key=key(scope)).status_code == may


@pytest.mark.parametrize(("permission", "method"), OPERATIONS)
@pytest.mark.parametrize(("scope", "may"), [("agent", 403), ("read", 403), ("operate", 200)])
def test_operating_takes_the_scope_operate(ask, key, permission, method: str, scope: str, may: int):
    assert ask(permission, method, key=key(scope)).status_code == may


def test_a_key_needs_no_token_and_acts_in_its_own_name(ask, key, editor: User):
    secret = key("operate", name="deploy")
    assert ask(MayReset, "POST", user=editor, key=secret, csrf=True).data == "key:deploy"


@pytest.mark.parametrize("wrong", ["", "nonsense", "tpcb_", "Ä" * 50, "x" * 10_000])
def test_a_wrong_key_is_refused_also_where_reading_is_public(ask, settings, wrong: str):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    answer = ask(MayRead, key=wrong)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


def test_a_revoked_key_is_refused(ask, key, alice: Actor):
    secret = key("read", name="old")
    services.api_key_revoke(name="old", by=alice)
    assert ask(MayRead, key=secret).status_code == 401
    assert authenticate_key(secret) is None


def test_another_scheme_is_not_ours():
    request = APIRequestFactory().get("/", headers={"Authorization": "Basic abc"})
    request.user = AnonymousUser()
    assert View.as_view(permission_classes=[MayRead])(request).status_code == 401


def test_a_key_is_told_from_the_secret_alone_and_only_with_its_scope(key):
    secret = key("agent", "read", name="trading")
    assert authenticate_key(secret).name == "trading"
    assert authenticate_key(secret, "agent").name == "trading"
    assert authenticate_key(secret, "operate") is None
    assert authenticate_key(secret[:-1]) is None
    assert authenticate_key(ApiKey.objects.get().digest) is None
    assert authenticate_key("\ud800") is None


def test_the_secret_is_stored_nowhere_and_prints_nowhere(alice: Actor):
    row, secret = services.api_key_create(name="deploy", scopes=["read"], by=alice)
    stored = ApiKey.objects.values().get()
    assert len(secret) >= 48
    assert secret not in str(stored)
    assert secret.startswith(row.prefix)
    assert len(row.prefix) <= 12
    assert secret not in f"{row} {row!r} {row.__dict__}"


def test_the_use_of_a_key_is_noted_at_most_once_a_minute(key, django_assert_num_queries):
    secret = key("read")
    first = authenticate_key(secret).last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        assert authenticate_key(secret).last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    authenticate_key(secret)
    assert timezone.now() - ApiKey.objects.get().last_used_at < timedelta(seconds=30)


@pytest.fixture
def writing() -> Iterator[tuple[list[int], list[Exception]]]:
    """How many milliseconds notes of uses would have waited for a lock; and what the next ones end with."""
    patience, problems = list[int](), list[Exception]()

    def watch(execute: Callable[..., Any], sql: str, *how: Any) -> Any:
        if sql.startswith('UPDATE "breakers_apikey"'):
            patience.append(patience_of_sqlite())
            if problems:
                raise problems.pop()
        return execute(sql, *how)

    with connection.execute_wrapper(watch):
        yield patience, problems


def patience_of_sqlite() -> int:
    return int(connection.connection.execute("PRAGMA busy_timeout").fetchone()[0])


def test_no_request_waits_until_the_use_of_its_key_can_be_noted(key, writing):
    secret, before = key("read"), patience_of_sqlite()
    authenticate_key(secret)
    assert before >= 5000
    assert writing[0] == [0]
    assert patience_of_sqlite() == before


def test_a_use_that_cannot_be_noted_refuses_nobody_and_a_later_one_is(key, writing, monkeypatch):
    patience, problems = writing
    secret, before = key("read"), patience_of_sqlite()
    moment = time.monotonic()
    monkeypatch.setattr(keys.time, "monotonic", lambda: moment)
    problems.append(OperationalError("database is locked"))
    assert authenticate_key(secret) is not None
    assert authenticate_key(secret) is not None
    assert (ApiKey.objects.get().last_used_at, len(patience)) == (None, 1)
    assert patience_of_sqlite() == before
    moment += 1.0
    authenticate_key(secret)
    assert ApiKey.objects.get().last_used_at is not None


def test_scopes_are_kept_once_and_in_order(alice: Actor):
    row, _ = services.api_key_create(name="k", scopes=["operate", "agent", "operate"], by=alice)
    assert row.scopes == ["agent", "operate"]
    assert row.created_by == "user:alice"


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"name": " a"}, {"name"}),
        ({"name": "a\n"}, {"name"}),
        ({"name": "x" * 101}, {"name"}),
        ({"scopes": []}, {"scopes"}),
        ({"scopes": ["root"], "name": ""}, {"scopes", "name"}),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_every_wrong_field(alice: Actor, wrong: dict, fields: set[str]):
    with pytest.raises(ConfigError) as caught:
        services.api_key_create(**{"name": "k", "scopes": ["read"], "by": alice, **wrong})
    assert set(caught.value.fields) == fields
    assert not ApiKey.objects.exists()


def test_a_taken_name_is_refused_and_an_unknown_one_cannot_be_revoked(alice: Actor, key):
    key("read", name="k")
    with pytest.raises(AlreadyExists):
        key("read", name="k")
    with pytest.raises(NotFound):
        services.api_key_revoke(name="other", by=alice)


def test_revoking_twice_keeps_who_was_first(alice: Actor, key):
    key("read", name="k")
    services.api_key_revoke(name="k", by=alice)
    assert services.api_key_revoke(name="k", by=Actor("system")).revoked_by == "user:alice"


def test_an_anonymous_request_has_no_actor():
    request = APIRequestFactory().get("/")
    request.user = AnonymousUser()
    with pytest.raises(ValueError, match="no actor"):
        actor_of(request)
