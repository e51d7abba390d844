"""Prometheus in a service: its own breakers under the names that the control plane uses for the fleet's."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from weakref import WeakSet

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from breakers.core.breaker import CircuitBreaker
from breakers.core.latency import BOUNDS, LatencyHistogram
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.registry import registry as process_registry
from breakers.core.snapshot import BreakerSnapshot
from breakers.core.states import CircuitBreakerState, Transition

_STATE_VALUES = {CircuitBreakerState.CLOSED: 0, CircuitBreakerState.OPEN: 1, CircuitBreakerState.HALF_OPEN: 2}
_WISHED = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BUCKETS = tuple(sorted({bisect_left(BOUNDS, seconds) for seconds in _WISHED}))
"""The histogram's own buckets nearest to round numbers: exact counts, and those of the control plane."""

_registered: WeakSet[CollectorRegistry] = WeakSet()
_lock = threading.Lock()


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Has ``registry`` tell of every breaker in this process's registry; a second call changes nothing.

    Transitions are counted from here on, everything else since the breakers were made.
    """
    with _lock:
        if registry not in _registered:
            registry.register(BreakerCollector(process_registry))
            _registered.add(registry)


class BreakerCollector(Collector):
    """Reads each breaker once a scrape, in one consistent cut; calls are not slowed."""

    def __init__(self, breakers: CircuitBreakerRegistry) -> None:
        self._breakers = breakers
        self._transitions: Counter[tuple[str, str, str, str]] = Counter()
        self._lock = threading.Lock()
        breakers.on_transition(self._count)

    def _count(self, breaker: CircuitBreaker, happened: Transition) -> None:
        with self._lock:
            self._transitions[happened.name, happened.from_state, happened.to_state, happened.reason] += 1

    def describe(self) -> Iterable[Metric]:
        return self._families([])

    def collect(self) -> Iterable[Metric]:
        return self._families([breaker.snapshot() for breaker in self._breakers.all()])

    def _families(self, seen: list[BreakerSnapshot]) -> Iterator[Metric]:
        yield _requests(seen)
        yield _counter(seen, "successes", "Calls that succeeded.", lambda one: one.counts.successes)
        yield _counter(seen, "failures", "Calls that failed.", lambda one: one.counts.failures)
        yield _counter(
            seen, "rejected", "Calls that were rejected without being made.", lambda one: one.counts.rejected
        )
        yield _counter(
            seen, "slow_calls", "Calls that took as long as the config calls slow.", lambda one: one.counts.slow
        )
        yield _states(seen)
        yield _instances(seen)
        yield self._changes()
        yield _durations(seen)
        yield _versions(seen)
        yield _limit(seen, "failure_rate_threshold", "Share of failures that opens; absent where that rule is off.")
        yield _limit(seen, "slow_call_rate_threshold", "Share of slow calls that opens; absent where off.")

    def _changes(self) -> Metric:
        labels = ["name", "from", "to", "reason"]
        family = CounterMetricFamily("circuit_breaker_transitions", "State changes.", labels=labels)
        with self._lock:
            counted = sorted(self._transitions.items())
        for key, count in counted:
            family.add_metric([str(word) for word in key], count)
        return family


def _requests(seen: list[BreakerSnapshot]) -> Metric:
    text = "Requests by the state in which they were made; those of open are the rejected."
    family = CounterMetricFamily("circuit_breaker_requests", text, labels=["name", "state"])
    for one in seen:
        counts = one.counts
        family.add_metric([one.name, "closed"], counts.requests - counts.rejected - counts.probes)
        family.add_metric([one.name, "open"], counts.rejected)
        family.add_metric([one.name, "half_open"], counts.probes)
    return family


def _counter(seen: list[BreakerSnapshot], what: str, text: str, count: Callable[[BreakerSnapshot], int]) -> Metric:
    family = CounterMetricFamily(f"circuit_breaker_{what}", text, labels=["name"])
    for one in seen:
        family.add_metric([one.name], count(one))
    return family


def _states(seen: list[BreakerSnapshot]) -> Metric:
    text = "State: 0 closed, 1 open, 2 half-open."
    family = GaugeMetricFamily("circuit_breaker_state", text, labels=["name", "state"])
    for one in seen:
        family.add_metric([one.name, one.state], _STATE_VALUES[one.state])
    return family


def _instances(seen: list[BreakerSnapshot]) -> Metric:
    family = GaugeMetricFamily("circuit_breaker_instances", "Whether this one has the state.", labels=["name", "state"])
    for one in seen:
        for state in _STATE_VALUES:
            family.add_metric([one.name, state], one.state is state)
    return family


def _durations(seen: list[BreakerSnapshot]) -> Metric:
    text = "How long calls took."
    family = HistogramMetricFamily("circuit_breaker_call_duration_seconds", text, labels=["name"])
    for one in seen:
        so_far = list(accumulate(one.latency.get(index, 0) for index in range(len(BOUNDS) + 1)))
        buckets = [(f"{BOUNDS[index]:.6g}", float(so_far[index])) for index in _BUCKETS]
        family.add_metric(
            [one.name], [*buckets, ("+Inf", float(so_far[-1]))], LatencyHistogram(one.latency).sum_seconds
        )
    return family


def _versions(seen: list[BreakerSnapshot]) -> Metric:
    text = "Version of the config in force; absent while that is the code's own."
    family = GaugeMetricFamily("circuit_breaker_config_version", text, labels=["name"])
    for one in seen:
        if one.config_version is not None:
            family.add_metric([one.name], one.config_version)
    return family


def _limit(seen: list[BreakerSnapshot], field: str, text: str) -> Metric:
    family = GaugeMetricFamily(f"circuit_breaker_{field}", text, labels=["name"])
    for one in seen:
        limit: float | None = getattr(one.config, field)
        if limit is not None:
            family.add_metric([one.name], limit)
    return family
