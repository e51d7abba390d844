"""Pages while the database is away: what memory holds is shown, and of the rest it is said that it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from breakers.access.people import is_recalled
from breakers.api.permissions import public_read
from breakers.fleet import fleet
from breakers.outage import AWAY, outage

T = TypeVar("T")

_AWAY: Final = "_database_is_away"


def look(request: HttpRequest) -> None:
    """Desired state as new as the database; as last known while that is away. Raises what the database does before
    anything was ever known, and of somebody who may be signed in or not, where that matters."""
    try:
        fleet.synchronise()
    except AWAY:
        if not fleet.revision:
            raise
    recognise(request)
    setattr(request, _AWAY, outage.lasting or is_recalled(request.user))


def recognise(request: HttpRequest) -> None:
    try:
        request.user.is_authenticated  # noqa: B018  # reading it asks
    except AWAY:
        if not public_read():
            raise
        request.user = AnonymousUser()  # who may read as much


def is_away(request: HttpRequest) -> bool:
    return getattr(request, _AWAY, False)


def told(request: HttpRequest, ask: Callable[[], T]) -> T | None:
    """What the database says; ``None`` while it is away."""
    if not is_away(request):
        with suppress(*AWAY):
            return ask()
        setattr(request, _AWAY, True)
    return None
