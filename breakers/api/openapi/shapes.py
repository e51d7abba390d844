"""The answers of the API as types."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from breakers.alerts import Alert
from breakers.fleet import Progress, Row, Summary
from breakers.fleet.view import Applied, InstanceCounts, OverrideRow

State = Literal["closed", "open", "half_open"]


class Error(TypedDict):
    """``fields`` maps each wrong field to a sentence; it is empty where no field is to blame."""

    code: str
    message: str
    fields: dict[str, str]


class Problem(TypedDict):
    """Whatever goes wrong has this shape."""

    error: Error


class BreakerState(TypedDict):
    """The three questions have one yes. ``is_open`` is true also when forced open."""

    name: str
    state: State
    override: OverrideRow | None
    is_open: bool
    is_half_open: bool
    is_closed: bool
    since: str | None
    instances: InstanceCounts


class Rows(TypedDict):
    """One page."""

    count: int
    next: str | None
    previous: str | None
    results: list[Row]


class Window(TypedDict):
    """Over the windows of the live instances; rates are null below ``minimum_calls``."""

    calls: int
    failures: int
    slow: int
    failure_rate: float | None
    slow_call_rate: float | None


class Latency(TypedDict):
    """``counts``: calls by bucket of the mergeable histogram; percentiles in seconds."""

    counts: dict[str, int]
    p50: float | None
    p95: float | None
    p99: float | None


class Metrics(TypedDict):
    """Totals are summed over all instances that ever were, and never go down."""

    state: State
    override: str | None
    requests_total: int
    successes_total: int
    failures_total: int
    rejected_total: int
    ignored_total: int
    late_total: int
    would_reject_total: int
    timeouts_total: int
    slow_total: int
    state_changes_total: int
    probes_total: int
    consecutive_failures: int
    window: Window
    last_failure_time: float | None
    last_success_time: float | None
    opened_at: float | None
    retry_after: float | None
    latency: Latency
    config: dict[str, Any]
    config_version: int


class InstanceRow(TypedDict):
    """One process that has the breaker; gone ones are left out."""

    instance: str
    service: str
    host: str
    pid: int
    state: State
    silent: bool
    last_seen: str
    since: str | None
    retry_at: str | None
    revision: int
    applied: bool
    refused: str | None
    config_version: int | None
    failure_rate: float | None
    calls: int
    failures: int
    rejected: int
    override: str | None
    override_origin: str | None


class Transition(TypedDict):
    """One transition of one instance. ``at`` is by the instance's clock, ``received_at`` by the server's."""

    id: int
    at: str
    received_at: str
    name: str
    service: str
    instance: str
    sequence: int
    from_state: State
    to_state: State
    reason: str
    cause: str
    epoch: int
    failures: int
    calls: int
    failure_rate: float | None


class Transitions(TypedDict):
    """One page, newest first."""

    count: int
    next: str | None
    previous: str | None
    results: list[Transition]


class Change(TypedDict):
    """One line of the audit: who, when, why, from, to."""

    id: int
    at: str
    name: str
    kind: str
    actor: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int | None
    revision: int
    command: str | None
    instance: str | None
    request_id: str


class ExportedChange(TypedDict):
    """One line of the audit, as a file has it."""

    at: str
    name: str
    kind: str
    actor: str
    reason: str
    version: int | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    instance: str | None
    command: str | None
    revision: int


class Changes(TypedDict):
    """One page, newest first."""

    count: int
    next: str | None
    previous: str | None
    results: list[Change]


class Version(TypedDict):
    """A config that the breaker had: who made it, when and why."""

    version: int
    at: str
    kind: str
    actor: str
    reason: str
    group: str
    config: dict[str, Any]


class Versions(TypedDict):
    """One page, newest first."""

    count: int
    next: str | None
    previous: str | None
    results: list[Version]


class Breaker(Row):
    """The row, with everything about this one breaker."""

    description: str
    managed: bool
    config: dict[str, Any]
    metrics: Metrics
    instance_rows: list[InstanceRow]
    recent: list[Transition] | None


class Config(TypedDict):
    """The config that stands now; ``warnings`` about values that are legal and hardly meant."""

    name: str
    config: dict[str, Any]
    version: int
    applied: Applied
    warnings: list[str]


class Overridden(TypedDict):
    """What stands now; ``applied`` counts the instances that confirmed it."""

    name: str
    override: OverrideRow | None
    state: State
    version: int
    applied: Applied


class Reset(TypedDict):
    """The command was given; instances confirm as they hear of it."""

    status: Literal["reset"]
    name: str
    new_state: Literal["closed"]
    command: str
    instances: Progress


class ResetAll(TypedDict):
    status: Literal["reset_all"]
    total_breakers: int
    reset_count: int


class Dashboard(TypedDict):
    summary: Summary
    breakers: list[Row]


class Alerts(TypedDict):
    alerts: list[Alert]
    alert_count: int


class Checks(TypedDict):
    database: Literal["ok", "failed"]
    channel_layer: Literal["ok", "failed"]


# a word of the language is one of the keys
Events = TypedDict(
    "Events",
    {
        "in": Literal["ok", "failed"],
        "out": Literal["ok", "failed"],
        "lag": int,
        "waiting": int,
        "waiting_seconds": float,
    },
)


class Degraded(TypedDict, total=False):
    degraded: list[Literal["redis", "events"]]
    events: Events


class Health(Degraded):
    """``degraded`` is there while something is away without which it serves, with what that is.

    ``events`` is there where the server has a stream of events.
    """

    status: Literal["healthy", "unhealthy"]
    service: Literal["circuit_breaker_service"]
    timestamp: str
    checks: Checks


class ImportLine(TypedDict):
    """What an import does, or would do, to one breaker; ``differences`` maps a setting to before and after."""

    name: str
    action: str
    version: int | None
    differences: dict[str, list[Any]]
    problem: str | None
    warnings: list[str]


class Import(TypedDict):
    dry_run: bool
    writes: int
    refused: bool
    breakers: list[ImportLine]
