"""What all views of the API share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from django.http import HttpResponse
from rest_framework.parsers import BaseParser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from breakers.fleet import Row, fleet
from breakers.models import BreakerRecord, KeptAnswer
from breakers.outage import AWAY
from breakers.problems import NotFound

from . import idempotency
from .errors import exception_handler
from .parsing import AnyAccept, JsonParser, Pages, body_of
from .permissions import MayRead
from .serializers import PageQuery

FRESH: Final = ("Cache-Control", "no-store")
"""What is told is so now, and for whoever asked."""


class FleetView(APIView):
    """Answers from the fleet's memory, after a look whether the database holds something newer.

    ``permission_by_method`` says what methods other than reading take; reading takes ``MayRead``.
    """

    parser_classes: Sequence[type[BaseParser]] = (JsonParser,)
    content_negotiation_class = AnyAccept
    permission_by_method: ClassVar[Mapping[str, type[BasePermission]]] = {}
    begun: KeptAnswer | None = None

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return exception_handler

    def get_permissions(self) -> list[Any]:
        return [self.permission_by_method.get(self.request.method or "", MayRead)()]

    def check_permissions(self, request: Request) -> None:
        """A method that nobody may use is a 405 for everybody, not a 403."""
        if (request.method or "").lower() not in self.http_method_names or not self._answers(request):
            self.http_method_not_allowed(request)
        super().check_permissions(request)

    def _answers(self, request: Request) -> bool:
        return hasattr(self, (request.method or "").lower())

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        idempotency.hold_body(request)
        super().initial(request, *args, **kwargs)
        self._look(request)
        self.begun = idempotency.begin(request)

    def _look(self, request: Request) -> None:
        """What is read is told as last known while the database is away; nothing is changed by what is last known."""
        try:
            fleet.synchronise()
        except AWAY:
            if request.method not in SAFE_METHODS or not fleet.revision:
                raise

    def handle_exception(self, exc: Exception) -> Response | HttpResponse:  # type: ignore[override]  # one kept as it was sent
        return exc.response if isinstance(exc, idempotency.Answered) else super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self.begun is not None and isinstance(response, Response):
            idempotency.conclude(self.begun, response)
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault(*FRESH)
        return answer


def given(serializer: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """The body, judged; raises ``ValidationError`` naming every wrong field."""
    judged = serializer(data=body_of(request))
    judged.is_valid(raise_exception=True)
    return dict(judged.validated_data)


def asked(serializer: type[PageQuery], request: Request) -> dict[str, Any]:
    """The filters of the query string, judged the same way, empty ones left out, and with them which page is wanted."""
    judged = serializer(data=request.query_params)
    judged.is_valid(raise_exception=True)
    ours = {name: value for name, value in judged.validated_data.items() if name not in PageQuery().fields}
    return {name: value for name, value in ours.items() if value != ""}


def flags(serializer: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """What the query string says of how to do it; an empty one is wrong, not absent."""
    judged = serializer(data=request.query_params.dict())
    judged.is_valid(raise_exception=True)
    return dict(judged.validated_data)


def record_of(name: str) -> BreakerRecord:
    """What is wanted of the breaker. Raises ``NotFound``."""
    record = fleet.record(name)
    if record is None:
        raise NotFound(name)
    return record


def row_of(name: str) -> Row:
    """Raises ``NotFound``."""
    row = fleet.row(name)
    if row is None:
        raise NotFound(name)
    return row


def config_of(record: BreakerRecord) -> dict[str, Any]:
    """All fields of both configs, flat: what ``PUT`` takes."""
    return {**record.config.as_dict(), **record.http.as_dict()}


def versioned(answer: Response, version: int) -> Response:
    """With the ``ETag`` that ``If-Match`` takes."""
    answer["ETag"] = f'"{version}"'
    return answer


def paged(items: Any, request: Request, output: type[BaseSerializer[Any]] | None = None) -> Response:
    """One page of a list of rows, or of a query set that ``output`` renders."""
    pages = Pages()
    found: list[Any] = pages.paginate_queryset(items, request) or []
    return pages.get_paginated_response(found if output is None else output(found, many=True).data)
