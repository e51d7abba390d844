"""Configs in and out as a YAML document: an import is shown before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse

from breakers import documents
from breakers.core.errors import ConfigError
from breakers.documents import Entry
from breakers.services import ImportPlan, ImportRefused, configs_import, configs_plan

from .actors import actor_of, counted

if TYPE_CHECKING:
    from .breakers import BreakerConfigAdmin

_CANNOT = "It is not UTF-8."


class ImportForm(forms.Form):
    """A file, or a text; after the first look the file's text stands where a text is typed."""

    file = forms.FileField(required=False, help_text="As an export is: Circuit breakers, Export.")
    document = forms.CharField(
        required=False, strip=False, label="Or its text", widget=forms.Textarea(attrs={"rows": 12, "cols": 80})
    )
    reason = forms.CharField(required=False, max_length=500, help_text="Stands in the audit of each change.")
    entries: tuple[Entry, ...] = ()

    def clean(self) -> dict[str, Any]:
        super().clean()
        text = self._text()
        if text is None or self.errors:
            return self.cleaned_data
        try:
            self.entries = tuple(documents.parse(text))
        except ConfigError as problem:
            self.tell(problem)
        data = cast(QueryDict, self.data).copy()
        data["document"] = text
        self.data = data
        return self.cleaned_data

    def tell(self, problem: ConfigError) -> None:
        for place, said in problem.fields.items():
            self.add_error("document", f"{place}: {said}")

    def _text(self) -> str | None:
        file = self.cleaned_data.get("file")
        if file is None:
            given: str = self.cleaned_data.get("document", "")
            return given
        try:
            read: str = file.read(documents.LONGEST + 1).decode()
        except UnicodeDecodeError:
            self.add_error("file", _CANNOT)
            return None
        return read


def import_view(model: BreakerConfigAdmin, request: HttpRequest) -> HttpResponse:
    """First what would change, then the change: refused as a whole where something else stands by then."""
    form = ImportForm(request.POST or None, request.FILES or None)
    plan = None
    if form.is_valid():
        plan, done = _look_or_write(request, form)
        if plan is not None and done:
            model.message_user(request, f"{counted(plan.writes)} of {len(plan.lines)} written.")
            return HttpResponseRedirect(reverse("admin:breakers_breakerconfig_changelist"))
    context = {
        **model.admin_site.each_context(request),
        "title": "Import configs",
        "opts": model.opts,
        "media": model.media,
        "form": form,
        "plan": plan,
    }
    return TemplateResponse(request, "admin/breakers/breakerconfig/import.html", context)


def _look_or_write(request: HttpRequest, form: ImportForm) -> tuple[ImportPlan | None, bool]:
    """The plan, and whether it was done; no plan where it is too much at once."""
    try:
        if "write" not in request.POST:
            return configs_plan(entries=form.entries), False
        written = configs_import(entries=form.entries, reason=form.cleaned_data["reason"], by=actor_of(request))
    except ConfigError as problem:
        form.tell(problem)
        return None, False
    except ImportRefused as refused:
        messages.error(request, "Nothing was imported: look at what stands by now.")
        return refused.plan, False
    return written, True
