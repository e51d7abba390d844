"""Speeds, failure rates and trends: differences of cumulative counts, and never a spike that was none."""

from __future__ import annotations

import pytest


def traffic(scene, linked, seconds, **each):
    for _ in range(seconds):
        linked.tell(add=each)
        scene.wait(1)


def test_rates_are_per_second_over_the_last_ten(scene):
    one = scene.link().tell()
    traffic(scene, one, 20, successes=8, failures=2, rejected=5)
    assert scene.row()["rates"] == {"calls": 10.0, "failures": 2.0, "rejected": 5.0}
    traffic(scene, one, 5)
    assert scene.row()["rates"] == {"calls": 5.0, "failures": 1.0, "rejected": 2.5}
    traffic(scene, one, 5)
    assert scene.row()["rates"] == {"calls": 0.0, "failures": 0.0, "rejected": 0.0}


def test_what_an_instance_had_counted_before_it_linked_is_no_traffic_of_now(scene):
    one = scene.link().tell(add={"successes": 1_000_000})
    scene.wait(2, heartbeats=(one,))
    assert scene.row()["rates"]["calls"] == 0.0
    assert scene.row()["failure_rate"] is None
    traffic(scene, one, 12, successes=3)
    assert scene.row()["rates"]["calls"] == 3.0


def test_a_first_telling_in_several_reports_makes_no_spike(scene):
    scene.want("b")
    one = scene.link().tell("bank-api")
    scene.wait(1)
    one.tell("b", add={"successes": 1_000_000})
    scene.wait(1)
    assert scene.row("b")["rates"]["calls"] == 0.0


def test_a_breaker_that_a_linked_instance_makes_later_counts_from_its_first_call(scene):
    scene.want("b")
    one = scene.link().tell("bank-api")
    scene.wait(10, heartbeats=(one,))
    one.tell("b", add={"successes": 20})
    scene.wait(1)
    assert scene.row("b")["rates"]["calls"] == 2.0


def test_a_reconnect_brings_no_spike_of_what_happened_meanwhile(scene):
    one = scene.link().tell()
    traffic(scene, one, 3, successes=1)
    one.disconnect()
    scene.wait(120)
    one.connect().tell(add={"successes": 100_000})
    scene.wait(2, heartbeats=(one,))
    assert scene.row()["rates"]["calls"] == 0.0
    assert scene.fleet.metrics("bank-api")["successes_total"] == 100_003


def test_latency_that_is_told_again_counts_once(scene):
    one = scene.link()
    for buckets in ({"40": 5, "50": 1}, {"40": 3}, {"40": 5, "50": 1}):
        one.latency["bank-api"] = buckets
        one.tell(add={"successes": 1})
        assert scene.fleet.metrics("bank-api")["latency"]["counts"] == {40: 5, 50: 1}


def test_a_second_reconnect_brings_no_spike_either(scene):
    one = scene.link().tell()
    for _ in range(3):
        one.disconnect().connect().tell(add={"successes": 100_000})
        scene.wait(20, heartbeats=(one,))
        traffic(scene, one, 10, successes=3)
        assert scene.row()["rates"]["calls"] == 3.0


def test_without_windows_the_failure_rate_is_of_the_last_minute(scene):
    one = scene.link().tell()
    traffic(scene, one, 30, successes=1, failures=1)
    assert scene.row()["failure_rate"] == 0.5
    traffic(scene, one, 40, successes=2)
    assert scene.row()["failure_rate"] == pytest.approx(20 / (40 + 80), abs=0.02)
    traffic(scene, one, 61)
    assert scene.row()["failure_rate"] is None


def test_rejected_ignored_and_late_calls_are_no_evidence_for_the_failure_rate(scene):
    one = scene.link().tell()
    traffic(scene, one, 5, failures=1, successes=3, rejected=7, ignored=5, late=2)
    assert scene.row()["failure_rate"] == 0.25


def test_the_trend_is_percent_failed_of_each_ten_seconds(scene):
    one = scene.link().tell()
    traffic(scene, one, 10, successes=1, failures=1)
    traffic(scene, one, 10)
    traffic(scene, one, 10, successes=4)
    assert scene.row()["trend"] == [50.0, None, 0.0]


def test_the_trend_holds_five_minutes_and_is_empty_without_calls(scene):
    one = scene.link().tell()
    traffic(scene, one, 320, successes=1)
    assert scene.row()["trend"] == [0.0] * 30
    scene.wait(320, heartbeats=(one,))
    assert scene.row()["trend"] == []


def test_volumes_are_what_passed_failed_and_was_rejected_in_each_ten_seconds(scene):
    one = scene.link().tell()
    traffic(scene, one, 10, successes=3, ignored=1, failures=2, rejected=4)
    traffic(scene, one, 10)
    assert scene.fleet.volumes("bank-api") == [
        {"passed": 4.0, "failed": 2.0, "rejected": 4.0},
        {"passed": 0.0, "failed": 0.0, "rejected": 0.0},
    ]
    traffic(scene, one, 320, rejected=1)
    assert scene.fleet.volumes("bank-api") == [{"passed": 0.0, "failed": 0.0, "rejected": 1.0}] * 30
    assert scene.fleet.volumes("nobody") == []


def test_a_quiet_fleet_changes_nothing(scene):
    one = scene.link().tell()
    scene.wait(5, heartbeats=(one,))
    version = scene.fleet.version
    scene.wait(120, heartbeats=(one,))
    assert scene.fleet.version == version
