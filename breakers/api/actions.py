"""What is changed: each view parses, calls one service, answers with what the fleet then says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import services
from breakers.advice import advice
from breakers.core.states import Override
from breakers.fleet import fleet
from breakers.problems import VersionConflict

from .base import FleetView, asked, config_of, given, paged, record_of, row_of, versioned
from .memory import JSON, with_rows
from .parsing import expected_version
from .permissions import MayEdit, MayOverride, MayReset, actor_of
from .rows import select_rows
from .serializers import ConfigInput, CreateInput, OverrideInput, ReasonInput, ResetInput, RowsQuery, configs_of
from .views import breaker_detail

MERGE_ATTEMPTS = 5


def _expected(request: Request, name: str) -> int | None:
    return expected_version(request, record_of(name).version)


class BreakersView(FleetView):
    """``GET`` and ``POST /circuit-breakers``"""

    permission_by_method: ClassVar = {"POST": MayEdit}

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(list_body(request), content_type=JSON)

    def post(self, request: Request) -> Response:
        wanted = given(CreateInput, request)
        name = wanted["name"]
        config, http = configs_of(wanted, name)
        services.breaker_create(name=name, config=config, http=http, by=actor_of(request), **_texts(wanted))
        fleet.synchronise()
        answer = Response(breaker_detail(name), status=status.HTTP_201_CREATED)
        answer["Location"] = request.build_absolute_uri(f"/circuit-breakers/{name}")
        return versioned(answer, record_of(name).version)


def list_body(request: Request) -> bytes:
    """One page of the rows that the query asks for."""
    page = paged(select_rows(fleet.rows(), **asked(RowsQuery, request)), request).data
    rows = page.pop("results")
    return with_rows(page, "results", rows).encode()


def _texts(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Who adds words to an edit; absent ones take the service's default."""
    return {name: wanted[name] for name in ("group", "description", "reason") if name in wanted}


class BreakerView(FleetView):
    """``GET`` and ``DELETE /circuit-breakers/{name}``"""

    permission_by_method: ClassVar = {"DELETE": MayEdit}

    def get(self, request: Request, name: str) -> Response:
        version = record_of(name).version
        return versioned(Response(breaker_detail(name)), version)

    def delete(self, request: Request, name: str) -> Response:
        wanted, expected = given(ReasonInput, request), _expected(request, name)
        reason = wanted.get("reason", "")
        services.breaker_delete(name=name, reason=reason, by=actor_of(request), expected_version=expected)
        fleet.synchronise()
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfigView(FleetView):
    """``GET``, ``PUT`` (the whole, absent = default) and ``PATCH`` (a part) ``/circuit-breakers/{name}/config``"""

    permission_by_method: ClassVar = {"PUT": MayEdit, "PATCH": MayEdit}

    def get(self, request: Request, name: str) -> Response:
        return saved(name)

    def put(self, request: Request, name: str) -> Response:
        expected, wanted = _expected(request, name), _edit(request, name)
        self._save(request, name, wanted, expected, whole=True)
        return saved(name)

    def patch(self, request: Request, name: str) -> Response:
        expected, wanted = _expected(request, name), _edit(request, name)
        if expected is not None:
            self._save(request, name, wanted, expected, whole=False)
        else:
            self._merge(request, name, wanted)
        return saved(name)

    def _merge(self, request: Request, name: str, wanted: Mapping[str, Any]) -> None:
        """A part into whatever stands when it is written: an edit that comes between is merged into, not lost."""
        for attempt in range(MERGE_ATTEMPTS):
            try:
                return self._save(request, name, wanted, record_of(name).version, whole=False)
            except VersionConflict:
                if attempt == MERGE_ATTEMPTS - 1:
                    raise
                fleet.synchronise()
        return None

    def _save(
        self, request: Request, name: str, wanted: Mapping[str, Any], expected: int | None, *, whole: bool
    ) -> None:
        config, http = configs_of(wanted, name) if whole else configs_of(wanted, name, config_of(record_of(name)))
        texts = {"reason": "", **_texts(wanted)}
        actor = actor_of(request)
        services.breaker_edit(name=name, config=config, http=http, by=actor, expected_version=expected, **texts)
        fleet.synchronise()


def _edit(request: Request, name: str) -> dict[str, Any]:
    wanted = given(ConfigInput, request)
    if wanted.get("name", name) != name:
        raise ValidationError({"name": f"must be {name!r}: a breaker keeps its name"})
    return wanted


def saved(name: str) -> Response:
    """The config that stands now, with ``warnings`` about values that are legal and hardly meant."""
    record, row = record_of(name), row_of(name)
    answer = {"name": name, "config": config_of(record), "version": record.version, "applied": row["applied"]}
    warnings = advice(record.config, record.http)
    return versioned(Response({**answer, "warnings": warnings}), record.version)


class OverrideView(FleetView):
    """``PUT`` and ``DELETE /circuit-breakers/{name}/override``"""

    permission_by_method: ClassVar = {"PUT": MayOverride, "DELETE": MayOverride}

    def put(self, request: Request, name: str) -> Response:
        expected, wanted = _expected(request, name), given(OverrideInput, request)
        seconds = wanted.get("expires_in")
        services.override_set(
            name=name,
            override=Override(wanted["override"]),
            reason=wanted.get("reason", ""),
            expires_at=None if seconds is None else timezone.now() + timedelta(seconds=seconds),
            by=actor_of(request),
            expected_version=expected,
            confirm=wanted.get("confirm", False),
        )
        return _overridden(name)

    def delete(self, request: Request, name: str) -> Response:
        expected, wanted = _expected(request, name), given(ReasonInput, request)
        reason = wanted.get("reason", "")
        services.override_release(name=name, reason=reason, by=actor_of(request), expected_version=expected)
        return _overridden(name)


def _overridden(name: str) -> Response:
    fleet.synchronise()
    row = row_of(name)
    answer = {"name": name, "override": row["override"], "state": row["state"], "version": row["version"]}
    return versioned(Response({**answer, "applied": row["applied"]}), row["version"])


class ResetView(FleetView):
    """``POST /circuit-breakers/{name}/reset``: answers at once; instances confirm as they hear of it."""

    permission_by_method: ClassVar = {"POST": MayReset}

    def post(self, request: Request, name: str) -> Response:
        expected, wanted = _expected(request, name), given(ResetInput, request)
        instance = wanted.get("instance")
        _check_instance(name, instance)
        reason, actor = wanted.get("reason", ""), actor_of(request)
        command = services.breaker_reset(
            name=name, reason=reason, by=actor, instance=instance, expected_version=expected
        )
        fleet.synchronise()
        progress = fleet.reset_progress(command.id)
        answer = {"status": "reset", "name": name, "new_state": "closed", "command": command.id}
        return Response({**answer, "instances": progress})


def _check_instance(name: str, instance: UUID | None) -> None:
    if instance is not None and str(instance) not in {row["instance"] for row in fleet.instance_rows(name)}:
        raise ValidationError({"instance": f"no instance {instance} has {name!r}"})


class ResetAllView(FleetView):
    """``POST /circuit-breakers/reset-all``"""

    permission_by_method: ClassVar = {"POST": MayReset}

    def post(self, request: Request) -> Response:
        reason = given(ReasonInput, request).get("reason", "")
        commands = services.breakers_reset_all(names=None, reason=reason, by=actor_of(request))
        fleet.synchronise()
        return Response({"status": "reset_all", "total_breakers": len(fleet.rows()), "reset_count": len(commands)})
