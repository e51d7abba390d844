"""Pages between an action and what it does: the forms that ask, and the page they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from breakers.models import BreakerConfig
from breakers.problems import NeedsConfirmation

from .actors import counted

if TYPE_CHECKING:
    from .breakers import BreakerConfigAdmin

LONGEST_OPEN = 168
LONGEST_CLOSED = 4
_UNTIL = "It is released by itself then."


class ForceForm(forms.Form):
    """Reason and end, as the dashboard asks for them."""

    reason = forms.CharField(max_length=500, help_text="Others read it beside the breaker.")
    hours = forms.FloatField(
        min_value=0.01, max_value=LONGEST_OPEN, initial=1, label="For how many hours", help_text=_UNTIL
    )

    @property
    def length(self) -> timedelta:
        return timedelta(hours=self.cleaned_data["hours"])


class ForceOpenForm(ForceForm):
    confirm = forms.BooleanField(required=False, label="I mean it", widget=forms.HiddenInput)

    def ask_to_confirm(self, problem: NeedsConfirmation) -> None:
        where = f"the group {problem.group}" if problem.group else "the fleet"
        text = f"Then {problem.count} of the {problem.of} breakers of {where} reject every call."
        self.add_error(None, f"{text} Tick the box if you mean it.")
        self.show_confirm()

    def show_confirm(self) -> None:
        """The box, which nobody sees before it is needed."""
        self.fields["confirm"].widget = forms.CheckboxInput()


class ForceClosedForm(ForceForm):
    typed = forms.CharField(max_length=100)
    field_order = ("typed", "reason", "hours")

    def __init__(self, *args: Any, names: Sequence[str], **kwargs: Any) -> None:  # as Form
        super().__init__(*args, **kwargs)
        self._wanted = names[0] if len(names) == 1 else str(len(names))
        what = "the name of the breaker" if len(names) == 1 else f"how many they are, {counted(len(names))}"
        self.fields["typed"].label = f"Type {what}"
        hours = forms.FloatField(min_value=0.01, max_value=LONGEST_CLOSED, initial=1, label="For how many hours")
        hours.help_text = f"At most {LONGEST_CLOSED}. {_UNTIL}"
        self.fields["hours"] = hours

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed.strip() != self._wanted:
            raise forms.ValidationError(f"This is not {self._wanted}.")
        return typed


class CopyForm(forms.Form):
    """Breakers that get the config, each with the version that the person sees, and perhaps a new one."""

    to = forms.MultipleChoiceField(required=False, label="To", widget=forms.CheckboxSelectMultiple)
    new = forms.CharField(required=False, max_length=100, label="Or to a new one", help_text="Its name.")
    reason = forms.CharField(required=False, max_length=500)

    def __init__(self, *args: Any, source: BreakerConfig, may_add: bool, **kwargs: Any) -> None:  # as Form
        super().__init__(*args, **kwargs)
        others = BreakerConfig.objects.exclude(pk=source.pk).values_list("name", "version")
        self._stands = dict(others)
        self.fields["to"].choices = [(f"{v} {n}", f"{n}, version {v}") for n, v in others]  # type: ignore[attr-defined]  # of the field made above
        if not may_add:
            del self.fields["new"]

    def clean(self) -> dict[str, Any]:
        super().clean()
        if not self.cleaned_data.get("to") and not self.cleaned_data.get("new") and not self.errors:
            self.add_error(None, "Choose at least one breaker, or name a new one.")
        if self.cleaned_data.get("new") in self._stands:
            self.add_error("new", "There is a breaker of this name: choose it above.")
        return self.cleaned_data

    def wanted(self) -> list[tuple[str, int | None]]:
        """Name and the version that was seen, ``None`` for the new one."""
        chosen = [(choice.partition(" ")[2], int(choice.partition(" ")[0])) for choice in self.cleaned_data["to"]]
        new = self.cleaned_data.get("new")
        return [*chosen, (new, None)] if new else list(chosen)


def ask(
    model: BreakerConfigAdmin,
    request: HttpRequest,
    queryset: QuerySet[BreakerConfig],
    form: forms.Form,
    *,
    action: str,
    title: str,
    text: str,
    button: str,
) -> TemplateResponse:
    context = {
        **model.admin_site.each_context(request),
        "title": title,
        "text": text,
        "button": button,
        "opts": model.opts,
        "media": model.media,
        "form": form,
        "breakers": queryset,
        "checkbox": ACTION_CHECKBOX_NAME,
        "action": action,
    }
    return TemplateResponse(request, "admin/breakers/breakerconfig/question.html", context)
