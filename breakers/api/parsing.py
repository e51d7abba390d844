"""Bodies, page numbers and preconditions of a request: read strictly, and refused in our one shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from .errors import BodyCompressed, BodyTooLarge, unread

MAX_BODY = 64 * 1024
MAX_PAGE_SIZE = 1000


class JsonParser(BaseParser):
    """JSON in UTF-8, at most 64 KiB. ``NaN`` and its like are read, so that the field that holds one can be named."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:  # what json.loads gives
        raw = stream.read(MAX_BODY + 1)
        if len(raw) > MAX_BODY:
            raise BodyTooLarge
        try:
            return json.loads(raw.decode("utf-8"), object_pairs_hook=_unique) if raw.strip() else {}
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except ValueError as problem:
            raise ParseError(_why(problem)) from None


def _why(problem: ValueError) -> str:
    if "integer string conversion" in str(problem):  # the interpreter's limit, in words that only Python's people know
        return "A number in the body has too many digits."
    return f"The body is not JSON: {str(problem)[:200]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; one that names a key twice is refused: the last would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == each for each, _ in pairs) > 1)
        raise ValueError(f"{twice[:100]!r} stands there twice")
    return found


class AnyAccept(BaseContentNegotiation):
    """The answer has one form, whatever the client says that it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser | None:
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise BodyCompressed(encoding)
        found: BaseParser | None = next((p for p in parsers if _is_json(request.content_type, p.media_type)), None)
        if found is None:
            raise unread(request, [parser.media_type for parser in parsers])
        return found

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


def _is_json(content_type: str | None, media_type: str) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == media_type


_KINDS: Mapping[type, str] = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null",
}  # fmt: skip


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of the body, empty where there is none."""
    given = request.data
    if isinstance(given, dict):
        return given
    raise ParseError(f"The body must be a JSON object, not {_KINDS.get(type(given), 'this')}.")


_TAG = re.compile(r'\s*(?:W/)?"([^"]*)"\s*')


def expected_version(request: Request, current: int | None = None) -> int | None:
    """The version that ``If-Match`` says the caller has seen; ``None`` without the header and for ``*``.

    Of several the ``current`` one where it is among them. A tag that is no version is one that nothing has: 0.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    tags = [_TAG.fullmatch(part) for part in header.split(",")]
    if not all(tags):
        raise ValidationError({"If-Match": 'must be a version in quotes, as "3"'})
    versions = [_version(tag.group(1)) for tag in tags if tag]
    return current if current in versions else versions[0]


def _version(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0


class Pages(PageNumberPagination):
    """``{count, next, previous, results}``, as ``PageQuery`` has judged it; a page beyond the last is a 404."""

    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
