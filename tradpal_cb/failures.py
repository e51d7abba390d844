"""What answers where no view does: a page for whoever asks for HTML, the API's one shape for everybody else."""

from __future__ import annotations

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import csrf, defaults

from breakers.access import refused_request


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        refused_request(request, "for another host")
    if _wants_page(request):
        return defaults.bad_request(request, exception)
    return _error(400, "bad_request", "The request cannot be read, or is for another host.")


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token of its session: signed in or out elsewhere since, or somebody else's page."""
    if _wants_page(request):
        return csrf.csrf_failure(request, reason)
    return _error(403, "csrf_failed", "This page is older than your session: nothing was done. Load it again.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_page(request):
        return defaults.page_not_found(request, exception)
    return _error(404, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    if _wants_page(request):
        return defaults.server_error(request)
    return _error(500, "internal", "Something went wrong here; it was logged.")


def _wants_page(request: HttpRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _error(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message, "fields": {}}}, status=status)
