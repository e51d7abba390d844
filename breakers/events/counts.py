"""What this server has done with events, for Prometheus: each server tells of itself."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

RECEIVED: Final = Counter(
    "control_plane_events_received_total",
    "Messages of the stream by what became of them: applied, duplicate, ignored, stale or dead.",
    ["outcome"],
)
SENT: Final = Counter("control_plane_events_sent_total", "Events that this server put into the stream.", ["type"])
GIVEN_UP: Final = Counter(
    "control_plane_events_given_up_total", "Events that never reached the stream: it was away for too long."
)
WAITING: Final = Gauge("control_plane_events_waiting", "Events that wait for the stream, as this server last saw.")
WAITING_SECONDS: Final = Gauge(
    "control_plane_events_waiting_seconds", "How long the first of them has waited, as this server last saw."
)
LAG: Final = Gauge(
    "control_plane_events_lag", "Messages of the stream that no server has settled, as this server last saw."
)
for _outcome in ("applied", "duplicate", "ignored", "stale", "dead"):
    RECEIVED.labels(_outcome)  # there from the start: a rate needs a zero to rise from
