"""The addresses that programs ask all day, answered from memory without REST framework.

Only what is sure to succeed is answered here: a key that may read (or anybody, where reading is public) asking for
what is there. Everything else, each refusal included, is the view's.

A server may answer these *at once*, on its event loop and without Django, if it first has :func:`look` look at the
database in a thread: see the last part. Then nothing here asks the database, nor takes long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.request import Request

from breakers.fleet import fleet

from .actions import BreakersView, list_body
from .base import FRESH
from .memory import JSON, Pieces, kept_answers, known_keys
from .permissions import public_read
from .rendering import text
from .throttling import may_try_keys, wait_of, wait_of_key, wait_of_stranger
from .views import StateView, breaker_state, dashboard_body, dashboard_json

View = Callable[..., HttpResponse]
Quick = Callable[..., HttpResponse | None]


def quick(answer: Quick, view: Any) -> View:
    """``view``, but for readers whom ``answer`` can serve, unless it says ``None``: ask the view."""

    def served(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        found = _answered(answer, request, *args, **kwargs) if request.method == "GET" else None
        return view(request, *args, **kwargs) if found is None else found

    served.cls, served.initkwargs = view.cls, view.initkwargs  # type: ignore[attr-defined]  # for the document
    return csrf_exempt(served)


def _answered(answer: Quick, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
    try:
        if not _may_read(request):
            return None
        fleet.synchronise()
        return answer(request, *args, **kwargs)
    except Exception:  # whatever it is, the view meets it too, tells the caller and logs it
        return None


def _may_read(request: HttpRequest) -> bool:
    """Whether it is sure that the caller may. People are the view's: they are few, and their session is two queries."""
    secret = _secret_of(request)
    if secret:
        return _key_may_read(request, secret)
    if not _is_anybody(request):
        return False
    request.user = AnonymousUser()
    return not wait_of(request)


def _secret_of(request: HttpRequest) -> str:
    """That of the key that the request comes with, right or wrong; empty without one."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


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


# --- what they say -----------------------------------------------------------------------------------------------


WHOLE: Final = "/dashboard"
"""Where the dashboard's body is kept, the same for everybody. Lists are not: they name addresses of their next page."""


def rows_body(request: HttpRequest, address: str) -> bytes:
    """The list, kept at ``address``. Raises what the view raises where the query is wrong."""
    return kept_answers.get(address, lambda: list_body(Request(request)))


def whole_body() -> bytes:
    return kept_answers.get(WHOLE, dashboard_body)


_state_pieces: Final = Pieces(lambda row: text(breaker_state(row)))


class State(NamedTuple):
    body: bytes
    version: int


def state_of(name: str) -> State | None:
    """``None`` for a name that nobody has. Cheap, also on an event loop."""
    row = fleet.row(name)
    return None if row is None else State(_state_pieces.of(row).encode(), row["version"])


def _rows(request: HttpRequest) -> HttpResponse:
    return HttpResponse(rows_body(request, request.build_absolute_uri()), content_type=JSON, headers=dict([FRESH]))


def _state(request: HttpRequest, name: str) -> HttpResponse | None:
    found = state_of(name)
    if found is None:
        return None
    headers = dict([FRESH, ("ETag", f'"{found.version}"')])
    return HttpResponse(found.body, content_type=JSON, headers=headers)


def _dashboard(request: HttpRequest) -> HttpResponse:
    return HttpResponse(whole_body(), content_type=JSON, headers=dict([FRESH]))


breakers = quick(_rows, BreakersView.as_view())
state = quick(_state, StateView.as_view())
dashboard = quick(_dashboard, dashboard_json)


# --- at once, on an event loop -----------------------------------------------------------------------------------


def may_be_answered_at_once(secret: str) -> bool:
    """Whether it is worth a look: asked by a key that was valid lately, or by anybody where anybody may."""
    return secret in known_keys if secret else public_read()


def is_trusted(secret: str) -> bool:
    """Whether the caller is known without a query; one without a key has nothing to be known by."""
    return not secret or known_keys.trusted(secret) is not None


def look(secrets: Iterable[str]) -> None:
    """In a thread: afterwards memory is as new as the database was during this call, and knows whose key is valid."""
    fleet.synchronise()
    for secret in secrets:
        if secret in known_keys:
            known_keys.refresh(secret)


def may_read_now(secret: str, network: str) -> bool:
    """Whether it is sure that the caller, who comes from ``network``, may read this once more, which is counted."""
    if not secret:
        return public_read() and not wait_of_stranger(network)
    key = known_keys.trusted(secret)
    return key is not None and key.allows("read") and not wait_of_key(key)
