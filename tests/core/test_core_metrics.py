"""Section 1.5: what ``get_metrics()`` says."""

from __future__ import annotations

import json
import time

import pytest

from breakers.core.states import CircuitBreakerState, Outcome

KEYS = {
    "state",
    "override",
    "requests_total",
    "successes_total",
    "failures_total",
    "rejected_total",
    "ignored_total",
    "late_total",
    "would_reject_total",
    "timeouts_total",
    "slow_total",
    "state_changes_total",
    "probes_total",
    "consecutive_failures",
    "window",
    "last_failure_time",
    "last_success_time",
    "opened_at",
    "retry_after",
    "latency",
    "config",
    "config_version",
}


def test_a_fresh_breaker_has_every_key_and_nothing_to_tell(make) -> None:
    view = make().get_metrics()
    assert set(view) == KEYS
    assert all(view[key] == 0 for key in KEYS if key.endswith("_total"))
    assert view["state"] is CircuitBreakerState.CLOSED
    assert view["window"] == {"calls": 0, "failures": 0, "slow": 0, "failure_rate": None, "slow_call_rate": None}
    assert view["latency"] == {"counts": {}, "p50": None, "p95": None, "p99": None}
    for key in ("override", "last_failure_time", "last_success_time", "opened_at", "retry_after", "config_version"):
        assert view[key] is None


def test_it_travels_as_json(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_closed()
    view = json.loads(json.dumps(breaker.get_metrics()))
    assert (view["state"], view["override"]) == ("open", "forced_closed")
    assert view["config"] == breaker.config.as_dict()


def test_requests_are_the_sum_of_all_ends(make, calls, clock) -> None:
    breaker = make(failure_threshold=3, ignore=KeyError)
    late = breaker.acquire()
    calls.succeed(breaker, 4)
    calls.fail(breaker, error=KeyError())
    calls.fail(breaker, 3)
    for _ in range(5):
        with pytest.raises(Exception, match="open"):
            breaker.acquire()
    breaker.settle(late, Outcome.SUCCESS)
    clock.advance(60.0)
    calls.succeed(breaker)
    view = breaker.get_metrics()
    ends = [view[f"{end}_total"] for end in ("successes", "failures", "ignored", "late", "rejected")]
    assert ends == [5, 3, 1, 1, 5]
    assert view["requests_total"] == 15
    assert (view["probes_total"], view["state_changes_total"]) == (1, 2)


def test_rates_come_with_the_minimum(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, slow_call_duration=1.0, minimum_calls=4)
    calls.fail(breaker)
    calls.succeed(breaker, 2, took=2.0)
    assert breaker.get_metrics()["window"]["slow_call_rate"] is None
    calls.succeed(breaker)
    assert breaker.get_metrics()["window"] == {
        "calls": 4, "failures": 1, "slow": 2, "failure_rate": 0.25, "slow_call_rate": 0.5,
    }  # fmt: skip


def test_slow_calls_are_counted_without_a_rate_rule(make, calls) -> None:
    breaker = make(slow_call_duration=1.0)
    calls.succeed(breaker, 2, took=1.0)
    calls.succeed(breaker, 1, took=0.9)
    view = breaker.get_metrics()
    assert (view["slow_total"], view["state"]) == (2, "closed")


def test_moments_are_told_in_seconds_since_1970_and_stand_still(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.succeed(breaker)
    clock.advance(5.0)
    calls.fail(breaker)
    clock.advance(10.0)
    view, now = breaker.get_metrics(), time.time()
    assert view["last_success_time"] == pytest.approx(now - 15.0, abs=1.0)
    assert view["last_failure_time"] == view["opened_at"] == pytest.approx(now - 10.0, abs=1.0)
    assert view["retry_after"] == 50.0
    assert breaker.get_metrics() == view


def test_every_call_moves_its_moment(make, calls, clock) -> None:
    breaker = make()
    for _ in range(3):
        for call, moment in ((calls.succeed, "last_success_time"), (calls.fail, "last_failure_time")):
            clock.advance(100.0)
            call(breaker)
            call(breaker)
            assert breaker.get_metrics()[moment] == pytest.approx(time.time(), abs=10.0)


def test_the_state_has_an_age(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    clock.advance(7.0)
    assert breaker.snapshot().state_age == 7.0
    calls.fail(breaker)
    clock.advance(3.0)
    assert breaker.snapshot().state_age == 3.0


def test_percentiles_are_off_by_at_most_15_percent(make, calls) -> None:
    breaker = make()
    for hundredth in range(1, 101):
        calls.succeed(breaker, took=hundredth / 100)
    latency = breaker.get_metrics()["latency"]
    assert latency["p50"] == pytest.approx(0.50, rel=0.15)
    assert latency["p95"] == pytest.approx(0.95, rel=0.15)
    assert latency["p99"] == pytest.approx(0.99, rel=0.15)
    assert sum(latency["counts"].values()) == 100


def test_failures_have_a_latency_too(make, calls) -> None:
    breaker = make(failure_threshold=0)
    calls.fail(breaker, 10, took=2.0)
    assert breaker.get_metrics()["latency"]["p95"] == pytest.approx(2.0, rel=0.15)


def test_neutral_and_late_calls_have_no_latency(make, calls) -> None:
    breaker = make(ignore=KeyError)
    late = breaker.acquire()
    breaker.reset()
    breaker.settle(late, Outcome.SUCCESS)
    calls.fail(breaker, error=KeyError(), took=1.0)
    assert breaker.get_metrics()["latency"]["counts"] == {}


def test_a_breaker_says_who_it_is(make, calls) -> None:
    breaker = make(failure_threshold=1)
    assert repr(breaker) == "<CircuitBreaker 'api' closed>"
