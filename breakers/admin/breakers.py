"""Breakers: read with their live state, created, edited and deleted through ``breakers.services``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from breakers import selectors, services
from breakers.advice import advice
from breakers.core.errors import ConfigError
from breakers.fleet import fleet
from breakers.models import BreakerConfig, ConfigChange
from breakers.problems import AlreadyExists, NotFound, UnknownVersion, VersionConflict

from . import exchange, live
from .actions import copy_config, force_closed, force_open, release, reset
from .actors import actor_of
from .filters import OverrideFilter, StateFilter
from .forms import BreakerConfigForm, ReasonedActionForm

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[BreakerConfig]
else:
    _Admin = admin.ModelAdmin

_EDITS = (ConfigChange.Kind.CREATED, ConfigChange.Kind.REGISTERED, ConfigChange.Kind.EDITED)
_RECENT = 10
_LIVE = (live.state, live.instances, live.failure_rate, live.since, live.cause, live.applied)
_OVERRIDE = (live.override, "override_reason", "override_by", "override_expires_at")
_STANDING = ("version", live.origin, "created_at", "updated_at")
_OPENS = (
    "failure_threshold",
    ("window_type", "window_size", "minimum_calls"),
    "failure_rate_threshold",
    ("slow_call_duration", "slow_call_rate_threshold"),
    "timeout",
)
_RECOVERS = (
    "recovery_timeout",
    "success_threshold",
    "half_open_max_calls",
    ("recovery_backoff", "max_recovery_timeout", "recovery_jitter"),
)
_HTTP = (
    "failure_statuses",
    "max_retries",
    "retry_statuses",
    ("retry_backoff", "max_retry_wait"),
    "retry_non_idempotent",
)
Fieldsets = list[tuple[str | None, dict[str, Any]]]


@admin.register(BreakerConfig)
class BreakerConfigAdmin(_Admin):
    form = BreakerConfigForm
    action_form = ReasonedActionForm
    actions = (reset, force_open, force_closed, release, copy_config)
    list_display = (
        "name",
        live.state,
        "group",
        live.instances,
        live.limits,
        live.override,
        "version",
        "changed",
        "dashboard",
    )
    list_filter = (StateFilter, OverrideFilter, "managed", "group")
    search_fields = ("name", "group", "description")
    change_list_template = "admin/breakers/breakerconfig/change_list.html"
    change_form_template = "admin/breakers/breakerconfig/change_form.html"
    delete_confirmation_template = "admin/breakers/breakerconfig/delete_confirmation.html"
    delete_selected_confirmation_template = "admin/breakers/breakerconfig/delete_selected_confirmation.html"

    class Media:
        css: ClassVar = {"all": ["admin/breakers.css"]}

    # --- what is shown --------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[BreakerConfig]:
        last = ConfigChange.objects.filter(breaker=OuterRef("name"), kind__in=_EDITS).order_by("-revision")
        return (
            super()
            .get_queryset(request)
            .annotate(changed_by=Subquery(last.values("actor")[:1]), changed_at=Subquery(last.values("at")[:1]))
        )

    @admin.display(description="changed", ordering=F("changed_at").desc(nulls_last=True))
    def changed(self, breaker: BreakerConfig) -> str:
        by, at = getattr(breaker, "changed_by", None), getattr(breaker, "changed_at", None)
        return f"{by}, {at:%Y-%m-%d %H:%M} UTC" if by and at else ""

    @admin.display(description="live")
    def dashboard(self, breaker: BreakerConfig) -> SafeString:
        return format_html('<a href="/dashboard/breakers/{}">page</a>', breaker.name)

    def get_fieldsets(self, request: HttpRequest, obj: BreakerConfig | None = None) -> Fieldsets:  # type: ignore[override]  # narrower than the stubs' sequences
        may_write = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        asked = ("reason", "expected_version") if obj else ("reason",)
        identity = ("name", ("group", "managed") if obj else "group", "description")
        fieldsets: Fieldsets = [
            ("Identity", {"fields": (*identity, *(_STANDING if obj else ()))}),
            ("When it opens", {"fields": _OPENS}),
            ("How it recovers", {"fields": _RECOVERS}),
            ("HTTP", {"fields": _HTTP, "classes": ["collapse"]}),
        ]
        if may_write:
            fieldsets.append(("This change", {"fields": asked}))
        if obj:
            fieldsets += [("Live", {"fields": _LIVE}), ("Override", {"fields": _OVERRIDE})]
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: BreakerConfig | None = None) -> tuple[Any, ...]:
        """The name outlives an edit: instances know the breaker by it."""
        return ("name", "managed", *_STANDING, *_LIVE, *_OVERRIDE) if obj else ()

    def view_on_site(self, obj: BreakerConfig) -> str:
        return f"/dashboard/breakers/{obj.name}"

    # --- permissions of the actions -------------------------------------------------------------------------------

    def has_reset_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("breakers.reset_breaker")

    def has_override_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("breakers.override_breaker")

    # --- views ----------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        fleet.synchronise()
        return super().changelist_view(request, {**(extra_context or {}), "may_import": self._may_import(request)})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        fleet.synchronise()
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (AlreadyExists, NotFound, VersionConflict) as problem:
            # it passed the form's check and lost all the same: the transaction is rolled back, nothing is overwritten
            self.message_user(request, f"Nothing was saved: {problem}. Look at it and try again.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: BreakerConfig | None = None,
    ) -> HttpResponse:
        if obj is not None:
            moves = selectors.history(obj.name)[:_RECENT]
            context["transitions"] = [(m, live.badge(m.from_state), live.badge(m.to_state)) for m in moves]
            context["changes"] = selectors.changes(obj.name)[:_RECENT]
            context["versions"] = selectors.versions(obj.name)[:_RECENT]
            stands = selectors.breaker(obj.name)  # a form that was refused has left its values in ``obj``
            context["warnings"] = advice(stands.config(), stands.http_config())
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_urls(self) -> list[URLPattern]:
        restore = self.admin_site.admin_view(self.restore_view)
        bring_in = self.admin_site.admin_view(self.import_view)
        return [
            path("import/", bring_in, name="breakers_breakerconfig_import"),
            path("<path:object_id>/restore/", restore, name="breakers_breakerconfig_restore"),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not self._may_import(request):
            raise PermissionDenied
        return exchange.import_view(self, request)

    def _may_import(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button beside an older version: a POST with the version, the one that was seen, and the reason."""
        breaker = self.get_object(request, object_id)
        if request.method != "POST" or breaker is None:
            raise Http404
        if not self.has_change_permission(request, breaker):
            raise PermissionDenied
        self._restore(request, breaker)
        return HttpResponseRedirect(reverse("admin:breakers_breakerconfig_change", args=[breaker.pk]))

    def _restore(self, request: HttpRequest, breaker: BreakerConfig) -> None:
        version, seen = _version(request, "version"), _version(request, "expected_version")
        reason = request.POST.get("reason", "").strip()[:500]
        try:
            row = services.breaker_restore(
                name=breaker.name,
                version=version,
                reason=reason,
                by=actor_of(request),
                expected_version=seen,
            )
        except (NotFound, UnknownVersion, VersionConflict, ConfigError) as problem:
            self.message_user(request, f"Nothing was restored: {problem}.", messages.ERROR)
        else:
            self.message_user(request, f"Version {version} is in force again, as version {row.version}.")

    # --- writes ---------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: BreakerConfig, form: Any, change: bool) -> None:
        """``form`` is a valid :class:`BreakerConfigForm`; its instance was never saved, the service's row is."""
        given = {
            "config": form.config(),
            "http": form.http(),
            "group": form.cleaned_data["group"],
            "description": form.cleaned_data["description"],
            "reason": form.cleaned_data["reason"],
            "by": actor_of(request),
        }
        if change:
            seen = form.cleaned_data["expected_version"]
            row = services.breaker_edit(name=obj.name, expected_version=seen, **given)
        else:
            row = services.breaker_create(name=obj.name, **given)
        obj.pk = row.pk
        obj.refresh_from_db()
        stays = "_continue" in request.POST  # then they stand above the form
        for sentence in () if stays else advice(row.config(), row.http_config()):
            self.message_user(request, sentence, messages.WARNING)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except (NotFound, VersionConflict) as problem:
            self.message_user(request, f"Nothing was deleted: {problem}. Look at it and try again.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def delete_model(self, request: HttpRequest, obj: BreakerConfig) -> None:
        """After a question, which carries the version that it was asked of; who asks none means whatever stands."""
        self._delete(
            request, obj, _version(request, "expected_version") if "expected_version" in request.POST else None
        )

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[BreakerConfig]) -> None:
        """All of them; who was deleted meanwhile already is."""
        for breaker in queryset:
            with suppress(NotFound):
                self._delete(request, breaker, None)

    def _delete(self, request: HttpRequest, breaker: BreakerConfig, seen: int | None) -> None:
        reason = request.POST.get("reason", "").strip()
        services.breaker_delete(name=breaker.name, reason=reason, by=actor_of(request), expected_version=seen)


def _version(request: HttpRequest, name: str) -> int:
    given = request.POST.get(name, "")
    if not given.isdecimal() or len(given) > 10:
        raise SuspiciousOperation(f"no {name} in what was sent")
    return int(given)
