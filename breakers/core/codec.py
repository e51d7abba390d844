"""Frozen dataclasses to JSON and back, checked by their annotations.

A reader is a closure built once a type, so that reading a message costs no reflection. It knows ``str``, ``int``,
``float``, ``bool``, ``Any``, ``StrEnum``, other dataclasses, ``X | None``, ``tuple[X, ...]`` and ``Mapping[str, X]``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints


class WireError(ValueError):
    """A message that cannot be read; the text names the path of the wrong value."""


Reader = Callable[[Any, str], Any]
"""Takes a JSON value and its path; gives the value as annotated, or raises :class:`WireError`."""
M = TypeVar("M")


def refuse_constant(text: str) -> float:
    """For ``json.loads``: NaN and infinities are no JSON."""
    raise WireError(f"{text} is not a number")


def plain(value: Any) -> Any:  # what json.dumps takes
    """``value`` as JSON has it; fields of dataclasses that hold their default are left out."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: plain(item) for f in fields(value) if not _is_default(f, item := getattr(value, f.name))}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def _is_default(f: Any, value: object) -> bool:  # dataclasses.Field is generic in what we do not know
    if f.default is not MISSING:
        return type(value) is type(f.default) and value == f.default
    return f.default_factory is not MISSING and value == f.default_factory()


_readers: dict[Any, Reader] = {}


def reader(kind: Any) -> Reader:  # a type form: class, union or generic alias
    """The closure that reads ``kind``; built once a type."""
    if kind not in _readers:
        _readers[kind] = _build(kind)
    return _readers[kind]


def _build(kind: Any) -> Reader:  # a type form
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _optional(reader(next(a for a in arguments if a is not type(None))))
    if origin is tuple:
        return _sequence(reader(arguments[0]))
    if origin is not None:
        return _mapping(reader(arguments[1]))
    if kind in _SCALARS:
        return _scalar(kind)
    return _word(kind) if issubclass(kind, StrEnum) else _record(kind)


def _optional(inner: Reader) -> Reader:
    return lambda value, path: None if value is None else inner(value, path)


def _sequence(inner: Reader) -> Reader:
    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WireError(f"{path}: must be a list")
        return tuple([inner(item, path) for item in value])

    return read


def _mapping(inner: Reader) -> Reader:
    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WireError(f"{path}: must be an object")
        return {key: inner(item, f"{path}.{key[:100]}") for key, item in value.items()}

    return read


_SCALARS: dict[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), bool: (bool,), Any: (object,),
}  # fmt: skip
_LONGEST = 1 << 53
"""No integer is larger: counters, and what JavaScript can hold."""


def _scalar(kind: Any) -> Reader:  # a key of _SCALARS
    accepted = _SCALARS[kind]
    numeric = kind in (int, float)

    def read(value: Any, path: str) -> Any:
        right: Any = value
        if not isinstance(value, accepted) or (numeric and isinstance(value, bool)):
            raise WireError(f"{path}: must be of type {kind.__name__}")
        if numeric and not abs(right) <= _LONGEST:
            raise WireError(f"{path}: out of range")
        return float(right) if kind is float else right

    return read


def _word(words: type[StrEnum]) -> Reader:
    known = {word.value: word for word in words}

    def read(value: Any, path: str) -> StrEnum:
        if not isinstance(value, str) or value not in known:
            raise WireError(f"{path}: must be one of {', '.join(known)}")
        return known[value]

    return read


def _record(cls: type[M]) -> Reader:
    hints = get_type_hints(cls)
    parts = [
        (f.name, reader(hints[f.name]), f.default is MISSING and f.default_factory is MISSING)
        for f in fields(cls)  # type: ignore[arg-type]  # every message is a dataclass
    ]

    def read(value: Any, path: str) -> M:
        if not isinstance(value, dict):
            raise WireError(f"{path}: must be an object")
        found = {}
        for name, decode, required in parts:
            if name in value:
                found[name] = decode(value[name], f"{path}.{name}")
            elif required:
                raise WireError(f"{path}.{name}: is missing")
        return cls(**found)

    return read
