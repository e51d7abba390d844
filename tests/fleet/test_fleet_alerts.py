"""What fires, how loud, and since when."""

from __future__ import annotations

from datetime import timedelta

import pytest

import breakers.alerts
from breakers.core.states import Override
from breakers.fleet import iso


@pytest.fixture
def firing(scene, monkeypatch):
    """The alerts of the scene's fleet, as (level, kind)."""
    monkeypatch.setattr(breakers.alerts, "fleet", scene.fleet)
    return lambda: [(alert["level"], alert["kind"]) for alert in breakers.alerts.alerts()]


def test_all_is_well(scene, firing):
    scene.link().tell()
    assert firing() == []


def test_open_is_an_error_with_since_cause_and_link(scene, firing):
    scene.link().tell()
    scene.link().tell().move("open", cause="5 consecutive failures")
    (alert,) = breakers.alerts.alerts()
    assert alert == {
        "level": "error",
        "name": "bank-api",
        "kind": "open",
        "message": "Open on 1 of 2 instances",
        "since": iso(scene.now),
        "cause": "5 consecutive failures",
        "link": "/dashboard/breakers/bank-api",
    }


def test_ready_to_probe_is_a_warning_and_no_longer_an_error(scene, firing):
    one = scene.link().tell(state="open", retry_in=5.0)
    assert firing() == [("error", "open")]
    scene.wait(5, heartbeats=(one,))
    assert firing() == [("warning", "ready_to_probe")]


def test_half_open_is_a_warning(scene, firing):
    scene.link().tell(state="half_open")
    assert firing() == [("warning", "half_open")]


def test_silent_instances_are_a_warning_since_they_were_last_heard(scene, firing):
    scene.link().tell()
    heard = iso(scene.now)
    scene.wait(16)
    (alert,) = breakers.alerts.alerts()
    assert (alert["kind"], alert["since"], alert["message"]) == ("silent_instances", heard, "1 of 1 instances silent")


def test_a_config_that_is_not_applied_is_a_warning_after_ten_seconds(scene, firing):
    one = scene.link().tell()
    scene.wait(20, heartbeats=(one,))
    scene.want("bank-api", failure_threshold=9)
    scene.wait(10, heartbeats=(one,))
    assert firing() == []
    scene.wait(1, heartbeats=(one,))
    assert firing() == [("warning", "config_not_applied")]
    one.revision = scene.revision
    one.send()
    assert firing() == []


def test_an_instance_that_has_just_come_is_not_behind(scene, firing):
    scene.wait(60)
    one = scene.link()
    one.revision = 0
    one.tell()
    assert firing() == []
    scene.wait(11, heartbeats=(one,))
    assert firing() == [("warning", "config_not_applied")]


def test_an_instance_that_comes_back_to_a_config_of_meanwhile_is_not_behind(scene, firing):
    one = scene.link().tell().disconnect()
    scene.want("bank-api", failure_threshold=9)
    scene.wait(60)
    one.connect().send()
    assert firing() == []
    scene.wait(11, heartbeats=(one,))
    assert firing() == [("warning", "config_not_applied")]


def test_a_refused_config_is_a_warning_at_once_and_says_why(scene, firing):
    one = scene.link().tell()
    one.revision = scene.want("bank-api", failure_threshold=9)
    one.refuse(error="window_size: too small")
    (alert,) = breakers.alerts.alerts()
    assert alert["message"] == "Config not applied on 1 of 1 instances: window_size: too small"


def test_three_openings_in_ten_minutes_are_flapping(scene, firing):
    one = scene.link().tell()
    begun = None
    for _ in range(3):
        scene.wait(30, heartbeats=(one,))
        one.move("open", cause="it flaps")
        begun = begun or iso(scene.now)
        one.move("half_open", "open", "closed", cause="it flaps")
    (alert,) = breakers.alerts.alerts()
    assert (alert["kind"], alert["since"]) == ("flapping", begun)
    assert alert["cause"] == "it flaps", "why it opens, not how it last closed"
    scene.now += timedelta(seconds=560)
    one.send()
    assert firing() == []


def flap(scene, linked, *, times, every):
    for _ in range(times):
        linked.move("open", cause="5 failures")
        linked.move("closed", cause="reset")
        scene.wait(every, heartbeats=(linked,))


def test_flapping_that_goes_on_is_one_alert_since_it_began(scene, firing):
    one, begun = scene.link().tell(), scene.now
    flap(scene, one, times=30, every=60)
    (alert,) = breakers.alerts.alerts()
    assert (alert["kind"], alert["since"]) == ("flapping", iso(begun))
    assert (alert["message"], alert["cause"]) == ("Flapping: opened 10 times in 10 min", "5 failures")
    scene.wait(600, heartbeats=(one,))
    assert firing() == []
    again = scene.now
    flap(scene, one, times=3, every=1)
    assert breakers.alerts.alerts()[0]["since"] == iso(again)


def test_of_more_openings_than_are_remembered_the_number_is_the_least(scene, firing):
    one, begun = scene.link().tell(), scene.now
    flap(scene, one, times=250, every=1)
    (alert,) = breakers.alerts.alerts()
    assert (alert["message"], alert["since"]) == ("Flapping: opened at least 200 times in 10 min", iso(begun))


def test_flapping_that_begins_slowly_is_since_the_first_of_three_in_ten_minutes(scene, firing):
    one = scene.link().tell()
    flap(scene, one, times=2, every=400)
    begun = iso(scene.now - timedelta(seconds=400))
    flap(scene, one, times=2, every=100)
    assert breakers.alerts.alerts()[0]["since"] == begun


def test_forced_open_is_a_warning_with_who_and_why(scene, firing):
    scene.force(Override.FORCED_OPEN)
    (alert,) = breakers.alerts.alerts()
    assert (alert["level"], alert["message"]) == ("warning", "Forced open by user:alice: INC-1")


def test_errors_come_first_then_names(scene, firing):
    scene.want("a", "z")
    one = scene.link()
    one.tell("a", "half_open").tell("z", "open").tell("bank-api", "open")
    assert [alert["name"] for alert in breakers.alerts.alerts()] == ["bank-api", "z", "a"]


def test_half_open_for_long_says_so_and_stays_one_alert(scene, firing):
    one = scene.link().tell(state="half_open")
    assert breakers.alerts.alerts()[0]["message"] == "Half-open on 1 of 1 instances"
    scene.wait(300, heartbeats=(one,))
    (alert,) = breakers.alerts.alerts()
    assert alert["kind"] == "half_open"
    assert alert["message"] == "Half-open for long, too few probes come, on 1 of 1 instances"


@pytest.mark.parametrize("override", Override)
def test_an_override_about_to_expire_is_a_warning(scene, firing, override):
    scene.force(override, seconds=600)
    others = [alert for alert in firing() if alert[1] == "forced_open"]
    assert firing() == others
    scene.wait(299)
    assert firing() == others
    scene.wait(1)
    alert = breakers.alerts.alerts()[-1]
    assert (alert["kind"], alert["since"]) == ("override_expiring", iso(scene.now))
    assert alert["message"].endswith("by user:alice ends at 12:10:00 UTC: INC-1")
    scene.wait(300)
    assert firing() == []


def test_dropped_reports_are_a_warning_for_ten_minutes_by_service(scene, firing):
    one, two = scene.link("trading_service").tell(), scene.link("trading_service").tell()
    told = iso(scene.now)
    one.send(dropped=3)
    two.send(dropped=4)
    scene.wait(60, heartbeats=(one, two))
    (alert,) = breakers.alerts.alerts()
    assert (alert["level"], alert["name"], alert["kind"]) == ("warning", "trading_service", "reports_dropped")
    assert (alert["since"], alert["link"]) == (told, "/dashboard/instances")
    assert alert["message"] == "7 transitions of 2 instances were never reported: the history has gaps"
    scene.wait(541, heartbeats=(one, two))
    assert firing() == []


def test_one_dropped_report_is_one(scene, firing):
    scene.link().tell().send(dropped=1)
    assert breakers.alerts.alerts()[0]["message"].startswith("1 transition of 1 instance was never reported")


def test_forced_open_says_since_when_and_gives_its_reason_as_the_cause(scene, firing):
    scene.link().tell().move("open", cause="5 consecutive failures").move("closed")
    scene.want("bank-api", override_since=scene.now)
    scene.force(Override.FORCED_OPEN)
    (alert,) = breakers.alerts.alerts()
    assert (alert["since"], alert["cause"]) == (iso(scene.now), "INC-1")


def test_the_cause_of_silence_is_no_old_failure(scene, firing):
    scene.link().tell().move("open", cause="5 consecutive failures").move("closed")
    scene.wait(16)
    (alert,) = breakers.alerts.alerts()
    assert (alert["kind"], alert["cause"]) == ("silent_instances", "No heartbeat for 15 s")


def test_the_cause_of_a_config_that_is_not_applied_is_the_refusal_or_the_lack_of_an_answer(scene, firing):
    one = scene.link().tell()
    one.revision = scene.want("bank-api", failure_threshold=9)
    one.refuse(error="window_size: too small")
    assert [alert["cause"] for alert in breakers.alerts.alerts()] == ["window_size: too small"]
    late = scene.link()
    late.revision = 0
    late.tell()
    one.goodbye()
    scene.wait(11, heartbeats=(late,))
    assert [alert["cause"] for alert in breakers.alerts.alerts()] == ["Not confirmed for 10 s"]


def test_an_override_for_less_than_five_minutes_is_about_to_expire_since_it_was_ordered(scene, firing):
    scene.want("bank-api", override_since=scene.now)
    scene.force(Override.FORCED_CLOSED, seconds=60)
    (alert,) = breakers.alerts.alerts()
    assert (alert["kind"], alert["since"]) == ("override_expiring", iso(scene.now))


def test_ready_to_probe_is_since_the_last_wait_was_over_however_often_instances_tell_of_it(scene, firing):
    one, two = scene.link().tell(state="open", retry_in=5.0), scene.link().tell(state="open", retry_in=9.0)
    ready = iso(scene.now + timedelta(seconds=9))
    scene.wait(9, heartbeats=(one, two))
    for _ in range(3):
        (alert,) = breakers.alerts.alerts()
        assert (alert["kind"], alert["since"]) == ("ready_to_probe", ready)
        scene.wait(10, heartbeats=(one, two))
        one.tell(state="open", retry_in=0.0)
        two.tell(state="open", retry_in=0.0)


def test_a_longer_wait_is_another_wait(scene, firing):
    one = scene.link().tell(state="open", retry_in=5.0)
    scene.wait(6, heartbeats=(one,))
    one.tell(state="open", retry_in=30.0)
    assert firing() == [("error", "open")]


def test_who_lost_its_link_is_soon_silent_and_not_behind(scene, firing):
    one = scene.link().tell()
    scene.wait(5, heartbeats=(one,))
    one.disconnect()
    scene.want("bank-api", failure_threshold=9)
    scene.wait(12)
    assert firing() == []
    scene.wait(4)
    assert firing() == [("warning", "silent_instances")]


def test_a_config_is_not_applied_since_it_was_written_or_the_instance_came(scene, firing):
    scene.wait(5)
    one = scene.link().tell()
    scene.wait(60, heartbeats=(one,))
    scene.want("bank-api", failure_threshold=9, updated_at=scene.now)
    written = iso(scene.now)
    scene.wait(11, heartbeats=(one,))
    assert breakers.alerts.alerts()[0]["since"] == written
    one.disconnect().connect().send()
    scene.wait(11, heartbeats=(one,))
    assert breakers.alerts.alerts()[0]["since"] == written, "whatever became of its link"
    one.goodbye()
    came, late = iso(scene.now), scene.link()
    late.revision = 0
    late.tell()
    scene.wait(11, heartbeats=(late,))
    assert breakers.alerts.alerts()[0]["since"] == came
