"""Counts an answer that Django never saw as django-prometheus counts those that it did see."""

from __future__ import annotations

from typing import Final

from django_prometheus.middleware import Metrics

METHOD: Final = "GET"
STATUS: Final = "200"
CHARSET: Final = "utf-8"


class Counted:
    """Of one view, by one transport: each sample is looked up once. Thread-safe; about ten microseconds an answer."""

    def __init__(self, *, view: str, transport: str) -> None:
        metrics = Metrics.get_instance()
        self._by_one = [
            metrics.requests_total,
            metrics.responses_total,
            metrics.requests_by_method.labels(method=METHOD),
            metrics.requests_by_transport.labels(transport=transport),
            metrics.requests_by_view_transport_method.labels(view=view, transport=transport, method=METHOD),
            metrics.responses_by_status.labels(status=STATUS),
            metrics.responses_by_status_view_method.labels(status=STATUS, view=view, method=METHOD),
            metrics.responses_by_charset.labels(charset=CHARSET),
        ]
        self._latencies = [
            metrics.requests_latency_before,
            metrics.requests_latency_by_view_method.labels(view=view, method=METHOD),
        ]
        self._asked, self._told = metrics.requests_body_bytes, metrics.responses_body_bytes

    def note(self, *, seconds: float, length: int) -> None:
        """One answer of ``length`` bytes, to a request without a body, after so many seconds."""
        for counter in self._by_one:
            counter.inc()
        for latency in self._latencies:
            latency.observe(seconds)
        self._asked.observe(0)
        self._told.observe(length)
