"""What a click does. The same URLs serve forms (a message and back) and scripts (JSON); both call ``services``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from breakers import selectors, services
from breakers.access import refused_request
from breakers.api.permissions import actor_of, may_operate
from breakers.fleet import fleet
from breakers.problems import NeedsConfirmation, NotFound, VersionConflict

from . import changes
from .filters import Filter
from .page import readable, show
from .verdict import WORDS, affected, kind_of
from .words import plural

Answer = tuple[int, str, dict[str, Any]]
"""Status, sentence, and what a script wants to know besides."""

_MAY_NOT: Final = "You may not do this: it needs the operator role."
_NOT_SIGNED_IN: Final = "You are not signed in: nothing was done. Sign in, then do it again."


def operation(permission: str) -> Callable[[Callable[[HttpRequest], Answer]], Callable[[HttpRequest], HttpResponse]]:
    """A POST that takes ``permission``; refusals and lost races are answers like any other."""

    def wrap(action: Callable[[HttpRequest], Answer]) -> Callable[[HttpRequest], HttpResponse]:
        @require_POST
        @wraps(action)
        def view(request: HttpRequest) -> HttpResponse:
            return answered(request, *attempted(action, request, permission))

        return view

    return wrap


def attempted(action: Callable[[HttpRequest], Answer], request: HttpRequest, permission: str) -> Answer:
    """What came of it, whatever that is, as an answer."""
    if not may_operate(request.user, permission):
        return 403, _MAY_NOT if request.user.is_authenticated else _NOT_SIGNED_IN, {}
    try:
        return action(request)
    except NotFound as problem:
        return 404, f"There is no breaker {problem.name} any more.", {}
    except VersionConflict as problem:
        return 412, f"{_meanwhile(problem)} Look again, then decide.", {}
    except NeedsConfirmation as problem:
        where = f"the group {problem.group}" if problem.group else "the fleet"
        sentence = f"Then {problem.count:,} of the {plural(problem.of, 'breaker')} of {where} reject every call."
        return 409, sentence, {"confirm": True}
    except ValueError as error:
        return 400, str(error), {}


def wants_json(request: HttpRequest) -> bool:
    """A script asks, not a form."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _meanwhile(problem: VersionConflict) -> str:
    """What is true now, and who made it so."""
    fleet.synchronise()
    row, change = fleet.row(problem.name), selectors.changes(problem.name).first()
    who = "" if change is None else f" by {change.actor} ({changes.of_change(change).text})"
    sentence = f"{problem.name} was changed meanwhile{who}: it is at v{problem.current_version} now"
    if row is None:
        return f"{sentence}."
    some, every = affected(row)
    return f"{sentence}, {WORDS[kind_of(row)].lower()} on {some:,} of {plural(every, 'instance')}."


def answered(request: HttpRequest, status: int, sentence: str, facts: dict[str, Any]) -> HttpResponse:
    if wants_json(request):
        return JsonResponse({"message": sentence, **facts}, status=status)
    if status == 403:  # told by a message, so that no answer shows it to the log
        refused_request(request, "not allowed")
    (messages.success if status < 400 else messages.error)(request, sentence)
    return redirect(_back(request))


def _back(request: HttpRequest) -> str:
    target = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else reverse("dashboard:overview")


def target_of(request: HttpRequest) -> tuple[str, int, UUID | None]:
    """Name, version that the person saw, and perhaps one instance, of a button's value ``NAME VERSION [INSTANCE]``."""
    name, version, instance, *_ = [*request.POST.get("target", "").split(" "), "", ""]
    instance = instance or request.POST.get("instance", "")
    if not version.isdecimal() or len(version) > 10:
        raise ValueError("Say which breaker, and which version of it you saw.")
    return name, int(version), UUID(instance) if instance else None


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()[:500]


@operation("reset_breaker")
def reset(request: HttpRequest) -> Answer:
    """One breaker, on all instances that run now or on one of them."""
    name, version, instance = target_of(request)
    record = services.breaker_reset(
        name=name,
        reason=_reason(request),
        by=actor_of(request),
        instance=instance,
        expected_version=version,
    )
    fleet.synchronise()
    progress = fleet.reset_progress(record.id)
    sentence = f"Reset {name}: asked {plural(progress['targeted'], 'instance')}."
    return 200, sentence, {"command": record.id, "name": name, **progress}


@operation("override_breaker")
def release(request: HttpRequest) -> Answer:
    """Lift the fleet's override of one breaker."""
    name, version, _ = target_of(request)
    services.override_release(name=name, reason=_reason(request), by=actor_of(request), expected_version=version)
    return 200, f"Released {name}.", ordered(name)


def ordered(name: str) -> dict[str, Any]:
    """Whom to wait for after an override or its release: who has the breaker, and who of them has confirmed.

    ``command`` is what rows say of themselves once the order stands: name, and when its override ends.
    """
    fleet.synchronise()
    row = fleet.row(name)
    if row is None:
        return {"name": name}
    on, of = row["applied"]["on"], row["applied"]["of"]
    ends = row["override"]["expires_at"] if row["override"] else None
    return {"name": name, "command": f"{name} {ends or ''}", "targeted": of, "confirmed": on, "silent": 0}


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
    names = _names(Filter.of(request.GET or request.POST))
    if request.POST.get("count", "").replace(",", "").strip() != str(len(names)):
        return 409, f"Nothing was reset: {plural(len(names), 'breaker')} would be. Type that number to confirm.", {}
    records = services.breakers_reset_all(names=names, reason=_reason(request), by=actor_of(request))
    return 200, f"Reset {plural(len(records), 'breaker')}.", {"commands": [record.id for record in records]}


def _names(wanted: Filter) -> list[str]:
    return [row["name"] for row in fleet.rows() if wanted.matches(row)]
