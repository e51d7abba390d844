"""The addresses that programs ask all day, answered from memory without REST framework.

Only what is sure to succeed is answered here: a key that may read (or anybody, where reading is public) asking for
what is there. Everything else, each refusal included, is the view's.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from breakers.fleet import fleet
from breakers.models import ApiKey
from breakers.services import authenticate_key

from .actions import BreakersView
from .base import asked, paged
from .permissions import public_read
from .rows import select_rows
from .serializers import RowsQuery
from .throttling import may_try_keys, wait_of
from .views import StateView, breaker_state, dashboard_json

TRUSTED: Final = 1.0
"""Seconds that a key is taken for valid after the database said so: a revoked one stops within them."""
MANY_KEYS: Final = 1000
MANY_ANSWERS: Final = 64
JSON: Final = "application/json"

View = Callable[..., HttpResponse]
Quick = Callable[..., HttpResponse | None]


class KnownKeys:
    """Keys that were valid within the last second, by a digest of their secret."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, ApiKey]] = {}

    def find(self, secret: str) -> ApiKey | None:
        """One query at most once a second for each key; a wrong one is never remembered."""
        digest, now = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest(), time.monotonic()
        seen, key = self._known.get(digest, (0.0, None))
        if key is not None and now - seen < TRUSTED:
            return key
        found = authenticate_key(secret)
        with self._lock:
            if len(self._known) >= MANY_KEYS:
                self._known.clear()
            if found is None:
                self._known.pop(digest, None)
            else:
                self._known[digest] = now, found
        return found

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


class KeptAnswers:
    """Bodies made of the fleet as it stood at one version; the next version makes all of them old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = -1
        self._bodies: dict[str, bytes] = {}

    def get(self, address: str, make: Callable[[], Any]) -> bytes:
        version = fleet.version
        with self._lock:
            if version != self._version:
                self._version, self._bodies = version, {}
            body = self._bodies.get(address)
        if body is None:
            body = encoded(make())
            with self._lock:
                if version == self._version == fleet.version and len(self._bodies) < MANY_ANSWERS:
                    self._bodies[address] = body
        return body

    def clear(self) -> None:
        with self._lock:
            self._version, self._bodies = -1, {}


known_keys = KnownKeys()
kept_answers = KeptAnswers()


def encoded(value: object) -> bytes:
    """As the views' own renderer writes it."""
    return bytes(JSONRenderer().render(value))


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
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme:
        return scheme.lower() == "bearer" and _key_may_read(request, secret.strip())
    if not public_read() or settings.SESSION_COOKIE_NAME in request.COOKIES:
        return False
    request.user = AnonymousUser()
    return not wait_of(request)


def _key_may_read(request: HttpRequest, secret: str) -> bool:
    may_try_keys(request)
    key = known_keys.find(secret)
    if key is None or not key.allows("read"):
        return False
    request.user, request.auth = AnonymousUser(), key  # type: ignore[attr-defined]  # as REST framework leaves it
    return not wait_of(request)


def _rows(request: HttpRequest) -> HttpResponse:
    return _kept(request.build_absolute_uri(), lambda: _page(Request(request)))


def _page(request: Request) -> Any:
    return paged(select_rows(fleet.rows(), **asked(RowsQuery, request)), request).data


def _state(request: HttpRequest, name: str) -> HttpResponse | None:
    row = fleet.row(name)
    if row is None:
        return None
    return HttpResponse(encoded(breaker_state(row)), content_type=JSON, headers={"ETag": f'"{row["version"]}"'})


def _dashboard(request: HttpRequest) -> HttpResponse:
    return _kept("/dashboard", lambda: {"summary": fleet.summary(), "breakers": fleet.rows()})


def _kept(address: str, make: Callable[[], Any]) -> HttpResponse:
    return HttpResponse(kept_answers.get(address, make), content_type=JSON)


breakers = quick(_rows, BreakersView.as_view())
state = quick(_state, StateView.as_view())
dashboard = quick(_dashboard, dashboard_json)
