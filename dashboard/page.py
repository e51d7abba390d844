"""What every page carries: who looks, what they may, where they can go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from breakers.alerts import alerts
from breakers.api.health import without
from breakers.api.permissions import may_operate, may_read
from breakers.fleet import fleet

from .away import is_away, look
from .verdict import Kind, level, tally

View = Callable[..., HttpResponse]

_CANNOT: Final = "The database does not answer"


@dataclass(frozen=True, slots=True)
class NavItem:
    label: str
    url: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The frame around a page's content. ``denied``: why this person may not reset, or force; empty when they may."""

    title: str
    level: str
    """Of the worst breaker: the colour of the tab's icon."""
    now: datetime
    nav: tuple[NavItem, ...]
    environment: str
    user_name: str
    initials: str
    role: str
    may_reset: bool
    may_override: bool
    degraded: tuple[str, ...]
    """What does not answer: ``redis``, so that other servers' instances are shown as the database knows them, or the
    ``database``, so that nothing can be changed."""
    away: bool
    """This page was made without the database: its history is left out."""
    background: bool
    """A page that is open asks for this one to go on from: messages wait for somebody who looks."""
    feed: str = "/ws/feed"

    @property
    def denied(self) -> str:
        if self.may_reset:
            return ""
        if self.away:
            return _CANNOT
        return "Resetting needs the operator role" if self.user_name else "Sign in to reset"

    @property
    def denied_override(self) -> str:
        if self.may_override:
            return ""
        if self.away:
            return _CANNOT
        return "Forcing needs the operator role" if self.user_name else "Sign in to force"


def readable(view: View) -> View:
    """Pages for whoever may read; the others sign in first. What is told is as new as the database, if it answers."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        look(request)
        if not may_read(request.user):
            return redirect_to_login(request.get_full_path(), reverse("dashboard:login"))
        return view(request, *args, **kwargs)

    return guarded


def show(request: HttpRequest, template: str, here: str, title: str, **context: Any) -> HttpResponse:
    """Render a page; ``here`` is the URL name of its place in the navigation."""
    return render(request, template, {"page": page(request, here, title), **context})


def page(request: HttpRequest, here: str, title: str) -> Page:
    user, away = request.user, is_away(request)
    name = user.get_username()
    counts = tally(fleet.rows())
    opened = f"({counts[Kind.OPEN]:,} open) " if counts[Kind.OPEN] else ""
    return Page(
        title=f"{opened}{title} · Breakers",
        level=level(counts),
        now=timezone.now(),
        nav=_nav(user, here),
        environment=settings.CIRCUIT_BREAKER_ENVIRONMENT,
        user_name=name,
        initials="".join(part[0] for part in name.replace(".", " ").split()[:2]).upper(),
        role="" if away else _role(user),
        background=request.headers.get("Sec-Fetch-Dest") == "empty",
        may_reset=not away and may_operate(user, "reset_breaker"),
        may_override=not away and may_operate(user, "override_breaker"),
        degraded=tuple({*without(), *(("database",) if away else ())}),
        away=away,
    )


def _nav(user: AbstractBaseUser | AnonymousUser, here: str) -> tuple[NavItem, ...]:
    places = [("Overview", "overview", None), ("Alerts", "alerts", len(alerts())), ("Events", "events", None)]
    places += [("Instances", "instances", None), ("Connect", "connect", None)]
    items = [NavItem(label, reverse(f"dashboard:{name}"), name == here, count) for label, name, count in places]
    staff = [NavItem("Admin", reverse("admin:index"))] if getattr(user, "is_staff", False) else []
    return (*items, *staff)


def _role(user: AbstractBaseUser | AnonymousUser) -> str:
    """The most that this person may, in a word."""
    if may_operate(user, "change_breakerconfig"):
        return "editor"
    return "operator" if may_operate(user, "reset_breaker") else "viewer"
