"""What is read: each view parses, asks once, answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.http import HttpResponse
from django_prometheus.exports import ExportToDjangoView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import selectors
from breakers.alerts import alerts
from breakers.core.states import Override
from breakers.fleet import Row, fleet
from breakers.metrics import exposition
from breakers.outage import AWAY, outage

from .base import FleetView, asked, config_of, paged, record_of, row_of, versioned
from .memory import JSON, with_rows
from .serializers import ChangeOutput, ChangesQuery, HistoryQuery, TransitionOutput

RECENT = 10


def breaker_detail(name: str) -> dict[str, Any]:
    """The row with its config, metrics, instances and latest transitions."""
    record = record_of(name)
    return {
        **row_of(name),
        "description": record.description,
        "managed": record.managed,
        "config": config_of(record),
        "metrics": fleet.metrics(name),
        "instance_rows": fleet.instance_rows(name),
        "recent": _recent(name),
    }


def _recent(name: str) -> list[dict[str, Any]] | None:
    """``None`` while the database is away: all else is told from memory."""
    if not outage.lasting:
        with suppress(*AWAY):
            return list(TransitionOutput(selectors.history(name)[:RECENT], many=True).data)
    return None


def breaker_state(row: Row) -> dict[str, Any]:
    """The three questions have one yes: forced open is open, whatever the machine says."""
    forced = row["override"] is not None and row["override"]["override"] == Override.FORCED_OPEN.value
    return {
        "name": row["name"],
        "state": row["state"],
        "override": row["override"],
        "is_open": forced or row["state"] == "open",
        "is_half_open": not forced and row["state"] == "half_open",
        "is_closed": not forced and row["state"] == "closed",
        "since": row["since"],
        "instances": row["instances"],
    }


class StateView(FleetView):
    """``GET /circuit-breakers/{name}/state``"""

    def get(self, request: Request, name: str) -> Response:
        row = row_of(name)
        return versioned(Response(breaker_state(row)), row["version"])


class BreakerMetricsView(FleetView):
    """``GET /circuit-breakers/{name}/metrics``"""

    def get(self, request: Request, name: str) -> Response:
        record_of(name)
        return Response(fleet.metrics(name))


class HistoryView(FleetView):
    """``GET /circuit-breakers/{name}/history``: transitions, newest first. What was deleted keeps its history."""

    def get(self, request: Request, name: str) -> Response:
        found = selectors.history(name, **asked(HistoryQuery, request))
        if fleet.record(name) is None and not selectors.history(name).exists():
            record_of(name)
        return paged(found, request, TransitionOutput)


class ChangesView(FleetView):
    """``GET /circuit-breakers/{name}/changes``: the audit, newest first. What was deleted keeps its audit."""

    def get(self, request: Request, name: str) -> Response:
        found = selectors.changes(name, **asked(ChangesQuery, request))
        if fleet.record(name) is None and not selectors.changes(name).exists():
            record_of(name)
        return paged(found, request, ChangeOutput)


class DashboardView(FleetView):
    """``GET /dashboard`` as JSON; the pages show it as HTML to those who ask for that."""

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(dashboard_body(), content_type=JSON)


def dashboard_body() -> bytes:
    """Summary and rows."""
    return with_rows({"summary": fleet.summary()}, "breakers", fleet.rows()).encode()


class AlertsView(FleetView):
    """``GET /alerts``"""

    def get(self, request: Request) -> Response:
        firing = alerts()
        return Response({"alerts": firing, "alert_count": len(firing)})


class MetricsView(FleetView):
    """``GET /metrics``: Prometheus text, from memory also while the database is gone."""

    def get(self, request: Request) -> HttpResponse:
        """The fleet's lines, then Django's own."""
        exported: HttpResponse = ExportToDjangoView(request)
        exported.content = exposition.text() + exported.content
        return exported


class Missing(FleetView):
    """Whatever is not there, in the API's own shape, whoever asks."""

    schema = None  # nothing to document
    authentication_classes = ()

    def check_permissions(self, request: Request) -> None:
        raise NotFound("There is nothing at this address.")


dashboard_json = DashboardView.as_view()
"""What the page's own view answers with to whoever does not ask for HTML."""
