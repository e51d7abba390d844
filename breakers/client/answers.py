"""The JSON that the control plane answers with, as types. Times are ISO 8601 in UTC, durations seconds."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

__all__ = [
    "Alert",
    "Alerts",
    "Applied",
    "BreakerInfo",
    "BreakerMetrics",
    "BreakerRow",
    "BreakerState",
    "ChangeRow",
    "Dashboard",
    "Health",
    "HistoryRow",
    "InstanceCounts",
    "InstanceRow",
    "OverrideDone",
    "OverrideInForce",
    "Rates",
    "ResetAllDone",
    "ResetDone",
    "SavedConfig",
    "Summary",
]


class Health(TypedDict):
    status: str
    """``healthy``, or ``unhealthy`` when the database is gone."""
    service: str
    timestamp: str
    checks: dict[str, Any]
    degraded: NotRequired[list[str]]
    """What is away without which it serves all the same."""
    events: NotRequired[dict[str, Any]]
    """Where it has a stream of events: whether that flows."""


class InstanceCounts(TypedDict):
    total: int
    """The silent ones included."""
    closed: int
    half_open: int
    open: int
    silent: int


class OverrideInForce(TypedDict):
    override: str
    reason: str
    by: str
    expires_at: str | None


class Rates(TypedDict):
    """Per second."""

    calls: float
    failures: float
    rejected: float


class Applied(TypedDict):
    """How many of the live instances have confirmed the latest revision."""

    on: int
    of: int


class BreakerRow(TypedDict):
    """One breaker over the whole fleet; ``state`` is the worst of its live instances."""

    name: str
    group: str
    state: str
    override: OverrideInForce | None
    services: list[str]
    instances: InstanceCounts
    since: str | None
    retry_at: str | None
    cause: str | None
    rates: Rates
    failure_rate: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    version: int
    applied: Applied
    limit: float | None
    """``failure_rate_threshold``."""
    trend: list[float | None]
    """Percent failed per 10 s, oldest first; ``None``: no calls."""
    ready_to_probe: bool


class BreakerState(TypedDict):
    name: str
    state: str
    override: OverrideInForce | None
    is_open: bool
    """Also true when forced open."""
    is_half_open: bool
    is_closed: bool
    since: str | None
    instances: InstanceCounts


class BreakerMetrics(TypedDict):
    """As a breaker's own ``get_metrics()``: totals summed, percentiles from merged histograms."""

    state: str
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
    window: dict[str, Any] | None
    last_failure_time: float | None
    last_success_time: float | None
    opened_at: float | None
    retry_after: float | None
    latency: dict[str, Any]
    config: dict[str, Any]
    config_version: int | None


class InstanceRow(TypedDict, total=False):
    """One breaker in one process."""

    instance: str
    service: str
    host: str
    pid: int
    state: str
    silent: bool
    last_seen: str
    since: str | None
    retry_at: str | None
    revision: int
    applied: bool
    refused: str | None
    config_version: int | None
    """Of the fleet's config that it has in force."""
    failure_rate: float | None
    calls: int
    failures: int
    rejected: int
    override: str | None
    override_origin: str | None


class HistoryRow(TypedDict):
    """One transition of one instance."""

    id: int
    at: str
    """By the instance's clock."""
    received_at: str
    name: str
    sequence: int
    service: str
    instance: str
    from_state: str
    to_state: str
    reason: str
    cause: str
    epoch: int
    failures: int
    calls: int
    failure_rate: float | None


class ChangeRow(TypedDict):
    """What a person or a program did: who, when, why, from, to."""

    id: int
    at: str
    name: str
    kind: str
    """``created``, ``registered``, ``edited``, ``deleted``, ``reset``, ``override_set`` or ``override_released``."""
    revision: int
    command: str | None
    instance: str | None
    request_id: str
    actor: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int | None


class BreakerInfo(BreakerRow):
    description: str
    managed: bool
    """Instances take this config; else it only records what a service has in code."""
    config: dict[str, Any]
    metrics: BreakerMetrics
    instance_rows: list[InstanceRow]
    recent: list[HistoryRow]


class OverrideDone(TypedDict):
    name: str
    override: OverrideInForce | None
    state: str
    version: int
    applied: Applied


class SavedConfig(TypedDict):
    """A config as it now stands, that of its HTTP rules included."""

    name: str
    config: dict[str, Any]
    version: int
    applied: Applied
    warnings: list[str]
    """About values that are legal and hardly meant."""


class ResetInstances(TypedDict):
    targeted: int
    confirmed: int
    silent: int


class ResetDone(TypedDict):
    status: str
    name: str
    new_state: str
    command: str
    """The id of the reset, that of its line in the changes."""
    instances: ResetInstances


class ResetAllDone(TypedDict):
    status: str
    total_breakers: int
    reset_count: int


class Summary(TypedDict):
    total: int
    open: int
    half_open: int
    closed: int
    forced_open: int
    forced_closed: int
    ready_to_probe: int
    without_live_instances: int
    instances: int
    """The silent ones included."""
    silent: int
    requests: int
    failures: int
    successes: int
    rejected: int
    failure_rate: float | None
    worst: str | None
    """The name of the breaker that needs a person first."""
    last_change: str | None
    verdict: str
    """All of it in a sentence."""


class Dashboard(TypedDict):
    summary: Summary
    breakers: list[BreakerRow]


class Alert(TypedDict):
    level: str
    name: str
    kind: str
    message: str
    since: str | None
    cause: str | None
    link: str
    """The page about it, relative to the control plane."""


class Alerts(TypedDict):
    alerts: list[Alert]
    alert_count: int
