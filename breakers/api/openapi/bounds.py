"""JSON Schema of what comes in, from the bounds that the library states once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from breakers.api.serializers import CONFIG_FIELDS, BoundField, TextField
from breakers.core.config import MAX_INTEGER, NAME_PATTERN, RESERVED_NAMES, Field

Schema = dict[str, Any]

_FINITE = 1.7e308
_STATUS = r" *[1-5][0-9]{2}(-[1-5][0-9]{2})? *"
_TYPES = {"integer": "integer", "duration": "number", "number": "number", "flag": "boolean"}
_PATTERNS = {"name": f"^{NAME_PATTERN.pattern}$", "statuses": f"^(({_STATUS})(,{_STATUS})*)?$"}
NAME: Schema = {"type": "string", "pattern": _PATTERNS["name"], "not": {"enum": sorted(RESERVED_NAMES)}}


def bounds_schema(bounds: Field) -> Schema:
    """One field of a config, with its bounds, its sentence, and ``null`` where that is a value."""
    schema = {**_kind(bounds), **_range(bounds)}
    if bounds.nullable:
        schema["type"] = [schema["type"], "null"]
    return {**schema, "description": bounds.help} if bounds.help else schema


def _kind(bounds: Field) -> Schema:
    if bounds.kind == "choice":
        return {"type": "string", "enum": list(bounds.choices)} if bounds.choices else {"type": "string"}
    if bounds.kind == "name":
        return dict(NAME)
    if bounds.kind == "statuses":
        return {"type": "string", "pattern": _PATTERNS["statuses"], "maxLength": 200}
    return {"type": _TYPES[bounds.kind]}


def _range(bounds: Field) -> Schema:
    if bounds.kind not in ("integer", "duration", "number"):
        return {}
    ends = {"minimum": bounds.minimum, "exclusiveMinimum": bounds.above}
    known = {name: _plain(value) for name, value in ends.items() if value is not None}
    return {**known, "maximum": _FINITE if bounds.maximum is None else _plain(bounds.maximum)}


def _plain(value: float) -> float:
    """Whole numbers without a fraction: readers of the document compare them with integers."""
    return int(value) if value == int(value) else value


def input_schema(serializer: type[serializers.BaseSerializer[Any]]) -> Schema:
    """The object that an input serializer takes; what it does not name is refused."""
    fields: Mapping[str, serializers.Field[Any, Any, Any, Any]] = serializer().fields  # type: ignore[attr-defined]  # all of ours have fields
    schema = _closed({name: field_schema(field) for name, field in fields.items()})
    required = [name for name, field in fields.items() if field.required]
    return {**schema, "required": required} if required else schema


def document_schema() -> Schema:
    """What an import takes: the document that an export gives, in which only ``format`` has to be."""
    config = {name: bounds_schema(bounds) for name, bounds in CONFIG_FIELDS.items()}
    entry = {
        "version": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_INTEGER},
        "managed": {"type": "boolean"},
        "group": {"type": ["string", "null"], "maxLength": 100},
        "description": {"type": ["string", "null"], "maxLength": 10_000},
        "config": _closed(config),
    }
    breakers = {"type": "object", "propertyNames": NAME, "additionalProperties": _closed(entry)}
    return {**_closed({"format": {"type": "integer", "enum": [1]}, "breakers": breakers}), "required": ["format"]}


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def field_schema(field: serializers.Field[Any, Any, Any, Any]) -> Schema:
    """One field of an input, or of a query string."""
    schema = _field_type(field)
    text = str(field.help_text) if field.help_text else ""
    return {"description": text, **schema} if text else schema


def filter_schema(field: serializers.Field[Any, Any, Any, Any]) -> Schema:
    """One field of a query string, where an empty one is none."""
    schema = field_schema(field)
    told = {"description": schema.pop("description")} if "description" in schema else {}
    return {**told, "anyOf": [schema, {"type": "string", "maxLength": 0}]}


def _field_type(field: serializers.Field[Any, Any, Any, Any]) -> Schema:
    if isinstance(field, TextField):
        return {"type": "string", "maxLength": field.longest}
    if isinstance(field, BoundField):
        return bounds_schema(field.bounds)
    if isinstance(field, serializers.ChoiceField):
        return {"type": "string", "enum": [str(choice) for choice in field.choices]}
    if isinstance(field, serializers.IntegerField):
        return {"type": "integer", "minimum": field.min_value or 0, "maximum": field.max_value or MAX_INTEGER}
    if isinstance(field, serializers.DateTimeField):
        return {"type": "string", "format": "date-time"}
    if isinstance(field, serializers.UUIDField):
        return {"type": ["string", "null"] if field.allow_null else "string", "format": "uuid"}
    return _text_type(field)


def _text_type(field: serializers.Field[Any, Any, Any, Any]) -> Schema:
    words = getattr(field, "words", None)
    if words:
        one = "|".join(words)
        return {"type": "string", "pattern": f"^({one})(,({one}))*$"}
    longest = getattr(field, "max_length", None)
    schema = {"type": "string", "pattern": "^[^\\u0000]*$"}
    return schema if longest is None else {**schema, "maxLength": longest}
