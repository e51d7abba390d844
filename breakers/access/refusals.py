"""Every refused attempt in one line of the logger ``breakers.access``: who, what, from where, why; never a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.urls import reverse

from .addresses import address_of

logger = logging.getLogger("breakers.access")

_LOOKING: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_WHY: Final = {401: "not signed in, or a key that is not valid", 403: "not allowed", 429: "too many requests"}


def refused(*, who: str, what: str, where: str, why: str) -> None:
    """One line. What clients choose is cut and freed of line breaks, so that nobody writes lines of their own."""
    logger.warning("Refused: %s from %s, %s: %s", _plain(who), _plain(where), _plain(what), _plain(why))


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


class RefusalLog:
    """Middleware: one line for each answer that is a refusal, whichever view gave it. Costs a comparison a request.

    Who is sent to sign in is refused where they have signed in already, as somebody who may not, or would have changed
    something. A stranger who merely looks in is no news.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code in _WHY:
            refused_request(request, _WHY[response.status_code], response.status_code)
        elif response.status_code == 302 and _is_sent_away(request, response):
            refused_request(request, "sent to sign in")
        return response


def refused_request(request: HttpRequest, why: str, status: int = 403) -> None:
    """What a view refuses by an answer that does not show it."""
    what = f"{request.method} {request.path}"  # not the query: it may hold what was meant to stay secret
    refused(who=_who(request, status), what=what, where=address_of(request), why=why)


def _is_sent_away(request: HttpRequest, response: HttpResponse) -> bool:
    if urlsplit(response["Location"]).path not in (resolve_url(settings.LOGIN_URL), reverse("admin:login")):
        return False
    return request.method not in _LOOKING or request.user.is_authenticated or "Authorization" in request.headers


def _who(request: HttpRequest, status: int) -> str:
    """The name of the key or the user; REST framework leaves both on Django's request.

    It leaves nobody where a session lacked its token: whose that is the middleware knew before.
    """
    key = getattr(request, "auth", None)
    if key is not None:
        return f"key:{key}"
    for user in (getattr(request, "user", None), getattr(request, "_cached_user", None)):
        if user is not None and user.is_authenticated:
            return f"user:{user.get_username()}"
    if "Authorization" not in request.headers:
        return "nobody"
    return "an unknown key" if status == 401 else "a key"  # of which nobody looked whose it is


def sign_in_failed(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: object) -> None:
    """Receiver of ``user_login_failed``. A name that nobody has is not written: it may be a password."""
    name = str(credentials.get("username") or "")[:200]
    known = get_user_model()._default_manager.filter(username=name.replace("\x00", "")).exists()
    where = "inside" if request is None else address_of(request)
    locked = getattr(request, "axes_locked_out", False)
    why = "locked after too many attempts" if locked else "name and password do not match"
    refused(who=f"user:{name}" if known else "an unknown name", what="sign-in", where=where, why=why)
