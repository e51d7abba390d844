"""The form of a breaker: the library's own checks, field by field, and no edit that overwrites another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.contrib.admin.helpers import ActionForm
from django.http import QueryDict

from breakers.core.config import (
    BREAKER_FIELDS,
    HTTP_FIELDS,
    CircuitBreakerConfig,
    HttpConfig,
    breaker_problems,
    http_problems,
)
from breakers.models import BreakerConfig

if TYPE_CHECKING:
    _Form = forms.ModelForm[BreakerConfig]
else:
    _Form = forms.ModelForm

_ALL_FIELDS = {**BREAKER_FIELDS, **HTTP_FIELDS}
_SHOWN = {*_ALL_FIELDS, "group", "description"}


class BreakerConfigForm(_Form):
    expected_version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        required=False, max_length=500, help_text="Why; others read it beside the change.", widget=forms.TextInput
    )

    class Meta:
        model = BreakerConfig
        fields = ("name", "group", "description", *[name for name in _ALL_FIELDS if name != "name"])
        widgets: ClassVar = {"description": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # as ModelForm
        super().__init__(*args, **kwargs)
        if self.instance.pk and "expected_version" in self.fields:
            self.fields["expected_version"].initial = self.instance.version
            self.fields["expected_version"].required = True

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self._values()
        for field, problem in _problems(values).items():
            if field in self.fields:
                self.add_error(field, f"It {problem}.")
        self._mind_the_race()
        return self.cleaned_data

    def _values(self) -> dict[str, Any]:
        """What was given and could be read; the name of an existing breaker is not in the form."""
        read = {name: self.cleaned_data[name] for name in _ALL_FIELDS if name in self.cleaned_data}
        return {"name": self.instance.name, **read} if self.instance.pk else read

    def _mind_the_race(self) -> None:
        seen, stands = self.cleaned_data.get("expected_version"), self.instance
        if not stands.pk or seen in (None, stands.version):
            return
        text = f"Somebody changed this breaker while you edited it: it is now at version {stands.version}, not {seen}."
        now = "; ".join(f"{name} is now {self.initial[name]!r}" for name in self.changed_data if name in _SHOWN)
        self.add_error(None, f"{text} {now or 'None of your fields differ'}. Save again to apply yours on top.")
        data = cast(QueryDict, self.data).copy()
        data[self.add_prefix("expected_version")] = str(stands.version)
        self.data = data

    def config(self) -> CircuitBreakerConfig:
        values = self._values()
        return CircuitBreakerConfig(**{name: values[name] for name in BREAKER_FIELDS})

    def http(self) -> HttpConfig:
        return HttpConfig(**{name: self.cleaned_data[name] for name in HTTP_FIELDS})


def _problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Of what could be read; the rules that span two fields only where all could."""
    if values.keys() >= _ALL_FIELDS.keys():
        return {**breaker_problems(values), **http_problems(values)}
    found = {name: _ALL_FIELDS[name].problem(value) for name, value in values.items()}
    return {name: problem for name, problem in found.items() if problem is not None}


class ReasonedActionForm(ActionForm):
    reason = forms.CharField(required=False, max_length=500, label="Reason:")
