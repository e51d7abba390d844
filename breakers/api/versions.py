"""Configs of other breakers and of earlier versions: listed, restored, copied."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import selectors, services
from breakers.core.config import BREAKER_FIELDS, MAX_INTEGER, Field
from breakers.fleet import fleet
from breakers.models import ConfigChange
from breakers.problems import VersionConflict

from .actions import saved
from .base import FleetView, asked, given, paged, record_of
from .errors import error
from .parsing import expected_version
from .permissions import MayEditAll, actor_of
from .serializers import CONFIG_FIELDS, BoundField, PageQuery, ReasonInput

VERSION = Field("integer", "A version of the breaker.", minimum=1, maximum=MAX_INTEGER)


class RestoreInput(ReasonInput):
    version = BoundField(VERSION)


class CopyInput(ReasonInput):
    to = BoundField(BREAKER_FIELDS["name"], help_text="The breaker that gets the config; made where there is none.")
    to_version = BoundField(VERSION, required=False, help_text="The version of it that you have seen.")


class VersionOutput(serializers.ModelSerializer[ConfigChange]):
    """One version: who made it, when, why, and the config that it was."""

    group = serializers.SerializerMethodField()
    config = serializers.SerializerMethodField()

    class Meta:
        model = ConfigChange
        fields: ClassVar = ("version", "at", "kind", "actor", "reason", "group", "config")

    def get_group(self, change: ConfigChange) -> str:
        return str((change.after or {}).get("group", ""))

    def get_config(self, change: ConfigChange) -> dict[str, Any]:
        settings = change.after or {}
        return {name: settings[name] for name in CONFIG_FIELDS if name in settings}


class VersionsView(FleetView):
    """``GET /circuit-breakers/{name}/versions``: every config that the breaker had, newest first."""

    def get(self, request: Request, name: str) -> Response:
        record_of(name)
        asked(PageQuery, request)
        return paged(selectors.versions(name), request, VersionOutput)


class RestoreView(FleetView):
    """``POST /circuit-breakers/{name}/restore``: an earlier version again, as a new one."""

    permission_by_method: ClassVar = {"POST": MayEditAll}

    def post(self, request: Request, name: str) -> Response:
        expected, wanted = expected_version(request, record_of(name).version), given(RestoreInput, request)
        services.breaker_restore(
            name=name,
            version=wanted["version"],
            reason=wanted.get("reason", ""),
            by=actor_of(request),
            expected_version=expected,
        )
        fleet.synchronise()
        return saved(name)


def _target_changed(problem: VersionConflict) -> Response:
    """No ``ETag``: that would be of the breaker in the address."""
    message = f"{problem.name!r} was changed meanwhile; its version is now {problem.current_version}."
    if not problem.current_version:
        message = f"There is no {problem.name!r}."
    return error("version_conflict", message, status.HTTP_412_PRECONDITION_FAILED, {"to_version": message})


class CopyView(FleetView):
    """``POST /circuit-breakers/{name}/copy``: its config for another breaker, which is made where there is none.

    ``If-Match`` is of the breaker in the address, ``to_version`` of the other.
    """

    permission_by_method: ClassVar = {"POST": MayEditAll}

    def post(self, request: Request, name: str) -> Response:
        seen, wanted = expected_version(request, record_of(name).version), given(CopyInput, request)
        try:
            services.breaker_copy(
                source=name,
                target=wanted["to"],
                reason=wanted.get("reason", ""),
                by=actor_of(request),
                expected_version=wanted.get("to_version"),
                source_version=seen,
            )
        except VersionConflict as problem:
            if problem.name == name:
                raise
            return _target_changed(problem)
        fleet.synchronise()
        return saved(wanted["to"])
