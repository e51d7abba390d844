"""Forcing a breaker: what is asked first, as a page or as a dialog over another one, and the order that follows."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from breakers import services
from breakers.admin.questions import ForceClosedForm, ForceForm, ForceOpenForm
from breakers.api.permissions import actor_of
from breakers.core.states import Override
from breakers.fleet import Row, fleet

from .actions import Answer, answered, attempted, ordered, target_of, wants_json
from .page import readable, show
from .words import plural

WORDS = {Override.FORCED_OPEN: "Force open", Override.FORCED_CLOSED: "Force closed"}
_WARNINGS = {
    Override.FORCED_OPEN: "Every instance rejects every call at once, {live} now.",
    Override.FORCED_CLOSED: "Nothing protects the dependency then: every call goes through on {live}, whatever fails.",
}


def form_of(override: Override, name: str, answer: Any = None) -> ForceForm:
    """The questions before ``override``; ``answer`` is a POST."""
    given: dict[str, Any] = {"auto_id": f"{override.value}-%s"}
    if override is Override.FORCED_CLOSED:
        return ForceClosedForm(answer, names=[name], **given)
    return ForceOpenForm(answer, **given)


def questions(row: Row) -> list[dict[str, Any]]:
    """What a page about ``row`` needs for a button and a dialog an override."""
    return [question(override, row, form_of(override, row["name"])) for override in Override]


def question(override: Override, row: Row, form: Form) -> dict[str, Any]:
    live = row["instances"]["total"] - row["instances"]["silent"]
    before, _, after = _WARNINGS[override].partition("{live}")
    return {
        "key": override.value,
        "label": WORDS[override],
        "title": f"Force {row['name']} {override.value.removeprefix('forced_')}?",
        "url": reverse("dashboard:force", args=[row["name"], override.value]),
        "warning": {"before": before, "live": plural(live, "instance"), "after": after},
        "target": f"{row['name']} {row['version']}",
        "form": form,
    }


@require_http_methods(["GET", "HEAD", "POST"])
def force(request: HttpRequest, name: str, override: str) -> HttpResponse:
    """The questions; or, given the answers, the order. What has to be asked again is asked with what was typed."""
    if override not in set(Override):
        raise Http404(override)
    wanted = Override(override)
    if request.method != "POST":
        return _ask(request, name, wanted, form_of(wanted, name))
    form = form_of(wanted, name, request.POST)
    status, sentence, facts = attempted(lambda given: _order(given, name, wanted, form), request, "override_breaker")
    if wants_json(request) or status not in (200, 400, 409):
        return answered(request, status, sentence, facts)
    if status == 200:
        messages.success(request, sentence)
        return redirect("dashboard:breaker", name)
    if facts.get("confirm") and isinstance(form, ForceOpenForm):
        form.show_confirm()
    return _ask(request, name, wanted, form, sentence, status)


@readable
def _ask(
    request: HttpRequest, name: str, override: Override, form: ForceForm, problem: str = "", status: int = 200
) -> HttpResponse:
    row = fleet.row(name)
    if row is None:
        raise Http404(name)
    context = {"question": question(override, row, form), "problem": problem, "name": name}
    answer = show(request, "dashboard/force.html", "overview", f"{WORDS[override]} {name}", **context)
    answer.status_code = status
    return answer


def _order(request: HttpRequest, name: str, override: Override, form: ForceForm) -> Answer:
    seen, version, _ = target_of(request)
    if seen != name:
        raise ValueError("The form is of another breaker.")
    if not form.is_valid():
        labels = {name: (field.label or name).capitalize() for name, field in form.fields.items()}
        told = [f"{labels[name]}: {' '.join(map(str, said))}" for name, said in form.errors.items()]
        raise ValueError(" ".join(told))
    until = timezone.now() + form.length
    services.override_set(
        name=name,
        override=override,
        reason=form.cleaned_data["reason"],
        expires_at=until,
        by=actor_of(request),
        expected_version=version,
        confirm=form.cleaned_data.get("confirm", False),
    )
    sentence = f"{override.value.replace('_', ' ').capitalize()} {name} until {until:%H:%M} UTC."
    return 200, sentence, ordered(name)
