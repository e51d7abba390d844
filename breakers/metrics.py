"""What Prometheus is told of the fleet: names and labels of the contract, never an instance as a label."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from weakref import WeakSet

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from breakers.core.latency import BOUNDS, LatencyHistogram
from breakers.fleet import Counted, Fleet, Picture, fleet

_STATE_VALUES = {"closed": 0, "open": 1, "half_open": 2}
_WISHED = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BUCKETS = tuple(sorted({bisect_left(BOUNDS, seconds) for seconds in _WISHED}))
"""Indices into the fleet's own buckets: exact counts at odd bounds rather than guessed ones at round bounds."""


class FleetCollector(Collector):
    """Reads the fleet's memory, once a scrape, under one lock: the samples of a scrape belong together."""

    def __init__(self, observed: Fleet = fleet) -> None:
        self._fleet = observed
        self._lock = threading.Lock()
        self._highest: dict[tuple[str, str], int] = {}

    def describe(self) -> Iterable[Metric]:
        """The families without samples, so that registering asks the fleet nothing."""
        return self._families(Picture((), {}, 0))

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            return list(self._families(self._fleet.picture()))

    def _families(self, picture: Picture) -> Iterator[Metric]:
        yield self._requests(picture)
        for outcome in ("successes", "failures", "rejected"):
            yield _totals(picture, outcome)
        yield _states(picture)
        yield _instances(picture)
        yield _transitions(picture)
        yield _durations(picture)
        yield _versions(picture)
        yield GaugeMetricFamily("circuit_breaker_agents", "Links to the control plane that are up.", picture.agents)

    def _requests(self, picture: Picture) -> Metric:
        text = "Requests by the state in which they were made; those of open are the rejected."
        family = CounterMetricFamily("circuit_breaker_requests", text, labels=["name", "state"])
        for counted in picture.breakers:
            name = counted.row["name"]
            for state, count in requests_by_state(counted).items():
                family.add_metric([name, state], self._risen(name, state, count))
        return family

    def _risen(self, name: str, state: str, count: int) -> int:
        """A difference of two counters may dip when they are told apart in time; a counter must not."""
        highest = max(count, self._highest.get((name, state), 0))
        self._highest[name, state] = highest
        return highest


def requests_by_state(counted: Counted) -> dict[str, int]:
    """Rejections were requested in OPEN, probes in HALF_OPEN, the rest in CLOSED."""
    totals = counted.totals
    rejected, probes = totals["rejected_total"], totals["probes_total"]
    closed = max(totals["requests_total"] - rejected - probes, 0)
    return {"closed": closed, "open": rejected, "half_open": probes}


def _totals(picture: Picture, outcome: str) -> Metric:
    family = CounterMetricFamily(f"circuit_breaker_{outcome}", f"Calls: {outcome}.", labels=["name"])
    for counted in picture.breakers:
        family.add_metric([counted.row["name"]], counted.totals[f"{outcome}_total"])
    return family


def _states(picture: Picture) -> Metric:
    text = "State over the fleet: 0 closed, 1 open, 2 half-open."
    family = GaugeMetricFamily("circuit_breaker_state", text, labels=["name", "state"])
    for counted in picture.breakers:
        state = counted.row["state"]
        family.add_metric([counted.row["name"], state], _STATE_VALUES[state])
    return family


def _instances(picture: Picture) -> Metric:
    family = GaugeMetricFamily("circuit_breaker_instances", "Instances by state.", labels=["name", "state"])
    for counted in picture.breakers:
        name, counts = counted.row["name"], counted.row["instances"]
        family.add_metric([name, "closed"], counts["closed"])
        family.add_metric([name, "half_open"], counts["half_open"])
        family.add_metric([name, "open"], counts["open"])
        family.add_metric([name, "silent"], counts["silent"])
    return family


def _transitions(picture: Picture) -> Metric:
    labels = ["name", "from", "to", "reason"]
    family = CounterMetricFamily("circuit_breaker_transitions", "State changes of instances.", labels=labels)
    for key, count in sorted(picture.transitions.items()):
        family.add_metric(list(key), count)
    return family


def _durations(picture: Picture) -> Metric:
    text = "How long calls took."
    family = HistogramMetricFamily("circuit_breaker_call_duration_seconds", text, labels=["name"])
    for counted in picture.breakers:
        latency = counted.latency
        family.add_metric([counted.row["name"]], cumulated(latency), latency.sum_seconds)
    return family


def cumulated(latency: LatencyHistogram) -> list[tuple[str, float]]:
    """Pairs (``le``, calls that took at most so long), ending with all of them."""
    counts = [latency.counts.get(index, 0) for index in range(len(BOUNDS) + 1)]
    so_far = list(accumulate(counts))
    return [*((f"{BOUNDS[index]:.6g}", float(so_far[index])) for index in BUCKETS), ("+Inf", float(so_far[-1]))]


def _versions(picture: Picture) -> Metric:
    family = GaugeMetricFamily("circuit_breaker_config_version", "Version of the config.", labels=["name"])
    for counted in picture.breakers:
        family.add_metric([counted.row["name"]], counted.row["version"])
    return family


_registered: WeakSet[CollectorRegistry] = WeakSet()


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Has ``registry`` tell of the fleet; a second call changes nothing."""
    if registry not in _registered:
        registry.register(FleetCollector())
        _registered.add(registry)
