"""From a breaker's snapshot to what a report says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields

from .snapshot import BreakerSnapshot
from .wire import BreakerStatus, Counts, OverrideStatus, WindowCounts

_COUNTERS = tuple(f.name for f in fields(Counts))


class Baseline:
    """What a breaker has counted and reports leave out: a forked child does not count its parent's calls again.

    Below zero is what they add: what was reported of a forgotten breaker of that name.
    """

    __slots__ = ("counts", "latency")

    def __init__(self, counts: Mapping[str, int], latency: Mapping[int, int]) -> None:
        self.counts, self.latency = Counter(counts), Counter(latency)

    @classmethod
    def of(cls, snapshot: BreakerSnapshot) -> Baseline:
        return cls({name: getattr(snapshot.counts, name) for name in _COUNTERS}, snapshot.latency)

    @classmethod
    def after(cls, last: BreakerStatus) -> Baseline:
        """For the one that is made anew after this was the last that was said of the name."""
        counts = {name: -count for name, count in asdict(last.counts).items()}
        return cls(counts, {int(index): -count for index, count in last.latency.items()})


_NOTHING = Baseline({}, {})


def status_of(snapshot: BreakerSnapshot, baseline: Baseline | None) -> BreakerStatus:
    """``snapshot`` as it travels, without what ``baseline`` holds. Microseconds."""
    before = baseline or _NOTHING
    counts = {name: getattr(snapshot.counts, name) - before.counts[name] for name in _COUNTERS}
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
        latency=_latency(snapshot.latency, before.latency),
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
    grown = ((index, latency.get(index, 0) - before.get(index, 0)) for index in sorted({*latency, *before}))
    return {str(index): count for index, count in grown if count > 0}
