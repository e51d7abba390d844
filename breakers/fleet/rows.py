"""What people and programs read of one breaker or instance, derived from facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from breakers.core.latency import LatencyHistogram
from breakers.core.states import Override
from breakers.models import BreakerRecord

from .events import iso
from .observed import COUNT_NAMES, InstanceFacts, Observation
from .rates import share
from .view import HALF_OPEN, OPEN, SEVERITY, Applied, BreakerView, InstanceCounts, OverrideRow, Row

Live = Iterable[tuple[InstanceFacts, Observation]]


def derive_row(view: BreakerView, record: BreakerRecord, now: datetime) -> Row:
    """The row of one breaker. O(its instances)."""
    live = view.live()
    histogram = histogram_of(view)
    override = view.override(now)
    return Row(
        name=view.name,
        group=record.group,
        state=view.state.value,
        override=override,
        services=sorted({facts.identity.service for facts, _ in view.members.values()}),
        instances=_instance_counts(view),
        since=iso(view.since),
        retry_at=iso(retry_at_of(live)),
        cause=view.causes[view.state][1] if view.state in view.causes else None,
        rates=view.flow.rates,
        failure_rate=_failure_rate(view, live),
        p50=rounded(histogram.quantile(0.5)),
        p95=rounded(histogram.quantile(0.95)),
        p99=rounded(histogram.quantile(0.99)),
        version=record.version,
        applied=_applied(live, record),
        limit=record.config.failure_rate_threshold,
        trend=view.flow.trend(),
        ready_to_probe=_ready(live, override, now),
    )


def histogram_of(view: BreakerView) -> LatencyHistogram:
    """Of all calls that the fleet ever told of."""
    return merged(view.latency)


def merged(latency: Mapping[str, int]) -> LatencyHistogram:
    """Of buckets as they travel."""
    return LatencyHistogram({int(bucket): count for bucket, count in latency.items()})


def _instance_counts(view: BreakerView) -> InstanceCounts:
    closed, half_open, opened = view.live_states
    silent = len(view.members) - closed - half_open - opened
    return InstanceCounts(total=len(view.members), closed=closed, half_open=half_open, open=opened, silent=silent)


def retry_at_of(live: Live) -> datetime | None:
    """When the first open instance lets a probe through."""
    return min((o.retry_at for _, o in live if o.retry_at is not None), default=None)


def _ready(live: Live, override: OverrideRow | None, now: datetime) -> bool:
    """Whether the breaker is open, but each open instance would let the next call through as a probe."""
    if override is not None and override["override"] == Override.FORCED_OPEN.value:
        return False
    waits = [o.retry_at for _, o in live if o.state is OPEN]
    return bool(waits) and all(wait is not None and wait <= now for wait in waits)


def window_of(live: Live) -> tuple[int, int, int, bool]:
    """Calls, failures and slow calls of the windows of the live instances, and whether any keeps one."""
    calls = failures = slow = 0
    kept = False
    for _, observation in live:
        window = observation.window
        if window is not None:
            kept = True
            calls, failures, slow = calls + window.calls, failures + window.failures, slow + window.slow
    return calls, failures, slow, kept


def _failure_rate(view: BreakerView, live: Live) -> float | None:
    calls, failures, _, kept = window_of(live)
    return share(failures, calls) if kept else view.flow.recent


def _applied(live: Live, record: BreakerRecord) -> Applied:
    confirmed = [facts.has_applied(record.name, record.revision) for facts, _ in live]
    return Applied(on=sum(confirmed), of=len(confirmed))


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.4g}")


def derive_instance_rows(view: BreakerView, record: BreakerRecord) -> list[dict[str, Any]]:
    """The instances of one breaker, worst first, then by service and host."""
    members = sorted(view.members.values(), key=lambda member: _rank(*member))
    return [_instance_row(facts, observation, record) for facts, observation in members]


def _rank(facts: InstanceFacts, observation: Observation) -> tuple[bool, int, str, str, str]:
    identity = facts.identity
    return not facts.live, -SEVERITY[observation.state], identity.service, identity.host, str(identity.id)


def _instance_row(facts: InstanceFacts, observation: Observation, record: BreakerRecord) -> dict[str, Any]:
    window, override = observation.window, observation.override
    counts = dict(zip(COUNT_NAMES, observation.counts, strict=True))
    refused = facts.refusals[record.name].error if facts.refuses(record.name, record.revision) else None
    return {
        "instance": str(facts.identity.id),
        "service": facts.identity.service,
        "host": facts.identity.host,
        "pid": facts.identity.pid,
        "state": observation.state.value,
        "silent": not facts.live,
        "last_seen": iso(facts.last_seen),
        "since": iso(observation.since),
        "retry_at": iso(observation.retry_at),
        "revision": facts.revision,
        "applied": facts.has_applied(record.name, record.revision),
        "refused": refused,
        "config_version": observation.config_version,
        "failure_rate": None if window is None else share(window.failures, window.calls),
        "calls": counts["successes"] + counts["failures"] + counts["ignored"] + counts["late"],
        "failures": counts["failures"],
        "rejected": counts["rejected"],
        "override": None if override is None else override.override.value,
        "override_origin": None if override is None else override.origin,
    }


def derive_instance(facts: InstanceFacts) -> dict[str, Any]:
    """One process, with everything that it guards counted."""
    states = [observation.state for observation in facts.breakers.values() if not observation.forgotten]
    return {
        "instance": str(facts.identity.id),
        "service": facts.identity.service,
        "host": facts.identity.host,
        "pid": facts.identity.pid,
        "library": facts.identity.library,
        "started_at": iso(facts.identity.started_at),
        "first_seen": iso(facts.first_seen),
        "last_seen": iso(facts.last_seen),
        "linked": facts.linked or (facts.direct and facts.live),
        "silent": not facts.live,
        "revision": facts.revision,
        "skew": None if facts.skew is None else round(facts.skew, 3),
        "dropped": facts.dropped,
        "breakers": len(states),
        "open": sum(state is OPEN for state in states),
        "half_open": sum(state is HALF_OPEN for state in states),
        "refused": sorted(facts.refusals),
    }
