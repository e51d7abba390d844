"""What each method of each view takes and answers, in words and with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from breakers.api.serializers import (
    ChangesQuery,
    ConfigInput,
    CreateInput,
    ExportQuery,
    HistoryQuery,
    ImportQuery,
    OverrideInput,
    PageQuery,
    ReasonInput,
    ResetInput,
    RowsQuery,
)
from breakers.api.versions import CopyInput, RestoreInput

from . import examples, shapes


@dataclass(frozen=True, slots=True)
class Operation:
    """``answer``: a shape, or media types where it is none; ``None``: nothing. ``errors``: beside the common ones.

    ``takes``: the input of the body; ``query``: the filters in the query string; ``flags``: what it says else;
    ``hides``: fields of the body that are accepted and not advertised; ``rows``: what a file in JSON is a list of. An
    example that differs by media type is an ``examples.ByMedia``.
    """

    id: str
    summary: str
    tag: str
    answer: type | tuple[str, ...] | None
    status: int = 200
    takes: type | None = None
    media: tuple[str, ...] = ()
    query: type[PageQuery] | None = None
    flags: type[serializers.Serializer[Any]] | None = None
    text: str = ""
    example: Any = None
    sent: Any = None
    errors: tuple[int, ...] = ()
    hides: tuple[str, ...] = ()
    precondition: bool = False
    public: bool = False
    rows: type | None = None


YAML = "application/yaml"
LOST_RACE = "With `If-Match` an edit that lost a race is refused (412), never merged or overwritten."

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("HealthView", "GET"): Operation(
        "health", "Is the server well", "server", shapes.Health, public=True, example=examples.HEALTH,
        text="200, or 503 with the same body when the database does not answer.",
    ),
    ("MetricsView", "GET"): Operation(
        "metrics", "Everything for Prometheus", "server", ("text/plain",), example=examples.PROMETHEUS
    ),
    ("SchemaView", "GET"): Operation(
        "schema", "This document", "server", ("application/vnd.oai.openapi+json",), example=examples.SCHEMA
    ),
    ("DashboardView", "GET"): Operation(
        "dashboard", "The fleet in one answer", "reading", shapes.Dashboard, example=examples.DASHBOARD,
        text="With `Accept: text/html` the dashboard page.",
    ),
    ("AlertsView", "GET"): Operation(
        "alerts", "What is firing now", "reading", shapes.Alerts, example=examples.ALERTS,
        text="Open breakers are errors; what is worth a look is a warning. Errors come first.",
    ),
    ("BreakersView", "GET"): Operation(
        "breakers", "All breakers", "reading", shapes.Rows, query=RowsQuery, example=examples.ROWS
    ),
    ("BreakersView", "POST"): Operation(
        "breaker_create", "Create a breaker", "config", shapes.Breaker, status=201, takes=CreateInput,
        sent=examples.CREATE, example=examples.BREAKER, errors=(409,), text="Absent fields take their default.",
    ),
    ("BreakerView", "GET"): Operation(
        "breaker", "Everything about one", "reading", shapes.Breaker, example=examples.BREAKER
    ),
    ("BreakerView", "DELETE"): Operation(
        "breaker_delete", "Delete its config", "config", None, status=204, precondition=True,
        text="Instances go back to the config they have in code. The history stays.",
    ),
    ("StateView", "GET"): Operation(
        "breaker_state", "Its state", "reading", shapes.BreakerState, example=examples.STATE
    ),
    ("BreakerMetricsView", "GET"): Operation(
        "breaker_metrics", "Its metrics over the fleet", "reading", shapes.Metrics, example=examples.METRICS
    ),
    ("HistoryView", "GET"): Operation(
        "breaker_history", "Its transitions", "reading", shapes.Transitions, query=HistoryQuery,
        example=examples.HISTORY, text="Newest first. What was deleted keeps its history.",
    ),
    ("ChangesView", "GET"): Operation(
        "breaker_changes", "Its audit", "reading", shapes.Changes, query=ChangesQuery,
        example=examples.CHANGES,
        text="Who, when, why, from, to; newest first. What was deleted keeps its audit.",
    ),
    ("HistoryExport", "GET"): Operation(
        "history_export", "Transitions as a file", "reading", ("text/csv", "application/json"), query=HistoryQuery,
        rows=shapes.Transition, example=examples.HISTORY_FILE, text="All of them, streamed; newest first.",
    ),
    ("ChangesExport", "GET"): Operation(
        "changes_export", "The audit as a file", "reading", ("text/csv", "application/json"), query=ChangesQuery,
        rows=shapes.ExportedChange, example=examples.CHANGES_FILE, text="All of it, streamed; newest first.",
    ),
    ("VersionsView", "GET"): Operation(
        "breaker_versions", "Every config it had", "reading", shapes.Versions, query=PageQuery,
        example=examples.VERSIONS,
    ),
    ("ConfigView", "GET"): Operation(
        "breaker_config", "Its config", "reading", shapes.Config, example=examples.CONFIG
    ),
    ("ConfigView", "PUT"): Operation(
        "breaker_config_replace", "Replace its config", "config", shapes.Config, takes=ConfigInput, hides=("name",),
        sent=examples.PUT, example=examples.CONFIG, precondition=True,
        text=f"Absent fields take their default. {LOST_RACE}",
    ),
    ("ConfigView", "PATCH"): Operation(
        "breaker_config_edit", "Change a part of its config", "config", shapes.Config, takes=ConfigInput,
        hides=("name",), sent=examples.PATCH, example=examples.CONFIG, precondition=True, text=LOST_RACE,
    ),
    ("RestoreView", "POST"): Operation(
        "breaker_restore", "An earlier version again", "config", shapes.Config, takes=RestoreInput,
        sent={"version": 2, "reason": "INC-2291"}, example=examples.CONFIG, precondition=True,
        text=f"It becomes a new version. {LOST_RACE}",
    ),
    ("CopyView", "POST"): Operation(
        "breaker_copy", "Copy its config to another", "config", shapes.Config, takes=CopyInput,
        sent={"to": "bank-api-eu"}, example=examples.CONFIG, precondition=True,
        text="The other one is made where there is none. `If-Match` is of this one, `to_version` of the other.",
    ),
    ("ConfigsView", "GET"): Operation(
        "configs_export", "All configs as YAML", "config", (YAML,),
        flags=ExportQuery, errors=(400,), example=examples.DOCUMENT,
    ),
    ("ConfigsView", "POST"): Operation(
        "configs_import", "Import configs", "config", shapes.Import, media=(YAML, "application/json"),
        flags=ImportQuery, sent=examples.DOCUMENT_SENT,
        example=examples.IMPORT, errors=(409,), text="All or nothing; where another version stands by then, nothing.",
    ),
    ("OverrideView", "PUT"): Operation(
        "override_set", "Force it open or closed", "operating", shapes.Overridden, takes=OverrideInput,
        sent=examples.OVERRIDE, example=examples.OVERRIDDEN, errors=(409,), precondition=True,
        text="409 where most of the breakers of its group would then reject every call: say `confirm` to mean it.",
    ),
    ("OverrideView", "DELETE"): Operation(
        "override_release", "Release it", "operating", shapes.Overridden, example=examples.RELEASED, precondition=True,
        text="Lifting `forced_open` is a reset. Without an override nothing is written.",
    ),
    ("ResetView", "POST"): Operation(
        "breaker_reset", "Reset it", "operating", shapes.Reset, takes=ResetInput, sent={"reason": "INC-2291"},
        example=examples.RESET, precondition=True,
        text="A command that lives 60 s: every instance that runs now applies it once.",
    ),
    ("ResetAllView", "POST"): Operation(
        "reset_all", "Reset all", "operating", shapes.ResetAll, takes=ReasonInput, sent={"reason": "after the move"},
        example={"status": "reset_all", "total_breakers": 12, "reset_count": 12},
    ),
}  # fmt: skip


def answers(operations: Sequence[Operation]) -> list[type]:
    """The shapes of these, and of what goes wrong."""
    given = [each.answer for each in operations if isinstance(each.answer, type)]
    return [*given, *(each.rows for each in operations if each.rows is not None), shapes.Problem]
