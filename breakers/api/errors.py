"""One shape for everything that goes wrong: ``{"error": {"code", "message", "fields"}}``.

``fields`` maps each wrong field to a sentence; it is empty where no field is to blame.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from breakers.core.errors import ConfigError
from breakers.problems import (
    AlreadyExists,
    KeyInUse,
    KeyReused,
    NeedsConfirmation,
    NotFound,
    UnknownVersion,
    VersionConflict,
)

logger = logging.getLogger("breakers.api")

_KEY = {"Idempotency-Key": "take another key for another request"}


class BodyTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "too_large"


class BodyCompressed(exceptions.APIException):
    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_code = "unsupported_media_type"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"A body is not read with Content-Encoding {encoding[:50]!r}: send it as it is.")


def error(code: str, message: str, http_status: int, fields: Mapping[str, str] | None = None) -> Response:
    """The answer of everything that goes wrong."""
    return Response({"error": {"code": code, "message": message, "fields": dict(fields or {})}}, status=http_status)


def exception_handler(problem: Exception, context: Mapping[str, Any]) -> Response:
    """Turns whatever a view raised into our one shape; what nobody expected is logged and says nothing of itself."""
    response = _ours(problem) or _framework(problem)
    if response is not None:
        return response
    if isinstance(problem, OperationalError | InterfaceError):
        logger.error("The database did not answer: %s", problem)
        return error("unavailable", "The database does not answer.", status.HTTP_503_SERVICE_UNAVAILABLE)
    request = context.get("request")
    logger.error("%s %s failed", getattr(request, "method", "?"), getattr(request, "path", "?"), exc_info=problem)
    return error("internal", "Something went wrong here; it was logged.", status.HTTP_500_INTERNAL_SERVER_ERROR)


def _ours(problem: Exception) -> Response | None:
    if isinstance(problem, ConfigError):
        return invalid(problem.fields)
    if isinstance(problem, NotFound):
        return error("not_found", f"There is no circuit breaker {problem.name!r}.", status.HTTP_404_NOT_FOUND)
    if isinstance(problem, AlreadyExists):
        message = f"There is already a circuit breaker {problem.name!r}."
        return error("already_exists", message, status.HTTP_409_CONFLICT, {"name": message})
    if isinstance(problem, VersionConflict):
        return conflict(problem)
    if isinstance(problem, UnknownVersion):
        message = f"{problem.name!r} never had a version {problem.version}."
        return error("not_found", message, status.HTTP_404_NOT_FOUND, {"version": message})
    if isinstance(problem, KeyReused):
        return error("key_reused", _sentence(problem), status.HTTP_422_UNPROCESSABLE_ENTITY, _KEY)
    if isinstance(problem, KeyInUse):
        return error("key_in_use", _sentence(problem), status.HTTP_409_CONFLICT, _KEY)
    if isinstance(problem, NeedsConfirmation):
        return error("needs_confirmation", _sentence(problem), status.HTTP_409_CONFLICT, {"confirm": "must be true"})
    return None


def invalid(fields: Mapping[str, str]) -> Response:
    """400, naming each wrong field."""
    message = f"Invalid: {', '.join(fields)}."
    return error("invalid", message, status.HTTP_400_BAD_REQUEST, fields)


def conflict(problem: VersionConflict) -> Response:
    """412, with the ``ETag`` that ``If-Match`` would take now."""
    message = f"It was changed meanwhile; its version is now {problem.current_version}."
    response = error("version_conflict", message, status.HTTP_412_PRECONDITION_FAILED, {"If-Match": message})
    response["ETag"] = f'"{problem.current_version}"'
    return response


def _framework(problem: Exception) -> Response | None:
    if isinstance(problem, Http404):
        problem = exceptions.NotFound()
    elif isinstance(problem, PermissionDenied):
        problem = exceptions.PermissionDenied()
    if not isinstance(problem, exceptions.APIException):
        return None
    if isinstance(problem, exceptions.ValidationError):
        return invalid(_fields(problem.detail))
    code = "malformed" if isinstance(problem, exceptions.ParseError) else problem.default_code
    response = error(code, str(problem.detail), problem.status_code)
    _add_headers(response, problem)
    return response


def unread(request: Request, media: Sequence[str]) -> exceptions.APIException:
    """415: a body of another type than these; the header as RFC 9110 has it."""
    given = request.content_type.partition(";")[0].strip()[:100]
    problem = exceptions.UnsupportedMediaType(
        given, f"A body here is {' or '.join(media)}, not {given or 'of no type'}."
    )
    problem.accepts = ", ".join(media)  # type: ignore[attr-defined]  # for its header
    return problem


def _add_headers(response: Response, problem: exceptions.APIException) -> None:
    header = getattr(problem, "auth_header", None)
    if header:
        response["WWW-Authenticate"] = header
    accepts = getattr(problem, "accepts", None)
    if accepts:
        response["Accept"] = accepts
    wait = getattr(problem, "wait", None)
    if wait:
        response["Retry-After"] = str(int(wait))


def _fields(detail: object) -> dict[str, str]:
    """Each field of a serializer's errors with its sentences as one."""
    if isinstance(detail, Mapping):
        return {str(name): _sentence(found) for name, found in detail.items()}
    return {api_settings.NON_FIELD_ERRORS_KEY: _sentence(detail)}


def _sentence(found: object) -> str:
    if isinstance(found, Mapping):
        return "; ".join(f"{name}: {_sentence(inner)}" for name, inner in found.items())
    if isinstance(found, list | tuple):
        return " ".join(map(_sentence, found))
    return str(found)
