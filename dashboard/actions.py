"""What a click does. The same URLs serve forms (a message and back) and scripts (JSON); both call ``services``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from breakers import services
from breakers.access import address_of, refused
from breakers.api.permissions import actor_of, may_operate
from breakers.fleet import fleet
from breakers.problems import NotFound, VersionConflict

from .filters import Filter
from .page import readable, show
from .words import plural

Answer = tuple[int, str, dict[str, Any]]
"""Status, sentence, and what a script wants to know besides."""


def operation(permission: str) -> Callable[[Callable[[HttpRequest], Answer]], Callable[[HttpRequest], HttpResponse]]:
    """A POST that takes ``permission``; refusals and lost races are answers like any other."""

    def wrap(action: Callable[[HttpRequest], Answer]) -> Callable[[HttpRequest], HttpResponse]:
        @require_POST
        @wraps(action)
        def view(request: HttpRequest) -> HttpResponse:
            return _answer(request, *_attempt(action, request, permission))

        return view

    return wrap


def _attempt(action: Callable[[HttpRequest], Answer], request: HttpRequest, permission: str) -> Answer:
    if not may_operate(request.user, permission):
        return 403, "You may not do this: it needs the operator role.", {}
    try:
        return action(request)
    except NotFound as problem:
        return 404, f"There is no breaker {problem.name} any more.", {}
    except VersionConflict as problem:
        version = problem.current_version
        return 412, f"{problem.name} was changed meanwhile: it is at v{version} now. Look again, then decide.", {}
    except ValueError as error:
        return 400, str(error), {}


def _answer(request: HttpRequest, status: int, sentence: str, facts: dict[str, Any]) -> HttpResponse:
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse({"message": sentence, **facts}, status=status)
    if status == 403:  # told by a message, so that no answer shows it to the log
        refused(who=str(request.user), what=f"POST {request.path}", where=address_of(request), why="not allowed")
    (messages.success if status < 400 else messages.error)(request, sentence)
    return redirect(_back(request))


def _back(request: HttpRequest) -> str:
    target = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else reverse("dashboard:overview")


def _target(request: HttpRequest) -> tuple[str, int]:
    """Name and version that the person saw, of a button's value ``NAME VERSION``."""
    name, _, version = request.POST.get("target", "").partition(" ")
    if not version.isdecimal() or len(version) > 10:
        raise ValueError("Say which breaker, and which version of it you saw.")
    return name, int(version)


def _instance(request: HttpRequest) -> UUID | None:
    text = request.POST.get("instance", "")
    return UUID(text) if text else None


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:500]


@operation("reset_breaker")
def reset(request: HttpRequest) -> Answer:
    """One breaker, on all instances that run now or on one of them."""
    name, version = _target(request)
    record = services.breaker_reset(
        name=name,
        reason=_reason(request),
        by=actor_of(request),
        instance=_instance(request),
        expected_version=version,
    )
    fleet.synchronise()
    progress = fleet.reset_progress(record.id)
    sentence = f"Reset {name}: asked {plural(progress['targeted'], 'instance')}."
    return 200, sentence, {"command": record.id, "name": name, **progress}


@operation("override_breaker")
def release(request: HttpRequest) -> Answer:
    """Lift the fleet's override of one breaker."""
    name, version = _target(request)
    services.override_release(name=name, reason=_reason(request), by=actor_of(request), expected_version=version)
    return 200, f"Released {name}.", {"name": name}


@require_http_methods(["GET", "HEAD", "POST"])
def reset_all(request: HttpRequest) -> HttpResponse:
    """Every breaker of a filter; whoever asks must have typed how many those are."""
    return _reset_all(request) if request.method == "POST" else _confirm_all(request)


@readable
def _confirm_all(request: HttpRequest) -> HttpResponse:
    wanted = Filter.of(request.GET)
    names = _names(wanted)
    context = {"filter": wanted, "count": len(names), "what": plural(len(names), "breaker")}
    return show(request, "dashboard/reset_all.html", "overview", "Reset all", **context)


@operation("reset_breaker")
def _reset_all(request: HttpRequest) -> Answer:
    fleet.synchronise()
    names = _names(Filter.of(request.POST))
    if request.POST.get("count", "").replace(",", "").strip() != str(len(names)):
        return 409, f"Nothing was reset: {plural(len(names), 'breaker')} would be. Type that number to confirm.", {}
    records = services.breakers_reset_all(names=names, reason=_reason(request), by=actor_of(request))
    return 200, f"Reset {plural(len(records), 'breaker')}.", {"commands": [record.id for record in records]}


def _names(wanted: Filter) -> list[str]:
    return [row["name"] for row in fleet.rows() if wanted.matches(row)]
