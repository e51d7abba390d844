"""Columns and database constraints of a config, made from the bounds that the library states once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, Field, HttpConfig

if TYPE_CHECKING:
    Integer = models.IntegerField[int, int]
    Number = models.FloatField[float, float]
    OptionalNumber = models.FloatField[float | None, float | None]
    Text = models.CharField[str, str]
    Flag = models.BooleanField[bool, bool]

FIELDS: Mapping[str, Field] = {**{n: f for n, f in BREAKER_FIELDS.items() if n != "name"}, **HTTP_FIELDS}
"""Every configured column; the names of the two configs do not collide."""
DEFAULTS: Mapping[str, Any] = {**TABLE_DEFAULTS, **HttpConfig().as_dict()}


def _common(name: str) -> dict[str, Any]:
    return {"default": DEFAULTS[name], "help_text": FIELDS[name].help}


def integer(name: str) -> Integer:
    return models.IntegerField(**_common(name))


def number(name: str) -> Number:
    return models.FloatField(**_common(name))


def optional_number(name: str) -> OptionalNumber:
    return models.FloatField(null=True, blank=True, **_common(name))


def choice(name: str) -> Text:
    return models.CharField(max_length=10, choices=[(word, word) for word in FIELDS[name].choices], **_common(name))


def statuses(name: str) -> Text:
    return models.CharField(max_length=200, blank=True, **_common(name))


def flag(name: str) -> Flag:
    return models.BooleanField(**_common(name))


def stored(name: str, value: object) -> object:
    """``value`` as the column will give it back: durations and numbers become floats."""
    real = name in FIELDS and FIELDS[name].kind in ("duration", "number")
    return float(value) if real and isinstance(value, int) else value


def constraints() -> list[models.BaseConstraint]:
    """One CHECK for each bounded column, and one for each rule that spans two."""
    bounded = [_check(name, _within(name, field)) for name, field in FIELDS.items() if _is_bounded(field)]
    return [
        *bounded,
        _check("minimum_fits_window", ~Q(window_type="count") | Q(minimum_calls__lte=models.F("window_size"))),
        _check("slow_rate_has_duration", Q(slow_call_rate_threshold=None) | Q(slow_call_duration__isnull=False)),
    ]


def _check(name: str, condition: Q) -> models.CheckConstraint:
    return models.CheckConstraint(condition=condition, name=f"breakerconfig_{name}")


def _is_bounded(field: Field) -> bool:
    return field.kind in ("integer", "duration", "number", "choice")


def _within(name: str, field: Field) -> Q:
    if field.kind == "choice":
        return Q(**{f"{name}__in": list(field.choices)})
    # the largest float where there is no upper bound: infinity is refused, and PostgreSQL's NaN, which is above all
    found = Q(**{f"{name}__lte": sys.float_info.max if field.maximum is None else field.maximum})
    if field.minimum is not None:
        found &= Q(**{f"{name}__gte": field.minimum})
    if field.above is not None:
        found &= Q(**{f"{name}__gt": field.above})
    return found | Q(**{f"{name}__isnull": True}) if field.nullable else found
