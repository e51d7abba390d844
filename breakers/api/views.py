"""What is read: each view parses, asks once, answers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.utils import timezone
from django_prometheus.exports import ExportToDjangoView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from breakers import selectors
from breakers.alerts import alerts
from breakers.core.states import Override
from breakers.fleet import Row, fleet
from breakers.metrics import exposition
from breakers.sharing import peers

from .base import FleetView, asked, config_of, paged, record_of, row_of, versioned
from .serializers import ChangeOutput, ChangesQuery, HistoryQuery, TransitionOutput

RECENT = 10
LAYER_TIMEOUT = 2.0

logger = logging.getLogger("breakers.api")


def breaker_detail(name: str) -> dict[str, Any]:
    """The row with its config, metrics, instances and latest transitions."""
    recent = selectors.history(name)[:RECENT]
    record = record_of(name)
    return {
        **row_of(name),
        "description": record.description,
        "managed": record.managed,
        "config": config_of(record),
        "metrics": fleet.metrics(name),
        "instance_rows": fleet.instance_rows(name),
        "recent": TransitionOutput(recent, many=True).data,
    }


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

    def get(self, request: Request) -> Response:
        return Response({"summary": fleet.summary(), "breakers": fleet.rows()})


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


class HealthView(FleetView):
    """``GET /health``: public. Without the database unhealthy; without Redis only degraded: others hear later."""

    authentication_classes = ()

    def get_permissions(self) -> list[Any]:
        return [AllowAny()]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Without a look at the database: that is what is in question."""
        self.check_permissions(request)
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)

    def get(self, request: Request) -> Response:
        database, layer = _database_answers(), _layer_answers()
        answer: dict[str, Any] = {
            "status": "healthy" if database else "unhealthy",
            "service": "circuit_breaker_service",
            "timestamp": timezone.now(),
            "checks": {"database": _word(database), "channel_layer": _word(layer)},
        }
        if not layer or peers.trouble is not None:
            answer["degraded"] = ["redis"]
        return Response(answer, status=200 if database else 503)


def _word(well: bool) -> str:
    return "ok" if well else "failed"


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.warning("Health: the database does not answer", exc_info=True)
        return False
    return True


def _layer_answers() -> bool:
    try:
        async_to_sync(_ask_layer)()
    except Exception:  # each layer has errors of its own
        logger.warning("Health: the channel layer does not answer", exc_info=True)
        return False
    return True


async def _ask_layer() -> None:
    """A message to a group without members: it goes to Redis where there is one, and nowhere from there."""
    async with asyncio.timeout(LAYER_TIMEOUT):
        await get_channel_layer().group_send("health", {"type": "health"})


class Missing(FleetView):
    """Whatever is not there, in the API's own shape, whoever asks."""

    schema = None  # nothing to document
    authentication_classes = ()

    def check_permissions(self, request: Request) -> None:
        raise NotFound("There is nothing at this address.")


dashboard_json = DashboardView.as_view()
"""What the page's own view answers with to whoever does not ask for HTML."""
