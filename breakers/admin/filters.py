"""Filters of the list by what is not a column: the fleet's state, and an override that has not expired."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from breakers.core.states import CircuitBreakerState, Override
from breakers.fleet import fleet
from breakers.models import BreakerConfig

from .live import WORDS


class StateFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [(state.value, WORDS[state.value]) for state in CircuitBreakerState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BreakerConfig]) -> QuerySet[BreakerConfig]:
        wanted = self.value()
        if wanted is None:
            return queryset
        return queryset.filter(name__in=[row["name"] for row in fleet.rows() if row["state"] == wanted])


class OverrideFilter(SimpleListFilter):
    title = "override"
    parameter_name = "forced"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [("none", "None"), *[(word.value, WORDS[word.value]) for word in Override]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BreakerConfig]) -> QuerySet[BreakerConfig]:
        wanted, now = self.value(), timezone.now()
        if wanted is None:
            return queryset
        stands = ~Q(override="") & (Q(override_expires_at=None) | Q(override_expires_at__gt=now))
        return queryset.exclude(stands) if wanted == "none" else queryset.filter(stands, override=wanted)
