"""What a row says, key by key."""

from __future__ import annotations

from datetime import timedelta

from breakers.core.breaker import CircuitBreaker
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import TransitionReport, WindowCounts
from breakers.fleet import iso

CLOSED, HALF_OPEN, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.HALF_OPEN, CircuitBreakerState.OPEN


def test_a_row_has_exactly_the_keys_of_the_contract(scene):
    assert list(scene.row()) == [
        "name", "group", "state", "override", "services", "instances", "since", "retry_at", "cause", "rates",
        "failure_rate", "p50", "p95", "p99", "version", "applied", "limit", "trend", "ready_to_probe",
    ]  # fmt: skip


def test_a_breaker_without_instances_is_closed_since_it_exists(scene):
    row = scene.row()
    assert (row["state"], row["since"]) == ("closed", iso(scene.now))
    assert row["instances"] == {"total": 0, "closed": 0, "half_open": 0, "open": 0, "silent": 0}
    assert row["p50"] is row["failure_rate"] is row["retry_at"] is row["cause"] is None


def test_an_unknown_breaker_has_no_row_even_when_instances_tell_of_it(scene):
    scene.link().tell("unregistered", "open")
    assert scene.fleet.row("unregistered") is None
    assert [row["name"] for row in scene.fleet.rows()] == ["bank-api"]
    assert scene.fleet.instance_rows("unregistered") == []


def test_the_state_is_the_worst_of_the_live_instances(scene):
    closed, probing = scene.link().tell(), scene.link().tell(state="half_open")
    assert scene.row()["state"] == "half_open"
    worst = scene.link().tell(state="open")
    assert scene.row()["state"] == "open"
    assert scene.row()["instances"] == {"total": 3, "closed": 1, "half_open": 1, "open": 1, "silent": 0}
    worst.tell()
    assert scene.row()["state"] == "half_open"
    probing.tell()
    assert scene.row()["state"] == "closed"
    assert closed.id != probing.id


def test_an_instance_is_silent_after_15_s_and_no_longer_counts_as_open(scene):
    lost, alive = scene.link().tell(state="open"), scene.link().tell()
    scene.wait(15, heartbeats=(alive,))
    assert scene.row()["instances"]["open"] == 1
    scene.wait(1, heartbeats=(alive,))
    assert scene.row()["instances"] == {"total": 2, "closed": 1, "half_open": 0, "open": 0, "silent": 1}
    assert scene.row()["state"] == "closed"
    lost.send()
    assert scene.row()["state"] == "open"


def test_an_instance_is_gone_after_300_s(scene):
    lost = scene.link().tell(state="open")
    scene.wait(300)
    assert scene.row()["instances"]["total"] == 1
    scene.now += timedelta(seconds=1)
    assert scene.fleet.tick(scene.now) == [lost.id]
    assert scene.row()["instances"]["total"] == 0
    assert scene.fleet.instances() == []
    assert scene.fleet.tick(scene.now) == []


def test_without_live_instances_the_last_known_state_stays(scene):
    one = scene.link().tell(state="open")
    scene.wait(400)
    assert scene.row()["state"] == "open"
    one.connect().tell(state="closed")
    assert scene.row()["state"] == "closed"
    one.goodbye()
    assert scene.row()["state"] == "closed"


def test_the_last_known_state_does_not_depend_on_who_falls_silent_first(scene):
    scene.link().tell(state="open")
    scene.link().tell()
    scene.wait(16)
    assert scene.row()["instances"]["silent"] == 2
    assert scene.row()["state"] == "open"


def test_the_old_socket_that_is_lost_after_the_new_one_came_unlinks_nobody(scene):
    one = scene.link().connect()
    one.disconnect()
    assert scene.fleet.instances()[0]["linked"]
    one.disconnect()
    assert not scene.fleet.instances()[0]["linked"]


def test_how_far_a_clock_is_off_is_shown(scene):
    one = scene.link()
    assert scene.fleet.instances()[0]["skew"] is None
    for skew in (7.0, 41.25, -3600.0, 0.0):
        one.send(now=scene.now.timestamp() + skew)
        assert scene.fleet.instances()[0]["skew"] == skew


def test_a_goodbye_counts_at_once_and_a_lost_socket_does_not(scene):
    one, other = scene.link().tell(), scene.link().tell()
    one.disconnect()
    assert scene.row()["instances"]["closed"] == 2
    other.goodbye()
    assert scene.row()["instances"]["total"] == 1


def test_since_is_when_the_instance_says_that_it_opened(scene):
    one = scene.link().tell()
    scene.wait(60, heartbeats=(one,))
    one.move("open", ago=(7.0,))
    assert scene.row()["since"] == iso(scene.now - timedelta(seconds=7))


def test_since_of_the_fleet_is_the_first_that_opened_and_the_last_that_recovered(scene):
    one, other = scene.link().tell(), scene.link().tell()
    scene.wait(10, heartbeats=(one, other))
    one.move("open")
    opened = iso(scene.now)
    scene.wait(10, heartbeats=(one, other))
    other.move("open")
    assert scene.row()["since"] == opened
    one.move("closed")
    assert (scene.row()["state"], scene.row()["since"]) == ("open", opened)
    scene.wait(10, heartbeats=(one, other))
    other.move("closed")
    assert (scene.row()["state"], scene.row()["since"]) == ("closed", iso(scene.now))


def test_a_state_that_came_and_went_between_two_reports_moves_since(scene):
    one = scene.link().tell()
    scene.wait(10, heartbeats=(one,))
    one.move("open", "half_open", "closed", ago=(3.0, 2.0, 1.0))
    assert scene.row()["state"] == "closed"
    assert scene.row()["since"] == iso(scene.now - timedelta(seconds=1))


def test_since_is_when_the_last_open_instance_fell_silent(scene):
    one, alive = scene.link().tell(state="open"), scene.link().tell()
    scene.wait(16, heartbeats=(alive,))
    assert scene.row()["since"] == iso(scene.now)
    assert one.id


def test_an_old_state_that_becomes_known_late_does_not_end_trouble_before_it_ended(scene):
    scene.link().tell(state="open").goodbye()
    scene.wait(30)
    veteran = scene.link()
    veteran.states["bank-api"] = (veteran.status("bank-api", "closed", {}).state, scene.now - timedelta(hours=1))
    veteran.tell()
    assert (scene.row()["state"], scene.row()["since"]) == ("closed", iso(scene.now))


def test_a_transition_told_twice_counts_once(scene):
    one = scene.link().tell()
    opened = TransitionReport(
        1, "bank-api", CLOSED, OPEN, "consecutive_failures", "first", scene.now.timestamp(), epoch=1
    )
    one.send(transitions=(opened,))
    one.epochs["bank-api"] = 1
    one.move("closed", cause="recovered")
    one.send(transitions=(opened,))
    assert (scene.row()["state"], scene.row()["cause"]) == ("closed", "recovered")


def test_a_late_report_of_an_older_epoch_does_not_bring_back_its_state(scene):
    one = scene.link().tell()
    old = one.status("bank-api", "closed", {})
    one.move("open")
    one.send(old)
    assert scene.row()["state"] == "open"


def test_retry_at_is_the_earliest_of_the_open_instances(scene):
    scene.link().tell(state="open", retry_in=30.0)
    assert scene.row()["retry_at"] == iso(scene.now + timedelta(seconds=30))
    scene.link().tell(state="open", retry_in=10.0)
    assert scene.row()["retry_at"] == iso(scene.now + timedelta(seconds=10))


def test_a_new_opening_has_a_new_wait(scene):
    one = scene.link().tell(state="open", retry_in=30.0)
    scene.wait(20, heartbeats=(one,))
    one.tell(state="half_open")
    assert scene.row()["retry_at"] is None
    one.tell(state="open", retry_in=10.1)
    assert scene.row()["retry_at"] == iso(scene.now + timedelta(seconds=10.1))


def test_the_wait_of_an_instance_that_is_open_is_not_the_fleets_while_none_is_live(scene):
    lost = scene.link().tell(state="open", retry_in=5.0)
    scene.wait(20)
    assert (scene.row()["state"], scene.row()["retry_at"], scene.row()["ready_to_probe"]) == ("open", None, False)
    assert lost.id


def test_a_wait_that_is_told_anew_with_the_delay_of_the_way_stays(scene):
    one = scene.link().tell(state="open", retry_in=30.0)
    before = scene.row()["retry_at"]
    scene.now += timedelta(seconds=1)
    one.tell(state="open", retry_in=29.1)
    assert scene.row()["retry_at"] == before
    one.tell(state="open", retry_in=10.0)
    assert scene.row()["retry_at"] == iso(scene.now + timedelta(seconds=10)), "the wait was edited"


def test_an_opening_whose_wait_is_not_yet_told_is_not_ready_by_the_wait_of_the_last(scene):
    one = scene.link().tell(state="open", retry_in=5.0)
    scene.wait(6, heartbeats=(one,))
    at = scene.now.timestamp()
    one.send(transitions=(TransitionReport(1, "bank-api", HALF_OPEN, OPEN, "probe_failed", "again", at, epoch=2),))
    assert (scene.row()["state"], scene.row()["retry_at"], scene.row()["ready_to_probe"]) == ("open", None, False)


def test_open_past_its_wait_is_ready_to_probe(scene):
    one, other = scene.link().tell(state="open", retry_in=5.0), scene.link().tell(state="open", retry_in=9.0)
    scene.wait(8, heartbeats=(one, other))
    assert not scene.row()["ready_to_probe"], "one of the two still rejects"
    scene.wait(1, heartbeats=(one, other))
    assert scene.row()["ready_to_probe"]
    one.tell(state="half_open")
    assert scene.row()["state"] == "open"
    other.tell(state="half_open")
    assert not scene.row()["ready_to_probe"]


def test_forced_open_is_not_ready_to_probe(scene):
    one = scene.link().tell(state="open", retry_in=1.0)
    scene.wait(2, heartbeats=(one,))
    scene.force(Override.FORCED_OPEN)
    assert not scene.row()["ready_to_probe"]


def test_the_cause_is_of_the_newest_transition_into_the_state(scene):
    one, other = scene.link().tell(), scene.link().tell()
    one.move("open", cause="first")
    scene.wait(1, heartbeats=(one, other))
    other.move("open", cause="second")
    assert scene.row()["cause"] == "second"
    one.move("closed", cause="reset by alice")
    assert scene.row()["cause"] == "second"
    scene.link().move("open", ago=(30.0,), cause="told late").goodbye()
    assert scene.row()["cause"] == "second"
    other.move("closed", cause="probes succeeded")
    assert scene.row()["cause"] == "probes succeeded"


def test_the_failure_rate_is_of_the_windows_of_the_live_instances(scene):
    scene.link().tell(window=WindowCounts(calls=30, failures=3))
    lost = scene.link().tell(window=WindowCounts(calls=10, failures=9))
    assert scene.row()["failure_rate"] == 0.3
    lost.goodbye()
    assert scene.row()["failure_rate"] == 0.1


def test_percentiles_are_of_the_merged_histograms(scene):
    quick, slow = scene.link(), scene.link()
    quick.latency["bank-api"], slow.latency["bank-api"] = {"40": 90}, {"60": 10}
    quick.tell(add={"successes": 90})
    alone = scene.row()["p99"]
    slow.tell(add={"successes": 10})
    assert scene.row()["p50"] == alone
    assert scene.row()["p99"] > alone


def test_latency_buckets_that_cannot_be_are_passed_over(scene):
    one = scene.link()
    one.latency["bank-api"] = {"40": 1, "-1": 5, "999": 5, "x": 5, "04": 5}
    one.tell(add={"successes": 1})
    assert scene.fleet.metrics("bank-api")["latency"]["counts"] == {40: 1}


def test_applied_counts_who_confirmed_the_latest_revision(scene):
    one, other = scene.link().tell(), scene.link().tell()
    assert scene.row()["applied"] == {"on": 2, "of": 2}
    one.revision = scene.want("bank-api", failure_threshold=9)
    assert scene.row()["applied"] == {"on": 0, "of": 2}
    one.send()
    assert scene.row()["applied"] == {"on": 1, "of": 2}
    other.goodbye()
    assert scene.row()["applied"] == {"on": 1, "of": 1}


def test_an_edit_of_another_breaker_leaves_this_one_applied(scene):
    scene.link().tell()
    scene.want("other")
    assert scene.row()["applied"] == {"on": 1, "of": 1}


def test_a_refused_config_is_not_applied_until_the_next(scene):
    one = scene.link().tell()
    one.revision = scene.want("bank-api", failure_threshold=9)
    one.refuse(error="I cannot")
    assert scene.row()["applied"] == {"on": 0, "of": 1}
    assert scene.fleet.instance_rows("bank-api")[0]["refused"] == "I cannot"
    one.revision = scene.want("bank-api", failure_threshold=8)
    one.send()
    assert scene.row()["applied"] == {"on": 1, "of": 1}
    assert scene.fleet.instance_rows("bank-api")[0]["refused"] is None


def test_an_override_stands_with_who_and_why_until_it_expires(scene):
    scene.force(Override.FORCED_OPEN, seconds=60)
    until = iso(scene.now + timedelta(seconds=60))
    expected = {"override": "forced_open", "reason": "INC-1", "by": "user:alice", "expires_at": until}
    assert scene.row()["override"] == expected
    scene.wait(59)
    assert scene.row()["override"] == expected
    scene.wait(1)
    assert scene.row()["override"] is None
    assert scene.fleet.desired(["bank-api"])[0].override is None


def test_services_are_those_of_the_instances_that_are_not_gone(scene):
    scene.link("trading").tell()
    gone = scene.link("billing").tell()
    assert scene.row()["services"] == ["billing", "trading"]
    gone.goodbye()
    assert scene.row()["services"] == ["trading"]


def test_instance_rows_are_worst_first_with_their_own_state(scene):
    scene.link("a").tell(window=WindowCounts(calls=4, failures=1), add={"successes": 3, "failures": 1, "rejected": 2})
    scene.link("b").tell(state="open", retry_in=10.0)
    first, second = scene.fleet.instance_rows("bank-api")
    assert (first["service"], first["state"], second["service"], second["state"]) == ("b", "open", "a", "closed")
    assert first["retry_at"] == iso(scene.now + timedelta(seconds=10))
    assert (second["failure_rate"], second["calls"], second["failures"], second["rejected"]) == (0.25, 4, 1, 2)


def test_metrics_have_the_keys_of_a_breakers_own(scene):
    assert scene.fleet.metrics("bank-api").keys() == CircuitBreaker().get_metrics().keys()


def test_metrics_add_up_over_instances_also_the_gone_ones(scene):
    scene.link().tell(add={"successes": 5, "failures": 1, "rejected": 2, "ignored": 1, "late": 1}).goodbye()
    scene.link().tell(add={"successes": 5}, window=WindowCounts(calls=40, failures=10, slow=4))
    metrics = scene.fleet.metrics("bank-api")
    assert (metrics["successes_total"], metrics["requests_total"]) == (10, 15)
    assert metrics["window"] == {"calls": 40, "failures": 10, "slow": 4, "failure_rate": 0.25, "slow_call_rate": 0.1}


def test_the_rates_of_a_window_are_undefined_below_the_minimum_of_calls(scene):
    scene.link().tell(window=WindowCounts(calls=19, failures=10))
    assert scene.fleet.metrics("bank-api")["window"]["failure_rate"] is None
    scene.link().tell(window=WindowCounts(calls=1, failures=0))
    assert scene.fleet.metrics("bank-api")["window"]["failure_rate"] == 0.5


def test_the_summary_counts_states_calls_and_instances(scene):
    scene.want("b", "c")
    one = scene.link()
    one.tell("bank-api", "open", add={"successes": 6, "failures": 2, "rejected": 4})
    one.tell("b", "half_open")
    summary = scene.fleet.summary()
    assert (summary["total"], summary["open"], summary["half_open"], summary["closed"]) == (3, 1, 1, 1)
    assert (summary["requests"], summary["successes"], summary["failures"], summary["rejected"]) == (12, 6, 2, 4)
    assert (summary["failure_rate"], summary["instances"], summary["silent"]) == (0.25, 1, 0)
    assert (summary["worst"], summary["verdict"]) == ("bank-api", "1 of 3 breakers is open")


def test_the_worst_breaker_is_the_one_that_is_open_on_the_largest_share(scene):
    scene.want("b")
    one, other = scene.link(), scene.link()
    for linked in (one, other):
        linked.tell("b", "open")
    one.tell("bank-api", "open")
    other.tell("bank-api")
    assert scene.fleet.summary()["worst"] == "b"


def test_all_clear_is_said_as_plainly_as_trouble(scene):
    assert scene.fleet.summary()["verdict"] == "The breaker is closed"
    scene.want("b")
    assert scene.fleet.summary()["verdict"] == "All 2 breakers are closed"
