"""Reads what agents say in a tenth of the time that :mod:`breakers.core.wire` takes, whose word holds.

Reports are most of what a server hears, and reading them by the book was most of what they cost. msgspec reads them
into structs that are made here of the very dataclasses of the protocol; whatever it does not take is read by the book,
which names what is wrong, or has more patience.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from breakers.core.codec import LONGEST
from breakers.core.wire import FromAgent, Report, decode_from_agent

_WITHIN: Final = msgspec.Meta(ge=-LONGEST, le=LONGEST)


def read(text: str | bytes) -> FromAgent:
    """As ``decode_from_agent``; a report comes as something that has all its attributes and cannot be changed."""
    try:
        return cast(Report, _reports.decode(text))
    except (msgspec.MsgspecError, ValueError, RecursionError):  # ValueError: half a surrogate pair
        return decode_from_agent(text)


def _form(kind: Any) -> Any:  # type forms: what msgspec takes in place of an annotation
    arguments = tuple(_form(argument) for argument in get_args(kind) if argument is not Ellipsis)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return Union[arguments]  # noqa: UP007  # of however many
    if origin is tuple:
        return types.GenericAlias(tuple, (*arguments, ...))
    if origin is Mapping:
        return types.GenericAlias(dict, arguments)
    if kind in (int, float):
        return Annotated[kind, _WITHIN]
    return _struct(kind) if is_dataclass(kind) else kind


def _struct(cls: Any, **of: Any) -> type[msgspec.Struct]:
    """``cls``, a dataclass, as msgspec reads it best. Without cycles, and so of no concern to the garbage collector."""
    hints = get_type_hints(cls)
    each = [(field.name, _form(hints[field.name]), *_default(field)) for field in fields(cls)]
    return msgspec.defstruct(cls.__name__, each, frozen=True, gc=False, **of)


def _default(field: Field[Any]) -> tuple[Any, ...]:
    make: Any = field.default_factory
    if make is not MISSING:
        return (msgspec.field(default_factory=_struct(make) if is_dataclass(make) else make),)
    return () if field.default is MISSING else (field.default,)


class _NoMessage(msgspec.Struct, tag_field="type", tag=""):
    """Of a choice, a message must say which it is; where there is none, msgspec takes one that does not."""

    def __post_init__(self) -> None:
        raise ValueError("nor is this one")


_report: Any = _struct(Report, tag_field="type", tag=Report.type)
_reports: Final = msgspec.json.Decoder(_report | _NoMessage)
