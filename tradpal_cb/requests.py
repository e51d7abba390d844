"""An id for each request: in its answer as ``X-Request-ID``, in what it writes into the audit, in each line it logs."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from breakers.outage import AWAY
from breakers.tracing import LONGEST, request_id

logger = logging.getLogger("tradpal_cb.requests")

HEADER: Final = "X-Request-ID"
_PLAIN: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{LONGEST}}}")
_READING: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

Answer = Callable[[HttpRequest], HttpResponseBase]


def id_for(given: str | None) -> str:
    """``given``, what a proxy or client calls the request, where it is plain and short; else a new one."""
    return given if given and _PLAIN.fullmatch(given) else uuid.uuid4().hex


class RequestIds:
    """Middleware, the outermost. Requests that change something get a line in the log; reading ones only an id."""

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        known = id_for(request.headers.get(HEADER))
        request.request_id = known  # type: ignore[attr-defined]  # for what Django logs of it when we are done
        ticket = request_id.set(known)
        began = time.monotonic()
        try:
            response = self._get_response(request)
            if request.method not in _READING:
                _tell(request, response.status_code, time.monotonic() - began)
        finally:
            request_id.reset(ticket)
        response.headers[HEADER] = known
        return response

    def process_exception(self, request: HttpRequest, problem: Exception) -> HttpResponse | None:
        """A page that needs the database while that is away. The API answers for itself."""
        if not isinstance(problem, AWAY):
            return None
        logger.error("The database did not answer: %s", problem)
        message = "The database does not answer."
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            facts = {"code": "unavailable", "message": message, "fields": {}}
            return JsonResponse({"error": facts, "message": message}, status=503)
        return render(request, "503.html", status=503)


def _tell(request: HttpRequest, status: int, seconds: float) -> None:
    facts = {"method": request.method, "path": request.path, "status": status, "seconds": round(seconds, 4)}
    logger.info("%s %s: %d after %.0f ms", request.method, request.path, status, seconds * 1000, extra=facts)
