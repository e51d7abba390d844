"""The addresses that programs ask all day, answered from memory without REST framework.

Only what is sure to succeed is answered here: a key that may read (or anybody, where reading is public) asking for
what is there. Everything else, each refusal included, is the view's.

A server may answer these *at once*, on its event loop, if it first has :func:`look` look at the database in a thread.
Then nothing here asks the database, and what would take long is left to a thread (:class:`Elsewhere`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request

from breakers.core.config import NAME_PATTERN
from breakers.fleet import fleet

from .actions import BreakersView
from .base import asked, paged
from .memory import encoded, kept_answers, known_keys
from .permissions import public_read
from .rows import select_rows
from .serializers import RowsQuery
from .throttling import count_no_more, may_try_keys, wait_of
from .views import StateView, breaker_state, dashboard_json

JSON: Final = "application/json"

View = Callable[..., HttpResponse]
Quick = Callable[..., HttpResponse | None]


def quick(answer: Quick, view: Any) -> View:
    """``view``, but for readers whom ``answer`` can serve, unless it says ``None``: ask the view."""

    def served(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        found = _answered(answer, request, *args, **kwargs) if request.method == "GET" else None
        if found is None:
            return Elsewhere() if _is_at_once(request) else view(request, *args, **kwargs)
        return found

    served.cls, served.initkwargs = view.cls, view.initkwargs  # type: ignore[attr-defined]  # for the document
    return csrf_exempt(served)


def _answered(answer: Quick, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
    try:
        if not _may_read(request):
            return None
        if _is_at_once(request):
            fleet.advance()
        else:
            fleet.synchronise()
        return answer(request, *args, **kwargs)
    except Exception:  # whatever it is, the view meets it too, tells the caller and logs it
        return None


def _may_read(request: HttpRequest) -> bool:
    """Whether it is sure that the caller may. People are the view's: they are few, and their session is two queries."""
    secret = secret_of(request)
    if secret:
        return _key_may_read(request, secret)
    if not _is_anybody(request):
        return False
    request.user = AnonymousUser()
    return not wait_of(request)


def _is_anybody(request: HttpRequest) -> bool:
    """Somebody without a name, where reading is public."""
    named = "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES
    return public_read() and not named


def _key_may_read(request: HttpRequest, secret: str) -> bool:
    if secret not in known_keys:
        may_try_keys(request)
    key = known_keys.find(secret)
    if key is None or not key.allows("read"):
        return False
    request.user, request.auth = AnonymousUser(), key  # type: ignore[attr-defined]  # as REST framework leaves it
    return not wait_of(request)


# --- at once, on an event loop -----------------------------------------------------------------------------------

_HOT: Final = re.compile(rf"/circuit-breakers(?:/(?:{NAME_PATTERN.pattern})/state)?|/dashboard")
_AT_ONCE: Final = "_answered_at_once"


class Elsewhere(HttpResponse):
    """Not for a client: it says that the request belongs into a thread."""


def secret_of(request: HttpRequest) -> str:
    """That of the key that the request comes with, right or wrong; empty without one."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def may_be_answered_at_once(request: HttpRequest) -> bool:
    """Whether it is worth a look: asked by a key that was valid lately, or by anybody where anybody may."""
    if request.method != "GET" or not _HOT.fullmatch(request.path_info):
        return False
    if "text/html" in request.META.get("HTTP_ACCEPT", ""):
        return False
    secret = secret_of(request)
    return secret in known_keys if secret else _is_anybody(request)


def is_trusted(secret: str) -> bool:
    """Whether the caller is known without a query; one without a key has nothing to be known by."""
    return not secret or known_keys.trusts(secret)


def look(secrets: Iterable[str]) -> None:
    """In a thread: afterwards memory is as new as the database was during this call, and knows whose key is valid."""
    fleet.synchronise()
    for secret in secrets:
        if secret in known_keys:
            known_keys.refresh(secret)


def mark_at_once(request: HttpRequest) -> None:
    """The request is answered on an event loop, after a :func:`look` that began later than it came."""
    setattr(request, _AT_ONCE, True)


def begin_anew(again: HttpRequest, first: HttpRequest) -> None:
    """``first`` turned out to belong :class:`Elsewhere`: ``again`` is the same request, for a thread."""
    count_no_more(again, first)


def _is_at_once(request: HttpRequest) -> bool:
    return getattr(request, _AT_ONCE, False)


# --- what they say -----------------------------------------------------------------------------------------------


def _rows(request: HttpRequest) -> HttpResponse | None:
    return _kept(request, request.build_absolute_uri(), lambda: _page(Request(request)))


def _page(request: Request) -> Any:
    return paged(select_rows(fleet.rows(), **asked(RowsQuery, request)), request).data


def _state(request: HttpRequest, name: str) -> HttpResponse | None:
    row = fleet.row(name)
    if row is None:
        return None
    return HttpResponse(encoded(breaker_state(row)), content_type=JSON, headers={"ETag": f'"{row["version"]}"'})


def _dashboard(request: HttpRequest) -> HttpResponse | None:
    return _kept(request, "/dashboard", lambda: {"summary": fleet.summary(), "breakers": fleet.rows()})


def _kept(request: HttpRequest, address: str, make: Callable[[], Any]) -> HttpResponse | None:
    body = kept_answers.ready(address) if _is_at_once(request) else kept_answers.get(address, make)
    return None if body is None else HttpResponse(body, content_type=JSON)


breakers = quick(_rows, BreakersView.as_view())
state = quick(_state, StateView.as_view())
dashboard = quick(_dashboard, dashboard_json)
