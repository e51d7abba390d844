"""``Idempotency-Key``: a client that heard no answer asks again, and nothing is done twice."""

from __future__ import annotations

import hashlib
from typing import Final

from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import services
from breakers.models import KeptAnswer

from .errors import BodyTooLarge
from .permissions import actor_of

HEADER: Final = "Idempotency-Key"
LONGEST: Final = 200
KEPT_HEADERS: Final = ("ETag", "Location")
_JSON: Final = "application/json"


class Answered(Exception):
    """The request was answered before: this is the answer."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response
        super().__init__(response.status_code)


def hold_body(request: Request) -> None:
    """Before anything else reads it: the check of a session's CSRF token parses it, and leaves nothing to compare."""
    if HEADER in request.headers and request.method not in SAFE_METHODS:
        try:
            request._request.body  # noqa: B018  # reading it keeps it
        except RequestDataTooBig:
            raise BodyTooLarge from None


def begin(request: Request) -> KeptAnswer | None:
    """Takes the key of the request, ``None`` without one. Raises ``Answered``, ``KeyReused``, ``KeyInUse``."""
    key = request.headers.get(HEADER)
    if key is None or request.method in SAFE_METHODS:
        return None
    if not (1 <= len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise ValidationError({HEADER: f"must be 1 to {LONGEST} printable ASCII characters"})
    kept = services.answer_begin(key=key, digest=_digest(request), by=actor_of(request))
    if kept.status is None:
        return kept
    answer = HttpResponse(kept.body, status=kept.status, content_type=_JSON)
    for name, value in kept.headers.items():
        answer[name] = value
    answer["Idempotent-Replayed"] = "true"
    raise Answered(answer)


def _digest(request: Request) -> str:
    body = request._request.body
    facts = (request.method or "", request.get_full_path(), request.headers.get("If-Match", ""))
    return hashlib.sha256("\n".join(facts).encode() + b"\n" + body).hexdigest()


def conclude(begun: KeptAnswer, response: Response) -> None:
    """Keeps what succeeded; what was refused did nothing, and may be asked anew under the same key."""
    if not 200 <= response.status_code < 300:
        services.answer_forget(begun=begun)
        return
    body = "" if response.data is None else JSONRenderer().render(response.data).decode()
    headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    services.answer_keep(begun=begun, status=response.status_code, headers=headers, body=body)
