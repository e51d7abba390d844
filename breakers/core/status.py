"""From a breaker's snapshot to what a report says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from .snapshot import BreakerSnapshot
from .wire import BreakerStatus, Counts, OverrideStatus, WindowCounts

_COUNTERS = tuple(f.name for f in fields(Counts))


class Baseline:
    """What a breaker had counted before this instance began: a forked child does not count its parent's calls again."""

    __slots__ = ("counts", "latency")

    def __init__(self, snapshot: BreakerSnapshot) -> None:
        self.counts = {name: getattr(snapshot.counts, name) for name in _COUNTERS}
        self.latency = dict(snapshot.latency)


def status_of(snapshot: BreakerSnapshot, baseline: Baseline | None) -> BreakerStatus:
    """``snapshot`` as it travels, without what ``baseline`` holds. Microseconds."""
    before: Mapping[str, int] = baseline.counts if baseline else {}
    counts = {name: getattr(snapshot.counts, name) - before.get(name, 0) for name in _COUNTERS}
    window = snapshot.window
    return BreakerStatus(
        name=snapshot.name,
        state=snapshot.state,
        epoch=snapshot.epoch,
        state_age=snapshot.state_age,
        retry_in=snapshot.retry_after,
        override=_override(snapshot),
        config_version=snapshot.config_version,
        consecutive_failures=snapshot.consecutive_failures,
        counts=Counts(**counts),
        window=None if window is None else WindowCounts(window.calls, window.failures, window.slow),
        latency=_latency(snapshot.latency, baseline.latency if baseline else {}),
        last_failure_time=snapshot.last_failure_time,
        last_success_time=snapshot.last_success_time,
    )


def _override(snapshot: BreakerSnapshot) -> OverrideStatus | None:
    if snapshot.override is None:
        return None
    return OverrideStatus(
        snapshot.override, snapshot.override_origin or "code", snapshot.override_reason, snapshot.override_expires_in
    )


def _latency(latency: Mapping[int, int], before: Mapping[int, int]) -> dict[str, int]:
    grown = ((index, count - before.get(index, 0)) for index, count in latency.items())
    return {str(index): count for index, count in grown if count > 0}
