"""History and audit as files: of one breaker, or of all; with the filters of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.http import StreamingHttpResponse
from django.urls import register_converter
from rest_framework.request import Request

from breakers import exports, selectors
from breakers.exports import Form
from breakers.fleet import fleet

from .base import FleetView, asked, record_of
from .serializers import ChangesQuery, HistoryQuery

_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class ExportForm:
    """``csv`` or ``json`` at the end of an address."""

    regex = "csv|json"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ExportForm, "form")


class HistoryExport(FleetView):
    """``GET /circuit-breakers/{name}/history.csv`` or ``.json``, and ``/history.csv`` of all breakers"""

    def get(self, request: Request, form: Form, name: str | None = None) -> StreamingHttpResponse:
        found = selectors.history(name, **asked(HistoryQuery, request))
        if name is not None and fleet.record(name) is None and not selectors.history(name).exists():
            record_of(name)
        return _file(exports.stream(found, exports.TRANSITIONS, form), form, f"{name or 'all'}-history")


class ChangesExport(FleetView):
    """``GET /circuit-breakers/{name}/changes.csv`` or ``.json``, and ``/changes.csv`` of all breakers"""

    def get(self, request: Request, form: Form, name: str | None = None) -> StreamingHttpResponse:
        found = selectors.changes(name, **asked(ChangesQuery, request))
        if name is not None and fleet.record(name) is None and not selectors.changes(name).exists():
            record_of(name)
        return _file(exports.stream(found, exports.CHANGES, form), form, f"{name or 'all'}-changes")


def _file(content: Iterator[bytes], form: Form, name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(content, content_type=_TYPES[form])
    answer["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return answer
