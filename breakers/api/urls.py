"""Addresses of the API; no trailing slashes."""

from __future__ import annotations

from django.urls import path, re_path, register_converter

from breakers.core.config import NAME_PATTERN, RESERVED_NAMES

from . import actions, configs, document, exports, hot, versions, views
from .health import HealthView


class BreakerName:
    """Exactly the names that a breaker can have; any other address is not there."""

    regex = NAME_PATTERN.pattern

    def to_python(self, value: str) -> str:
        if value in RESERVED_NAMES:
            raise ValueError(value)
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(BreakerName, "breaker")

app_name = "api"
urlpatterns = [
    path("health", HealthView.as_view(), name="health"),
    path("metrics", views.MetricsView.as_view(), name="metrics"),
    path("alerts", views.AlertsView.as_view(), name="alerts"),
    path("schema", document.SchemaView.as_view(), name="schema"),
    path("docs", document.DocsView.as_view(), name="docs"),
    path("configs", configs.ConfigsView.as_view(), name="configs"),
    path("circuit-breakers", hot.breakers, name="breakers"),
    path("circuit-breakers/reset-all", actions.ResetAllView.as_view(), name="reset-all"),
    path("circuit-breakers/<breaker:name>", actions.BreakerView.as_view(), name="breaker"),
    path("circuit-breakers/<breaker:name>/state", hot.state, name="state"),
    path("circuit-breakers/<breaker:name>/metrics", views.BreakerMetricsView.as_view(), name="breaker-metrics"),
    path("circuit-breakers/<breaker:name>/history", views.HistoryView.as_view(), name="history"),
    path("circuit-breakers/<breaker:name>/changes", views.ChangesView.as_view(), name="changes"),
    path("circuit-breakers/<breaker:name>/reset", actions.ResetView.as_view(), name="reset"),
    path("circuit-breakers/<breaker:name>/config", actions.ConfigView.as_view(), name="config"),
    path("circuit-breakers/<breaker:name>/override", actions.OverrideView.as_view(), name="override"),
    path("history.<form:form>", exports.HistoryExport.as_view(), name="history-export"),
    path("changes.<form:form>", exports.ChangesExport.as_view(), name="changes-export"),
    path("circuit-breakers/<breaker:name>/history.<form:form>", exports.HistoryExport.as_view()),
    path("circuit-breakers/<breaker:name>/changes.<form:form>", exports.ChangesExport.as_view()),
    path("circuit-breakers/<breaker:name>/versions", versions.VersionsView.as_view(), name="versions"),
    path("circuit-breakers/<breaker:name>/restore", versions.RestoreView.as_view(), name="restore"),
    path("circuit-breakers/<breaker:name>/copy", versions.CopyView.as_view(), name="copy"),
    re_path(
        r"^(?:circuit-breakers|configs|health|metrics|alerts|schema|docs|(?:history|changes)\..*)(?:/[\s\S]*)?\Z",
        views.Missing.as_view(),
        name="missing",
    ),
]
