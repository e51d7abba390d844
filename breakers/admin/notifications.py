"""Rules of who is told of what, and what they were told. Addresses go in and are never shown again."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone

from breakers import services
from breakers.models import Delivery, NotificationRule
from breakers.models.notifications import LEVELS
from breakers.notifications.sending import address_problem

from .actors import actor_of, counted
from .races import RacedAdmin, RacedForm
from .records import ReadOnlyAdmin

_SHOWN = ("name", "enabled", "level_list", "group_list", "after", "quiet", "tell_resolved", "channel", "whereto",
          "changed_by", "changed_at")  # fmt: skip
_KEPT = "Kept; empty leaves it as it is."


def _hidden(**options: Any) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"})
    return forms.CharField(required=False, max_length=2000, widget=widget, **options)


class NotificationRuleForm(RacedForm[NotificationRule]):
    groups = forms.CharField(required=False, help_text="Names of groups, with commas; empty: every breaker.")
    levels = forms.MultipleChoiceField(
        choices=[(level, level) for level in LEVELS], widget=forms.CheckboxSelectMultiple, initial=["error"]
    )
    address = _hidden(help_text="https://… of a webhook, or an apprise URL. It is not shown again.")
    signing_secret = _hidden(help_text="Of a webhook: signs each body (HMAC-SHA256). It is not shown again.")
    unsign = forms.BooleanField(
        required=False, label="Remove the signing secret", help_text="Bodies are sent without a signature from then on."
    )

    class Meta:
        model = NotificationRule
        fields = ("name", "enabled", "levels", "groups", "after", "quiet", "tell_resolved", "channel", "address",
                  "signing_secret")  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # as ModelForm
        super().__init__(*args, **kwargs)
        if self.instance.pk and "groups" in self.fields:
            self.initial["groups"] = ", ".join(self.instance.groups)
            self.fields["address"].help_text = f"Now {self.instance.masked_address} {_KEPT}"
            secret = "Now one is set" if self.instance.signing_secret else "Now none is set"
            self.fields["signing_secret"].help_text = f"{secret}. {_KEPT}"
        if not self.instance.signing_secret and "unsign" in self.fields:
            self.fields["unsign"].widget = forms.HiddenInput()
        self.initial.pop("address", None)
        self.initial.pop("signing_secret", None)

    def clean_groups(self) -> list[str]:
        return [name for part in self.cleaned_data["groups"].split(",") if (name := part.strip())]

    def clean(self) -> dict[str, Any]:
        """An address that is kept must still fit the channel."""
        super().clean()
        given = self.cleaned_data
        if given["unsign"] and given["signing_secret"]:
            self.add_error("unsign", "A secret is either given or removed.")
        elif not given["unsign"]:
            given["signing_secret"] = given.get("signing_secret") or self.instance.signing_secret
        given["address"] = given.get("address") or self.instance.address
        problem = address_problem(given.get("channel", ""), given["address"]) if given["address"] else "is needed"
        if problem:
            self.add_error("address", f"It {problem}.")
        return given


@admin.register(NotificationRule)
class NotificationRuleAdmin(RacedAdmin[NotificationRule]):
    form = NotificationRuleForm
    list_display = ("name", "enabled", "level_list", "group_list", "after", "channel", "whereto", "last", "changed_by")
    list_filter = ("enabled", "channel")
    actions = ("test",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[NotificationRule]:
        last = Delivery.objects.filter(rule=OuterRef("pk")).order_by("-created_at")
        return (
            super()
            .get_queryset(request)
            .annotate(last_status=Subquery(last.values("status")[:1]), last_at=Subquery(last.values("created_at")[:1]))
        )

    def get_fields(self, request: HttpRequest, obj: NotificationRule | None = None) -> Any:  # names, in any sequence
        """Who may only look is shown nothing that is secret: what is not in a form would stand there as it is."""
        return super().get_fields(request, obj) if obj is None or self.has_change_permission(request, obj) else _SHOWN

    @admin.display(description="levels")
    def level_list(self, rule: NotificationRule) -> str:
        return ", ".join(rule.levels)

    @admin.display(description="groups")
    def group_list(self, rule: NotificationRule) -> str:
        return ", ".join(rule.groups) or "every breaker"

    @admin.display(description="told to")
    def whereto(self, rule: NotificationRule) -> str:
        return rule.masked_address

    @admin.display(description="last message")
    def last(self, rule: NotificationRule) -> str:
        status, at = getattr(rule, "last_status", None), getattr(rule, "last_at", None)
        return f"{status.replace('_', ' ')}, {at:%Y-%m-%d %H:%M} UTC" if status and at else "none yet"

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("breakers.change_notificationrule")

    @admin.action(description="Send a test message", permissions=["test"])
    def test(self, request: HttpRequest, queryset: QuerySet[NotificationRule]) -> None:
        for rule in queryset:
            services.notification_test(rule=rule, by=actor_of(request), now=timezone.now())
        text = f"{counted(queryset.count(), 'test message')} on the way; Deliveries shows what became of it."
        self.message_user(request, text, messages.INFO)

    def save_model(self, request: HttpRequest, obj: NotificationRule, form: Any, change: bool) -> None:
        services.notification_rule_save(rule=obj, by=actor_of(request), now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: NotificationRule) -> None:
        services.notification_rule_delete(name=obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[NotificationRule]) -> None:
        for rule in queryset:
            self.delete_model(request, rule)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:  # as the framework has it
        """Its deliveries go with it: nobody needs a permission for each of them."""
        found, counts, _, protected = super().get_deleted_objects(objs, request)
        return found, counts, set(), protected


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "rule", "event", "breaker", "kind", "status", "attempts", "problem", "delivered_at")
    list_filter = ("status", "event", "rule")
    search_fields = ("breaker",)
    date_hierarchy = "created_at"
    list_select_related: ClassVar = ["rule"]
