"""The document itself: drf-spectacular walks the addresses, the table says what each takes and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drf_spectacular.drainage import warn
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, OpenApiResponse

if TYPE_CHECKING:
    from .operations import Operation

JSON = "application/json"
HEADER = "Idempotency-Key"
ERRORS: Mapping[int, str] = {
    400: "Invalid; `fields` names every wrong one.",
    401: "Who asks is not known.",
    403: "Who asks may not.",
    404: "There is no such breaker, or no such page.",
    405: "The address takes other methods; `Allow` names them.",
    409: "What stands is in the way.",
    412: "It was changed meanwhile; the `ETag` has the version that stands now.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "The `Idempotency-Key` came with another request before.",
    429: "Too many requests; `Retry-After` says when.",
    503: "The database does not answer.",
}
TAGGED = frozenset({"Breaker", "BreakerState", "Config", "Overridden"})
"""The answers that carry the version as ``ETag``."""
TAG = {"type": "string", "pattern": '^"[0-9]{1,9}"$'}


class FleetSchema(AutoSchema):
    """One operation of the document."""

    @property
    def operation(self) -> Operation | None:
        from .operations import OPERATIONS  # the table knows the views, which are made with this class

        return OPERATIONS.get((type(self.view).__name__, self.method))

    def get_operation(self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any) -> Any:
        self.method = method.upper()
        if self.operation is None:
            warn(f"{type(self.view).__name__} {method} is not in breakers.api.openapi.operations")
            return None
        return super().get_operation(path, path_regex, path_prefix, method, registry)

    @property
    def known(self) -> Operation:
        assert self.operation is not None  # noqa: S101  # get_operation has looked
        return self.operation

    def get_operation_id(self) -> str:
        """Where one view has two addresses, that of all breakers says so."""
        return f"{self.known.id}_of_all" if self.known.rows is not None and "{name}" not in self.path else self.known.id

    def get_summary(self) -> str:
        return self.known.summary

    def get_description(self) -> str:  # type: ignore[override]  # as its parent does to its own
        return self.known.text

    def get_tags(self) -> list[str]:
        return [self.known.tag]

    def get_auth(self) -> list[dict[str, list[str]]]:
        return [{}] if self.known.public else [{"key": []}, {"session": []}]

    def get_override_parameters(self) -> list[Any]:
        return [*self._path(), *self._query(), *self._headers()]

    def _path(self) -> list[OpenApiParameter]:
        from .bounds import NAME

        known = {"name": (NAME, "The breaker."), "form": ({"type": "string", "enum": ["csv", "json"]}, "")}
        return [
            OpenApiParameter(name, schema, OpenApiParameter.PATH, description=text)
            for name, (schema, text) in known.items()
            if f"{{{name}}}" in self.path
        ]

    def _query(self) -> list[OpenApiParameter]:
        from .bounds import field_schema, filter_schema

        query = self.known.query
        fields = {} if query is None else {name: filter_schema(field) for name, field in query().fields.items()}
        given = self.known.flags
        flags = {} if given is None else {name: field_schema(field) for name, field in given().fields.items()}
        return [
            OpenApiParameter(name, schema, description=schema.pop("description", ""))
            for name, schema in {**fields, **flags}.items()
        ]

    def _headers(self) -> list[OpenApiParameter]:
        found = []
        if self.known.precondition:
            text = 'The version that you have seen, as `"3"`: 412 where another one stands.'
            found.append(OpenApiParameter("If-Match", TAG, OpenApiParameter.HEADER, description=text))
        if self.method != "GET":
            text = "Asking the same again under the same key within 24 h answers the same and does nothing twice."
            schema = {"type": "string", "pattern": "^[ -~]{1,200}$"}
            found.append(OpenApiParameter(HEADER, schema, OpenApiParameter.HEADER, description=text))
        if isinstance(self.known.answer, type) and self.known.answer.__name__ in TAGGED:
            text = "The version of the config that stands."
            found.append(OpenApiParameter("ETag", TAG, OpenApiParameter.HEADER, description=text, response=[200, 201]))
        return found

    def get_request_serializer(self) -> Any:
        from .bounds import document_schema

        known = self.known
        if known.takes is None and not known.media:
            return None
        schema = document_schema() if known.takes is None else _taken(known)
        return {
            media: OpenApiRequest(schema, examples=_examples(known.sent, media, request_only=True))
            for media in known.media or (JSON,)
        }

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]  # it has no types
        required = body and any("required" in content["schema"] for content in body["content"].values())
        return {**body, "required": True} if required else body

    def get_response_serializers(self) -> Any:
        from .components import reference
        from .shapes import Problem

        wrong = {
            (status, JSON): OpenApiResponse(reference(Problem), description=ERRORS[status]) for status in self._errors()
        }
        return {**self._well(), **wrong}

    def _well(self) -> dict[Any, OpenApiResponse]:
        from .components import reference

        known = self.known
        if known.answer is None:
            return {known.status: OpenApiResponse(None, description="Done.")}
        if isinstance(known.answer, tuple):
            return {
                (known.status, media): OpenApiResponse(
                    _content(media, known.rows), description="OK", examples=_examples(known.example, media)
                )
                for media in known.answer
            }
        answer = OpenApiResponse(reference(known.answer), description="OK", examples=_examples(known.example, JSON))
        well: dict[Any, OpenApiResponse] = {(known.status, JSON): answer}
        return {**well, (503, JSON): answer} if known.public else well

    def _errors(self) -> list[int]:
        known = self.known
        if known.public:
            return []
        found = {401, 403, 405, 429, 503, *known.errors}
        if "{name}" in self.path or known.query is not None:
            found.add(404)
        if known.precondition:
            found |= {400, 412}
        if known.query is not None or self.method != "GET":
            found.add(400)
        if self.method != "GET":
            found |= {409, 413, 415, 422}
        return sorted(found)


class Addresses(EndpointEnumerator):
    """Those of the API, and the one that it shares with the pages."""

    def get_api_endpoints(self, patterns: Any = None, prefix: str = "") -> list[Any]:
        from breakers.api.views import dashboard_json

        found = super().get_api_endpoints(patterns, prefix)  # type: ignore[no-untyped-call]  # it has no types
        return [*found, ("/dashboard", "dashboard", "GET", dashboard_json)]


class Document(SchemaGenerator):
    endpoint_inspector_cls = Addresses


def _examples(value: Any, media: str, **options: Any) -> list[OpenApiExample]:
    from .examples import ByMedia

    told = value[media] if isinstance(value, ByMedia) else value
    return [] if told is None else [OpenApiExample("example", value=told, **options)]


def _content(media: str, rows: type | None) -> dict[str, Any]:
    from .components import reference

    if rows is not None and media == JSON:
        return {"type": "array", "items": reference(rows)}
    if media.endswith("yaml"):
        return {"type": "object"}
    return {"type": ["object", "array"]} if media.endswith("json") else {"type": "string"}


def _taken(known: Operation) -> dict[str, Any]:
    from .bounds import input_schema

    schema = input_schema(known.takes)  # type: ignore[arg-type]  # the caller has looked
    shown = {name: field for name, field in schema["properties"].items() if name not in known.hides}
    return {**schema, "properties": shown}


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Adds the components that the operations refer to, and how one says who one is."""
    from .components import reachable
    from .examples import PROBLEM
    from .operations import OPERATIONS, answers

    components = result.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **reachable(answers(list(OPERATIONS.values())))}
    components["schemas"]["Problem"]["examples"] = [PROBLEM]
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key: scope `read` for reading, `operate` for everything else.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "Of a person who signed in; what changes something needs `X-CSRFToken` as well.",
        },
    }
    return result
