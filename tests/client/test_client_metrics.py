"""What Prometheus reads in a service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import breakers
from breakers import CircuitBreakerConfig, CircuitBreakerOpenError
from breakers.client.metrics import register
from breakers.core.latency import BOUNDS
from breakers.testing import fresh_registry


def scraped(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and sorted labels, through Prometheus' own text and parser."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def fail() -> None:
    raise ConnectionError


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with fresh_registry():
        yield


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    register(made)
    return made


def test_a_breaker_is_there_before_any_traffic(registry: CollectorRegistry) -> None:
    breakers.get_circuit_breaker("metrics-idle")
    found = scraped(registry)
    name = ("name", "metrics-idle")
    assert found["circuit_breaker_state", (name, ("state", "closed"))] == 0
    assert found["circuit_breaker_requests_total", (name, ("state", "closed"))] == 0
    assert found["circuit_breaker_call_duration_seconds_count", (name,)] == 0
    assert ("circuit_breaker_config_version", (name,)) not in found


def test_counts_states_and_transitions(registry: CollectorRegistry) -> None:
    breaker = breakers.get_circuit_breaker("metrics-busy", CircuitBreakerConfig(failure_threshold=2))
    breaker.call_sync(int)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            breaker.call_sync(fail)
    for _ in range(3):
        with pytest.raises(CircuitBreakerOpenError):
            breaker.call_sync(int)
    found = scraped(registry)
    name = ("name", "metrics-busy")
    assert found["circuit_breaker_requests_total", (name, ("state", "closed"))] == 3
    assert found["circuit_breaker_requests_total", (name, ("state", "open"))] == 3
    assert found["circuit_breaker_requests_total", (name, ("state", "half_open"))] == 0
    assert found["circuit_breaker_successes_total", (name,)] == 1
    assert found["circuit_breaker_failures_total", (name,)] == 2
    assert found["circuit_breaker_rejected_total", (name,)] == 3
    assert found["circuit_breaker_state", (name, ("state", "open"))] == 1
    assert ("circuit_breaker_state", (name, ("state", "closed"))) not in found  # one sample a breaker
    assert [found["circuit_breaker_instances", (name, ("state", s))] for s in ("closed", "open", "half_open")] == [
        0,
        1,
        0,
    ]
    labels = (("from", "closed"), name, ("reason", "consecutive_failures"), ("to", "open"))
    assert found["circuit_breaker_transitions_total", labels] == 1


def test_probes_are_requests_of_the_half_open_state(registry: CollectorRegistry) -> None:
    config = CircuitBreakerConfig(failure_threshold=1, recovery_timeout=1e-6, success_threshold=2)
    breaker = breakers.get_circuit_breaker("metrics-probed", config)
    with pytest.raises(ConnectionError):
        breaker.call_sync(fail)
    assert breaker.call_sync(int) == 0
    found = scraped(registry)
    name = ("name", "metrics-probed")
    by_state = {
        state: found["circuit_breaker_requests_total", (name, ("state", state))]
        for state in ("closed", "open", "half_open")
    }
    assert by_state == {"closed": 1, "open": 0, "half_open": 1}
    assert found["circuit_breaker_state", (name, ("state", "half_open"))] == 2


def test_durations_are_a_cumulative_histogram(registry: CollectorRegistry) -> None:
    now = [0.0]
    process = breakers.registry
    process.clock, usual = (lambda: now[0]), process.clock
    breaker = breakers.get_circuit_breaker("metrics-slow")
    process.clock = usual

    def takes(seconds: float) -> None:
        now[0] += seconds

    for seconds in (0.02, 0.2, 0.2, 1e6):
        breaker.call_sync(takes, seconds)
    found = scraped(registry)
    buckets = {
        float(dict(labels)["le"]): value
        for (sample, labels), value in found.items()
        if sample == "circuit_breaker_call_duration_seconds_bucket" and ("name", "metrics-slow") in labels
    }
    assert [count for _, count in sorted(buckets.items())] == sorted(buckets.values())
    assert max(count for bound, count in buckets.items() if bound < 0.2) == 1
    assert min(count for bound, count in buckets.items() if bound >= 0.25) == 3
    assert (
        buckets[float("inf")] == found["circuit_breaker_call_duration_seconds_count", (("name", "metrics-slow"),)] == 4
    )
    bounds = {f"{bound:.6g}" for bound in BOUNDS}
    assert all(f"{bound:.6g}" in bounds for bound in buckets if bound != float("inf"))


def test_limits_and_slow_calls_by_the_config(registry: CollectorRegistry) -> None:
    config = CircuitBreakerConfig(failure_rate_threshold=0.5, slow_call_duration=1e-9, slow_call_rate_threshold=0.25)
    breakers.get_circuit_breaker("metrics-limited", config).call_sync(sum, range(1000))
    breakers.get_circuit_breaker("metrics-free").call_sync(int)
    found = scraped(registry)
    for family, limit in (("failure_rate_threshold", 0.5), ("slow_call_rate_threshold", 0.25)):
        assert found[f"circuit_breaker_{family}", (("name", "metrics-limited"),)] == limit
        assert (f"circuit_breaker_{family}", (("name", "metrics-free"),)) not in found
    assert found["circuit_breaker_slow_calls_total", (("name", "metrics-limited"),)] == 1
    assert found["circuit_breaker_slow_calls_total", (("name", "metrics-free"),)] == 0


def test_the_version_that_the_fleet_gave(registry: CollectorRegistry) -> None:
    breaker = breakers.get_circuit_breaker("metrics-versioned")
    breaker.apply_fleet_config(CircuitBreakerConfig(name="metrics-versioned", failure_threshold=7), 4)
    assert scraped(registry)["circuit_breaker_config_version", (("name", "metrics-versioned"),)] == 4


def test_registering_twice_changes_nothing(registry: CollectorRegistry) -> None:
    before = generate_latest(registry)
    register(registry)
    assert generate_latest(registry).count(b"# TYPE") == before.count(b"# TYPE") == 12
