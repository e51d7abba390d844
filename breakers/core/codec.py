"""Frozen dataclasses to JSON and back, checked by their annotations.

A reader is a closure built once a type, so that reading a message costs no reflection. It knows ``str``, ``int``,
``float``, ``bool``, ``Any``, ``StrEnum``, other dataclasses, ``X | None``, ``tuple[X, ...]`` and ``Mapping[str, X]``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints


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
_Inner = Callable[[Any], Any]
LONGEST: Final = 1 << 53
"""No integer is larger: counters, and what JavaScript can hold."""


class _Misread(Exception):
    """On its way out it learns where it happened: a path made beforehand costs as much as reading."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []


def reader(kind: Any) -> Reader:  # a type form: class, union or generic alias
    """The closure that reads ``kind``; built once a type."""
    if kind not in _readers:
        _readers[kind] = _outermost(_build(kind))
    return _readers[kind]


def _outermost(inner: _Inner) -> Reader:
    def read(value: Any, path: str) -> Any:
        try:
            return inner(value)
        except _Misread as error:
            raise WireError(f"{'.'.join([path, *reversed(error.path)])}: {error.reason}") from None

    return read


def _build(kind: Any) -> _Inner:  # a type form
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _optional(_build(next(a for a in arguments if a is not type(None))))
    if origin is tuple:
        return _sequence(_build(arguments[0]))
    if origin is not None:
        return _mapping(_build(arguments[1]))
    if kind in _SCALARS:
        return _SCALARS[kind]
    return _word(kind) if issubclass(kind, StrEnum) else _record(kind)


def _optional(inner: _Inner) -> _Inner:
    return lambda value: None if value is None else inner(value)


def _sequence(inner: _Inner) -> _Inner:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Misread("must be a list")
        return tuple([inner(item) for item in value])

    return read


def _mapping(inner: _Inner) -> _Inner:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Misread("must be an object")
        found: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                found[key] = inner(item)
        except _Misread as error:
            error.path.append(key[:100])
            raise
        return found

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Misread("must be of type str")
    return value


def _integer(value: Any) -> int:
    if value.__class__ is not int:
        raise _Misread("must be of type int")
    if not -LONGEST <= value <= LONGEST:
        raise _Misread("out of range")
    number: int = value
    return number


def _number(value: Any) -> float:
    if value.__class__ is not float and value.__class__ is not int:
        raise _Misread("must be of type float")
    if not -LONGEST <= value <= LONGEST:
        raise _Misread("out of range")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Misread("must be of type bool")
    return value


_SCALARS: dict[Any, _Inner] = {
    str: _text, int: _integer, float: _number, bool: _flag, Any: lambda value: value,
}  # fmt: skip


def _word(words: type[StrEnum]) -> _Inner:
    known = {word.value: word for word in words}

    def read(value: Any) -> StrEnum:
        if not isinstance(value, str) or value not in known:
            raise _Misread(f"must be one of {', '.join(known)}")
        return known[value]

    return read


def _record(cls: type[M]) -> _Inner:
    hints = get_type_hints(cls)
    readers = {f.name: _build(hints[f.name]) for f in fields(cls)}  # type: ignore[arg-type]  # every message is a dataclass
    required = frozenset(
        f.name
        for f in fields(cls)  # type: ignore[arg-type]  # as above
        if f.default is MISSING and f.default_factory is MISSING
    )

    def read(value: Any) -> M:
        if not isinstance(value, dict):
            raise _Misread("must be an object")
        found: dict[str, Any] = {}
        name = ""
        try:
            for name, item in value.items():
                if name in readers:
                    found[name] = readers[name](item)
        except _Misread as error:
            error.path.append(name)
            raise
        if not required <= found.keys():
            absent = _Misread("is missing")
            absent.path.append(next(f for f in readers if f in required and f not in found))
            raise absent
        return cls(**found)

    return read
