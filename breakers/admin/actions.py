"""What an operator does to the breakers that are ticked in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.template.response import TemplateResponse
from django.utils import timezone

from breakers import services
from breakers.core.errors import ConfigError
from breakers.core.states import Override
from breakers.models import BreakerConfig
from breakers.problems import NeedsConfirmation, NotFound, VersionConflict

from .actors import actor_of, counted
from .questions import CopyForm, ForceClosedForm, ForceForm, ForceOpenForm, ask

if TYPE_CHECKING:
    from .breakers import BreakerConfigAdmin

Breakers = QuerySet[BreakerConfig]


@admin.action(description="Reset on all instances", permissions=["reset"])
def reset(model: BreakerConfigAdmin, request: HttpRequest, queryset: Breakers) -> None:
    names = list(queryset.values_list("name", flat=True))
    commands = services.breakers_reset_all(names=names, reason=_reason(request), by=actor_of(request))
    model.message_user(request, f"Reset of {counted(len(commands))} sent; instances confirm within seconds.")


@admin.action(description="Force open…", permissions=["override"])
def force_open(model: BreakerConfigAdmin, request: HttpRequest, queryset: Breakers) -> TemplateResponse | None:
    """First the page that asks why and for how long; with its answer, the override."""
    form = ForceOpenForm(_answer(request), initial={"reason": _reason(request)})
    if form.is_valid():
        try:
            _force(model, request, queryset, Override.FORCED_OPEN, form, confirm=form.cleaned_data["confirm"])
        except NeedsConfirmation as problem:  # once more, with a box to tick, before most of a group stops calling
            form.ask_to_confirm(problem)
        else:
            return None
    title = f"Force {counted(queryset.count())} open"
    text = "While a breaker is forced open, every instance rejects every call of it at once."
    return ask(model, request, queryset, form, action="force_open", title=title, text=text, button="Force open")


@admin.action(description="Force closed (shadow)…", permissions=["override"])
def force_closed(model: BreakerConfigAdmin, request: HttpRequest, queryset: Breakers) -> TemplateResponse | None:
    """The same, shorter, and only for who types what it is for: nothing protects the dependency then."""
    names = list(queryset.values_list("name", flat=True))
    form = ForceClosedForm(_answer(request), names=names, initial={"reason": _reason(request)})
    if form.is_valid():
        _force(model, request, queryset, Override.FORCED_CLOSED, form)
        return None
    title = f"Force {counted(len(names))} closed"
    text = (
        "While a breaker is forced closed, every call goes through, however many fail; it goes on judging underneath."
    )
    return ask(model, request, queryset, form, action="force_closed", title=title, text=text, button="Force closed")


def _force(
    model: BreakerConfigAdmin,
    request: HttpRequest,
    queryset: Breakers,
    override: Override,
    form: ForceForm,
    *,
    confirm: bool = False,
) -> None:
    until = timezone.now() + form.length
    forced = services.overrides_set(
        names=list(queryset.values_list("name", flat=True)),
        override=override,
        reason=form.cleaned_data["reason"],
        expires_at=until,
        by=actor_of(request),
        confirm=confirm,
    )
    word = override.value.replace("_", " ")
    model.message_user(request, f"{counted(len(forced))} {word} until {until:%Y-%m-%d %H:%M} UTC.", messages.WARNING)


@admin.action(description="Release the override", permissions=["override"])
def release(model: BreakerConfigAdmin, request: HttpRequest, queryset: Breakers) -> None:
    names = list(queryset.exclude(override="").values_list("name", flat=True))
    released = services.overrides_release(names=names, reason=_reason(request), by=actor_of(request))
    model.message_user(request, f"{counted(len(released))} released.")


@admin.action(description="Copy config to…", permissions=["change"])
def copy_config(model: BreakerConfigAdmin, request: HttpRequest, queryset: Breakers) -> TemplateResponse | None:
    """From the one that is ticked to others, or to a new one; all of them or, where one was changed meanwhile, none."""
    source = queryset.first()
    if source is None or queryset.count() != 1:
        model.message_user(request, "Tick the one breaker whose config is to be copied.", messages.ERROR)
        return None
    form = CopyForm(_answer(request), source=source, may_add=model.has_add_permission(request))
    if form.is_valid() and _copy(model, request, source, form):
        return None
    title = f"Copy the config of {source.name}, version {source.version}"
    text = "Each gets it as its next version, and keeps its group and description."
    return ask(model, request, queryset, form, action="copy_config", title=title, text=text, button="Copy")


def _copy(model: BreakerConfigAdmin, request: HttpRequest, source: BreakerConfig, form: CopyForm) -> bool:
    """False where it cannot be; then the form says why and nothing was written."""
    wanted, given = form.wanted(), {"reason": form.cleaned_data["reason"], "by": actor_of(request)}
    try:
        with transaction.atomic():
            for name, version in wanted:
                services.breaker_copy(source=source.name, target=name, expected_version=version, **given)
    except VersionConflict as problem:
        form.add_error(None, f"Nothing was copied: {problem}. Look at it and choose again.")
        return False
    except NotFound as problem:
        form.add_error(None, f"Nothing was copied: {problem}.")
        return False
    except ConfigError as problem:
        form.add_error("new", f"It {problem.fields.get('name', problem)}.")
        return False
    model.message_user(request, f"Config of {source.name} copied to {', '.join(name for name, _ in wanted)}.")
    return True


def _answer(request: HttpRequest) -> QueryDict | None:
    """What was answered to a page that asks; ``None`` the first time."""
    return request.POST if "forced" in request.POST else None


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").strip()
