"""Whether this server is well, and what it does without meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from breakers.events import Standing, bus
from breakers.outage import outage
from breakers.sharing import peers

from .base import FleetView

LAYER_TIMEOUT: Final = 2.0

logger = logging.getLogger("breakers.api")


def without() -> list[str]:
    """What does not answer, as this server last found, and what it therefore does without. Asks nobody."""
    missing = {"database": outage.lasting, "redis": peers.trouble is not None}
    return [name for name, away in missing.items() if away]


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
        events = _events() if database else None
        if events is not None:
            answer["events"] = {
                "in": _word(events.taking), "out": _word(events.sending), "lag": events.lag,
                "waiting": events.waiting, "waiting_seconds": round(events.waiting_seconds, 3),
            }  # fmt: skip
        degraded = ["redis"] if not layer or peers.trouble is not None else []
        if events is not None and events.late and not degraded:  # without Redis there are none
            degraded.append("events")
        if degraded:
            answer["degraded"] = degraded
        return Response(answer, status=200 if database else 503)


def _word(well: bool) -> str:
    return "ok" if well else "failed"


def _events() -> Standing | None:
    try:
        return bus.standing()
    except DatabaseError:  # it went after it had answered
        return None


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
