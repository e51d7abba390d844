"""API keys: made here, shown once, revoked; never edited, never deleted, so that the audit can name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from breakers import services
from breakers.models import SCOPES, ApiKey

from .actors import actor_of, counted

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[ApiKey]
    _Form = forms.ModelForm[ApiKey]
else:
    _Admin = admin.ModelAdmin
    _Form = forms.ModelForm

_SCOPE_WORDS = {
    "agent": "agent: link a service",
    "read": "read: states, history, metrics",
    "operate": "operate: reset, override, config",
}


class ApiKeyForm(_Form):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, _SCOPE_WORDS[scope]) for scope in SCOPES], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes")

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise forms.ValidationError("Only printable characters.")
        return name


@admin.register(ApiKey)
class ApiKeyAdmin(_Admin):
    form = ApiKeyForm
    list_display = ("name", "prefix", "scope_list", "created_at", "created_by", "last_used_at", "standing")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix")
    actions = ("revoke",)
    fields = ("name", "scopes")

    class Media:
        css: ClassVar = {"all": ["admin/breakers.css"]}

    @admin.display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="standing")
    def standing(self, key: ApiKey) -> str:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC by {key.revoked_by}" if key.revoked_at else "valid"

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("breakers.change_apikey")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        names = list(queryset.filter(revoked_at=None).values_list("name", flat=True))
        for name in names:
            services.api_key_revoke(name=name, by=actor_of(request))
        self.message_user(request, f"{counted(len(names), 'key')} revoked.", messages.WARNING)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        key, secret = services.api_key_create(
            name=form.cleaned_data["name"], scopes=form.cleaned_data["scopes"], by=actor_of(request)
        )
        obj.pk = key.pk
        obj.refresh_from_db()
        obj.secret = secret  # type: ignore[attr-defined]  # for the one answer below, in no field and in no table

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The page with the secret itself: a message would lay it into a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"API key {obj.name}",
            "opts": self.opts,
            "key": obj,
            "secret": obj.secret,  # type: ignore[attr-defined]  # see save_model
        }
        return TemplateResponse(request, "admin/breakers/apikey/created.html", context)
