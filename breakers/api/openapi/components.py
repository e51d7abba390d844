"""JSON Schema of the answers, made of their types: one component a type."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from .bounds import Schema
from .shapes import State

MOMENTS = frozenset(
    (
        "since", "retry_at", "expires_at", "at", "received_at", "last_seen", "timestamp", "created_at",
        "started_at", "first_seen", "last_change",
    )
)  # fmt: skip
_STATES = frozenset({"state", "from_state", "to_state"})


def reference(shape: type) -> Schema:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def component(shape: type) -> Schema:
    """A ``TypedDict`` as an object with exactly these keys."""
    properties = {name: _property(name, hint) for name, hint in get_type_hints(shape).items()}
    needed = shape.__required_keys__  # type: ignore[attr-defined]  # every TypedDict has them
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name in needed],
    }
    text = (shape.__doc__ or "").strip()
    return {**({"description": text} if text else {}), **schema, "additionalProperties": False}


def _property(name: str, hint: Any) -> Schema:
    schema = schema_of(hint)
    if name in MOMENTS and "string" in _types(schema):
        return {**schema, "format": "date-time"}
    if name in _STATES and schema.get("type") == "string":
        return {**schema, "enum": list(get_args(State))}
    return schema


def _types(schema: Schema) -> list[str]:
    found = schema.get("type", [])
    return found if isinstance(found, list) else [found]


_BASIC = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def schema_of(hint: Any) -> Schema:
    """JSON Schema of a type of an answer."""
    if hint is Any:
        return {}
    if hint in _BASIC:
        return {"type": _BASIC[hint]}
    if is_typeddict(hint):
        return reference(hint)
    return _generic(get_origin(hint), get_args(hint))


def _generic(origin: Any, arguments: tuple[Any, ...]) -> Schema:
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if origin in (Union, UnionType):
        return _either([schema_of(argument) for argument in arguments])
    raise TypeError(f"no schema for {origin}")


def _either(schemas: list[Schema]) -> Schema:
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def reachable(shapes: list[type]) -> dict[str, Schema]:
    """The components of these types and of all that they are made of, by name."""
    found: dict[str, type] = {}
    waiting = list(shapes)
    while waiting:
        shape = waiting.pop()
        if found.setdefault(shape.__name__, shape) is shape:
            waiting += [part for part in _parts(shape) if part.__name__ not in found]
    return {name: component(found[name]) for name in sorted(found)}


def _parts(hint: Any) -> list[type]:
    hints = get_type_hints(hint).values() if is_typeddict(hint) else get_args(hint)
    return [part for each in hints for part in ([each] if is_typeddict(each) else _parts(each))]
