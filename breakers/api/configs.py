"""All configs as one document: out, and in again with a plan first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, ClassVar

from django.http import HttpResponse
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import documents, selectors
from breakers.fleet import fleet
from breakers.services import ImportLine, ImportPlan, ImportRefused, configs_import, configs_plan

from .base import FleetView, flags
from .errors import BodyTooLarge, error
from .permissions import MayEditAll, actor_of
from .serializers import ExportQuery, ImportQuery

YAML = "application/yaml"


class DocumentParser(BaseParser):
    """YAML in UTF-8, and JSON with it, which is YAML as well."""

    media_type = YAML

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:  # text, where the framework expects a mapping
        raw: bytes = stream.read(documents.LONGEST + 1)
        if len(raw) > documents.LONGEST:
            raise BodyTooLarge
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            raise ParseError(f"The body is not UTF-8: {problem}") from None


class JsonDocumentParser(DocumentParser):
    media_type = "application/json"


class ConfigsView(FleetView):
    """``GET /configs`` (``?versions=0`` for another control plane) and ``POST /configs`` (``?dry_run=1``: the plan)"""

    parser_classes = (DocumentParser, JsonDocumentParser)
    permission_by_method: ClassVar = {"POST": MayEditAll}

    def get(self, request: Request) -> HttpResponse:
        versions = flags(ExportQuery, request).get("versions", True)
        text = documents.dump(selectors.desired_state().breakers.values(), versions=versions)
        answer = HttpResponse(text, content_type=f"{YAML}; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="circuit-breakers.yaml"'
        return answer

    def post(self, request: Request) -> Response:
        wanted = flags(ImportQuery, request)
        entries = documents.parse(request.data if isinstance(request.data, str) else "")
        if wanted.get("dry_run", False):
            return Response(_told(configs_plan(entries=entries), dry_run=True))
        try:
            plan = configs_import(entries=entries, reason=wanted.get("reason", ""), by=actor_of(request))
        except ImportRefused as refused:
            message = "Nothing was imported: each of these says why."
            return error("import_refused", message, status.HTTP_409_CONFLICT, refused.plan.hindrances)
        fleet.synchronise()
        return Response(_told(plan, dry_run=False))


def _told(plan: ImportPlan, *, dry_run: bool) -> dict[str, Any]:
    lines = [_line(line) for line in plan.lines]
    return {"dry_run": dry_run, "writes": plan.writes, "refused": bool(plan.hindrances), "breakers": lines}


def _line(line: ImportLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "action": line.action,
        "version": line.version,
        "differences": {name: list(values) for name, values in line.differences.items()},
        "problem": line.problem or None,
        "warnings": list(line.warnings),
    }
