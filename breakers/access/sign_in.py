"""Signing in: how often an address may try, and what is said to who tried too often."""

from __future__ import annotations

import math
from typing import Any, Final

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_cool_off
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from .addresses import network_of
from .buckets import buckets

BURST: Final = 20
"""Attempts of one address, for whatever names, before it has to wait."""
DEFAULT_RATE: Final = 0.2
"""Further ones a second."""


class AttemptsBackend:  # without Django's base, whose get_user would take sessions for its own and know nobody
    """First of the backends: slows down who tries many names; who tries one name often is locked by django-axes."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        if request is None:
            return
        rate = getattr(settings, "CIRCUIT_BREAKER_SIGN_IN_RATE", DEFAULT_RATE)
        wait = buckets.take(f"sign-in {network_of(request)}", rate=rate, burst=BURST)
        if wait:
            request.axes_locked_out = True  # type: ignore[attr-defined]  # what axes' middleware looks for
            request.sign_in_wait = wait  # type: ignore[attr-defined]  # for the answer below
            raise PermissionDenied


class Attempts(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """Where failed attempts are counted."""

    def user_logged_out(self, *_: object, **__: object) -> None:
        """Signing out asks the database for nothing here, so that it is done while that is away.

        axes would drop attempts that are over, as it does with each that fails.
        """


def locked_out(request: HttpRequest, *_: object) -> HttpResponse:
    """429: the page that says when to try again. Nothing of it tells whether the name exists."""
    cool_off = get_cool_off(request)
    wait = getattr(request, "sign_in_wait", None) or (cool_off.total_seconds() if cool_off else 0.0)
    context = {"minutes": max(math.ceil(wait / 60), 1)}
    answer = render(request, "access/locked.html", context, status=429)
    answer["Retry-After"] = str(math.ceil(wait))
    return answer
