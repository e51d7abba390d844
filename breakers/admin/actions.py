"""What an operator does to the breakers that are ticked in the list."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from breakers import services
from breakers.core.states import Override
from breakers.models import BreakerConfig
from breakers.services import Actor

from .forms import ForceOpenForm

if TYPE_CHECKING:
    from .breakers import BreakerConfigAdmin


def actor_of(request: HttpRequest) -> Actor:
    return Actor("user", request.user.get_username())


def counted(number: int, what: str = "breaker") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@admin.action(description="Reset on all instances", permissions=["reset"])
def reset(model: BreakerConfigAdmin, request: HttpRequest, queryset: QuerySet[BreakerConfig]) -> None:
    names = list(queryset.values_list("name", flat=True))
    commands = services.breakers_reset_all(names=names, reason=_reason(request), by=actor_of(request))
    model.message_user(request, f"Reset of {counted(len(commands))} sent; instances confirm within seconds.")


@admin.action(description="Force open…", permissions=["override"])
def force_open(
    model: BreakerConfigAdmin, request: HttpRequest, queryset: QuerySet[BreakerConfig]
) -> TemplateResponse | None:
    """First the page that asks why and for how long; with its answer, the override."""
    form = ForceOpenForm(request.POST if "forced" in request.POST else None, initial={"reason": _reason(request)})
    if not form.is_valid():
        return _force_open_page(model, request, queryset, form)
    until = timezone.now() + timedelta(hours=form.cleaned_data["hours"])
    with transaction.atomic():
        for name in queryset.values_list("name", flat=True):
            services.override_set(
                name=name,
                override=Override.FORCED_OPEN,
                reason=form.cleaned_data["reason"],
                expires_at=until,
                by=actor_of(request),
            )
    text = f"{counted(queryset.count())} forced open until {until:%Y-%m-%d %H:%M} UTC."
    model.message_user(request, text, messages.WARNING)
    return None


def _force_open_page(
    model: BreakerConfigAdmin, request: HttpRequest, queryset: QuerySet[BreakerConfig], form: ForceOpenForm
) -> TemplateResponse:
    context = {
        **model.admin_site.each_context(request),
        "title": f"Force {counted(queryset.count())} open",
        "opts": model.opts,
        "media": model.media,
        "form": form,
        "breakers": queryset,
        "checkbox": ACTION_CHECKBOX_NAME,
        "action": "force_open",
    }
    return TemplateResponse(request, "admin/breakers/breakerconfig/force_open.html", context)


@admin.action(description="Release the override", permissions=["override"])
def release(model: BreakerConfigAdmin, request: HttpRequest, queryset: QuerySet[BreakerConfig]) -> None:
    names = list(queryset.exclude(override="").values_list("name", flat=True))
    with transaction.atomic():
        for name in names:
            services.override_release(name=name, reason=_reason(request), by=actor_of(request))
    model.message_user(request, f"{counted(len(names))} released.")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()
