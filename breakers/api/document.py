"""The OpenAPI document, and a page to read and try it."""

from __future__ import annotations

import json
from functools import cache

from django.contrib.auth.views import redirect_to_login
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from .base import FleetView
from .openapi.inspector import Document


@cache
def document() -> bytes:
    """Made once a process: addresses do not change while it runs."""
    made = Document().get_schema(public=True)  # type: ignore[no-untyped-call]  # it has no types
    return json.dumps(made, indent=2, ensure_ascii=False).encode()


class SchemaView(FleetView):
    """``GET /schema``: OpenAPI 3.1 as JSON."""

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")


class DocsView(FleetView):
    """``GET /docs``: the document to read and try, with nothing from elsewhere; nobody signs in first."""

    schema = None  # a page

    def get(self, request: Request) -> HttpResponse:
        return render(request._request, "docs.html", {"token": get_token(request._request)})

    def handle_exception(self, exc: Exception) -> Response | HttpResponse:  # type: ignore[override]  # as its parent
        if isinstance(exc, NotAuthenticated) and self.request.method in SAFE_METHODS:
            return redirect_to_login(self.request.get_full_path())
        return super().handle_exception(exc)
