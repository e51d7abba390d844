"""The OpenAPI document, and a page to read and try it."""

from __future__ import annotations

import json
from functools import cache

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.views.decorators.http import require_safe
from rest_framework.request import Request

from .base import FleetView
from .openapi.inspector import Document
from .permissions import may_read


@cache
def document() -> bytes:
    """Made once a process: addresses do not change while it runs."""
    made = Document().get_schema(public=True)  # type: ignore[no-untyped-call]  # it has no types
    return json.dumps(made, indent=2, ensure_ascii=False).encode()


class SchemaView(FleetView):
    """``GET /schema``: OpenAPI 3.1 as JSON."""

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """``GET /docs``: the document to read and try, with nothing from elsewhere."""
    if not may_read(request.user):
        return redirect_to_login(request.get_full_path())
    return render(request, "docs.html", {"token": get_token(request)})
