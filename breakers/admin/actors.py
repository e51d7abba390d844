"""Who acts in the admin, and how things are counted in its sentences."""

from __future__ import annotations

from django.http import HttpRequest

from breakers.services import Actor


def actor_of(request: HttpRequest) -> Actor:
    return Actor("user", request.user.get_username())


def counted(number: int, what: str = "breaker") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
