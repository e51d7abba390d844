"""Of two people who edit one thing at once, the later one is told, and overwrites nothing that their form has not seen.

Breakers have a version for that. Here it is a mark of what stood in the form's fields when it was shown.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from django import forms
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.forms.models import model_to_dict
from django.http import HttpRequest, QueryDict
from django.utils.crypto import salted_hmac

M = TypeVar("M", bound=Model)

if TYPE_CHECKING:

    class _Form(forms.ModelForm[M]): ...

    class _Admin(admin.ModelAdmin[M]): ...

else:

    class _Form(Generic[M], forms.ModelForm): ...

    class _Admin(Generic[M], admin.ModelAdmin): ...


SEEN: Final = "seen"


def mark_of(instance: Model, names: Collection[str]) -> str:
    """Another one whenever one of these fields holds something else. Keyed: it may be of secrets, and is shown."""
    values = model_to_dict(instance, fields=names)
    told = {name: _plain(value) for name, value in sorted(values.items())}
    return salted_hmac("breakers.admin.races", json.dumps(told, default=str)).hexdigest()


def _plain(value: object) -> object:
    """Of a relation to many, which ones, in any order."""
    if isinstance(value, list) and all(isinstance(one, Model) for one in value):
        return sorted(str(one.pk) for one in value)
    return value


class RacedForm(_Form[M]):
    """For a :class:`RacedAdmin`; goes before the form's other parents, so that it looks before they change anything."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # as ModelForm
        super().__init__(*args, **kwargs)
        self._stands = ""
        if self.instance.pk and SEEN in self.fields:
            self._stands = mark_of(self.instance, self.fields.keys())
            self.fields[SEEN].initial = self._stands
            self.fields[SEEN].required = True

    def clean(self) -> dict[str, Any]:
        self._mind_the_race()
        return super().clean() or self.cleaned_data

    def _mind_the_race(self) -> None:
        seen = self.cleaned_data.get(SEEN)
        if not self._stands or seen in (None, self._stands):
            return
        text = f"Somebody changed this {self.instance._meta.verbose_name} while you edited it."
        now = "; ".join(self._now(name) for name in self.changed_data if name != SEEN)
        self.add_error(None, f"{text} {now or 'None of your fields differ'}. Save again to apply yours on top.")
        data = cast(QueryDict, self.data).copy()
        data[self.add_prefix(SEEN)] = self._stands
        self.data = data

    def _now(self, name: str) -> str:
        """What stands, where that may be shown."""
        if name not in self.initial or isinstance(self.fields[name].widget, forms.PasswordInput):
            return f"{name} is not shown"
        value = self.initial[name]
        return f"{name} is now {', '.join(map(str, value)) if isinstance(value, list | tuple) else value!r}"


class RacedAdmin(_Admin[M]):
    """Its form is a :class:`RacedForm`."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M | None:
        """Locked until the form that was sent is saved, so that what it was compared with still stands then."""
        found = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST" or not connection.in_atomic_block:
            return found
        return self.model._default_manager.select_for_update().filter(pk=found.pk).first()

    def get_fieldsets(self, request: HttpRequest, obj: M | None = None) -> Any:  # as its parent
        """With the mark, where there is something to edit."""
        found = [
            (title, {**options, "fields": [name for name in options["fields"] if name != SEEN]})
            for title, options in super().get_fieldsets(request, obj)
        ]
        if obj is None or not self.has_change_permission(request, obj):
            return found
        return [*found, (None, {"fields": [SEEN], "classes": ["hidden"]})]
