"""History, audit and instances: read, never written here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from breakers.models import ConfigChange, Instance, StateChange

from .live import badge

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Model]
else:
    _Admin = admin.ModelAdmin


class ReadOnlyAdmin(_Admin):
    show_full_result_count = False  # counting a long history costs more than showing a page of it

    class Media:
        css: ClassVar = {"all": ["admin/breakers.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(StateChange)
class StateChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "breaker", "before", "after", "reason", "cause", "service", "instance")
    list_filter = ("to_state", "reason", "service")
    search_fields = ("breaker", "cause")
    date_hierarchy = "at"

    @admin.display(description="from")
    def before(self, change: StateChange) -> SafeString:
        return badge(change.from_state)

    @admin.display(description="to")
    def after(self, change: StateChange) -> SafeString:
        return badge(change.to_state)


@admin.register(ConfigChange)
class ConfigChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "breaker", "kind", "actor", "reason", "differences", "version", "revision")
    list_filter = ("kind",)
    search_fields = ("breaker", "actor", "reason")
    date_hierarchy = "at"

    @admin.display(description="from, to")
    def differences(self, change: ConfigChange) -> SafeString:
        found = change.differences() if change.before and change.after else {}
        return format_html_join("", "<div>{}: {} → {}</div>", [(name, *values) for name, values in found.items()])


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    list_display = ("service", "host", "pid", "id", "library", "started_at", "last_seen_at", "gone_at")
    list_filter = ("service",)
    search_fields = ("service", "host")
