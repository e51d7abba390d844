"""What survives a restart of the server: totals, states, causes, and since when. Against the real database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from breakers import alerts, services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import TransitionReport
from breakers.fleet import Fleet, iso
from breakers.services import Actor

pytestmark = pytest.mark.django_db
ALICE = Actor("user", "alice")


@pytest.fixture
def live(scene, ground):
    """A scene whose desired state is the database's."""
    services.breaker_create(name="bank-api", config=CircuitBreakerConfig(), http=HttpConfig(), by=ALICE)
    scene.fleet.clear()
    scene.fleet.synchronise()
    scene.revision = scene.fleet.revision
    return scene


def persist(scene):
    services.instances_persist(rows=scene.fleet.observed_for_persist())


def restart(scene, *, after=0.0):
    """The process dies, and after a while another one begins."""
    scene.now += timedelta(seconds=after)
    scene.fleet = Fleet(lambda: scene.now)
    scene.fleet.synchronise()


def opened(scene, linked, *, ago=0.0):
    """The instance opens; the transition is written, as the writer does."""
    at = scene.now - timedelta(seconds=ago)
    linked.move("open", ago=(ago,))
    report = TransitionReport(
        linked.sequence, "bank-api", CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, "consecutive_failures",
        "5 consecutive failures", at.timestamp(), epoch=1,
    )  # fmt: skip
    return services.transitions_record(batch=[(linked.identity, report)])


def test_what_a_gone_instance_had_counted_survives(live):
    live.link().tell(add={"successes": 5, "failures": 2}).goodbye()
    persist(live)
    restart(live)
    assert live.fleet.metrics("bank-api")["requests_total"] == 7
    live.link().tell(add={"successes": 1})
    assert live.fleet.metrics("bank-api")["requests_total"] == 8


def test_an_instance_that_returns_replaces_what_was_written_of_it(live):
    one = live.link().tell(add={"successes": 5})
    one.latency["bank-api"] = {"40": 5}
    one.tell()
    persist(live)
    restart(live)
    one.latency["bank-api"] = {"40": 6}
    one.connect().tell(add={"successes": 1})
    metrics = live.fleet.metrics("bank-api")
    assert (metrics["successes_total"], metrics["latency"]["counts"]) == (6, {40: 6})


def test_the_state_and_its_since_survive(live):
    one, other = live.link().tell(), live.link().tell()
    live.wait(30, heartbeats=(one, other))
    opened(live, one)
    since = live.row()["since"]
    persist(live)
    restart(live, after=5)
    assert (live.row()["state"], live.row()["since"]) == ("open", since)
    assert live.row()["cause"] == "5 consecutive failures"
    other.connect().tell()
    assert (live.row()["state"], live.row()["since"]) == ("open", since), "the open one has 15 s to come back"
    one.connect().tell(state="open")
    assert (live.row()["state"], live.row()["since"]) == ("open", since)


def test_who_has_forgotten_a_breaker_has_not_got_it_after_a_restart_either(live):
    linked, another = live.link().tell(state="open"), live.link().tell(add={"successes": 2})
    linked.tell(state="closed", add={"failures": 3}, forgotten=True)
    persist(live)
    restart(live)
    assert live.row()["instances"]["total"] == 1
    assert live.fleet.metrics("bank-api")["failures_total"] == 3
    assert [row["instance"] for row in live.fleet.instance_rows("bank-api")] == [str(another.id)]


def test_the_since_survives_a_restart_in_a_storm(live):
    lasting, stormy = live.link().tell(), live.link().tell()
    live.wait(30, heartbeats=(lasting, stormy))
    opened(live, lasting)
    since = live.row()["since"]
    flap(live, stormy, times=400)
    assert live.row()["since"] == since
    persist(live)
    restart(live)
    assert (live.row()["state"], live.row()["since"]) == ("open", since)


def flap(scene, linked, *, times):
    """It opens and closes again and again while another is open, each time a tenth of a second later."""
    closed, open_ = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN
    told = []
    for number in range(times):
        for before, after in ((closed, open_), (open_, closed)):
            scene.now += timedelta(seconds=0.05)
            at = scene.now.timestamp()
            told.append(
                TransitionReport(number * 2 + 1 + (after is closed), "bank-api", before, after, "reset", "", at, 1)
            )
    services.transitions_record(batch=[(linked.identity, report) for report in told])
    linked.move("open", "closed")


def test_a_transition_outlives_a_crash_before_the_totals_were_written(live):
    one = live.link().tell()
    persist(live)
    opened(live, one)
    restart(live, after=2)
    assert (live.row()["state"], live.row()["instances"]["open"]) == ("open", 1)


def test_what_a_link_told_before_the_past_was_read_outranks_it(live):
    one = live.link().tell()
    opened(live, one)
    persist(live)
    live.fleet = Fleet(lambda: live.now)
    one.epochs["bank-api"] = 5
    one.connect().tell(state="closed", add={"successes": 1})
    live.fleet.synchronise()
    assert (live.row()["state"], live.row()["instances"]["closed"]) == ("closed", 1)
    assert live.fleet.metrics("bank-api")["successes_total"] == 1


def test_an_instance_that_does_not_come_back_is_silent_and_then_gone(live):
    live.link().tell()
    persist(live)
    restart(live, after=20)
    assert live.row()["instances"]["closed"] == 1
    live.wait(15)
    assert live.row()["instances"]["closed"] == 1, "that nobody listened was not its silence"
    live.wait(1)
    assert live.row()["instances"]["silent"] == 1
    live.wait(285)
    assert live.row()["instances"]["total"] == 0


def test_a_fleet_is_complete_once_everybody_who_was_there_was_heard_or_is_forgotten(live):
    assert live.fleet.complete, "nobody was there"
    one, other, left = live.link().tell(), live.link().tell(), live.link().tell()
    left.goodbye()
    persist(live)
    assert not Fleet(lambda: live.now).complete, "it does not know yet who was there"
    restart(live, after=400)
    assert not live.fleet.complete
    live.link().tell()
    one.connect()
    live.wait(10)
    assert not live.fleet.complete, "gone for long, and perhaps on its way all the same"
    other.connect().disconnect()
    assert live.fleet.complete
    restart(live)
    live.wait(1)
    persist(live)
    live.fleet.forget([one.id, other.id], live.now + timedelta(seconds=1))
    assert live.fleet.complete


def test_after_days_of_downtime_nobody_is_taken_for_alive(live):
    one = live.link().tell()
    persist(live)
    restart(live, after=3 * 86400)
    assert live.row()["instances"]["total"] == 0
    assert live.fleet.tick(live.now) == [one.id]


def test_who_said_goodbye_open_leaves_the_breaker_open_also_after_a_restart(live):
    one = live.link().tell()
    opened(live, one)
    one.goodbye()
    persist(live)
    restart(live, after=60)
    assert (live.row()["state"], live.row()["instances"]["total"]) == ("open", 0)


def test_only_what_changed_is_written_again(live):
    one, other = live.link().tell(), live.link().tell()
    assert {row.id for row in live.fleet.observed_for_persist()} == {one.id, other.id}
    assert live.fleet.observed_for_persist() == []
    one.tell(add={"successes": 1})
    other.send()
    assert [row.id for row in live.fleet.observed_for_persist()] == [one.id]
    assert len(live.fleet.observed_for_persist(dirty_only=False)) == 2


def test_what_could_not_be_written_is_told_again(live):
    one = live.link().tell()
    rows = live.fleet.observed_for_persist()
    live.fleet.persist_failed(row.id for row in rows)
    assert [row.id for row in live.fleet.observed_for_persist()] == [one.id]


def test_desired_state_is_read_again_when_the_revision_moved(live, django_assert_num_queries):
    with django_assert_num_queries(1):
        live.fleet.synchronise()
    services.override_set(name="bank-api", override=Override.FORCED_OPEN, reason="", expires_at=None, by=ALICE)
    assert live.fleet.synchronise() == live.fleet.revision == 2
    assert live.row()["override"]["by"] == "user:alice"


def test_edits_of_any_process_become_events_once(live):
    heard = []
    live.fleet.on_event(heard.append)
    config = CircuitBreakerConfig(failure_threshold=9)
    services.breaker_edit(name="bank-api", config=config, http=HttpConfig(), reason="INC-7", by=ALICE)
    services.override_set(name="bank-api", override=Override.FORCED_OPEN, reason="", expires_at=None, by=ALICE)
    command = services.breaker_reset(name="bank-api", reason="try", by=ALICE)
    live.fleet.synchronise()
    live.fleet.synchronise()
    assert [event["kind"] for event in heard] == ["config", "override", "reset"]
    assert heard[0]["text"] == "failure_threshold 5 -> 9: INC-7"
    assert (heard[1]["text"], heard[1]["actor"], heard[1]["name"]) == ("forced open", "user:alice", "bank-api")
    assert (heard[2]["command"], heard[2]["text"]) == (command.id, "reset: try")


def test_what_happened_before_the_start_is_no_event(live):
    restart(live)
    assert live.fleet.events == []


def test_the_first_look_counts_the_transitions_of_before(live):
    (change,) = opened(live, live.link().tell())
    restart(live)
    key = ("bank-api", "closed", "open", "consecutive_failures")
    assert live.fleet.picture().transitions == {key: 1}
    event = {"kind": "transition", "name": change.breaker, "from_state": "closed", "to_state": "open"}
    live.fleet.record_event({**event, "reason": "consecutive_failures"})
    assert live.fleet.picture().transitions == {key: 2}


def test_since_without_history_is_when_the_breaker_was_made(live):
    record = live.fleet.record("bank-api")
    assert live.row()["since"] == iso(record.created_at)


def test_what_flapped_before_the_restart_flaps_after_it(live, monkeypatch):
    monkeypatch.setattr(alerts, "fleet", live.fleet)
    one, two = live.link().tell(), live.link().tell()
    begun = None
    for number in range(3):
        live.wait(60, heartbeats=(one, two))
        opened(live, one)
        begun = begun or iso(live.now)
        if number == 1:
            opened(live, two)  # beside an open one: the breaker as a whole opens once
        for linked in (one, two) if number == 1 else (one,):
            linked.move("closed")
            report = TransitionReport(
                linked.sequence, "bank-api", CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED, "reset", "by hand",
                live.now.timestamp() + 1, epoch=2,
            )  # fmt: skip
            services.transitions_record(batch=[(linked.identity, report)])
    persist(live)
    restart(live)
    monkeypatch.setattr(alerts, "fleet", live.fleet)
    found = [alert for alert in alerts.alerts() if alert["kind"] == "flapping"]
    assert [(alert["message"], alert["since"]) for alert in found] == [("Flapping: opened 3 times in 10 min", begun)]
    restart(live, after=600)
    monkeypatch.setattr(alerts, "fleet", live.fleet)
    assert "flapping" not in [alert["kind"] for alert in alerts.alerts()]


# --- alerts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def firing(live, monkeypatch):
    """What fires, and since when."""

    def found():
        monkeypatch.setattr(alerts, "fleet", live.fleet)
        return {alert["kind"]: alert["since"] for alert in alerts.alerts()}

    return found


def test_a_breaker_that_waits_for_a_call_still_does_after_a_restart(live, firing):
    one = live.link()
    opened(live, one)
    one.tell(state="open", retry_in=5.0)
    ready = iso(live.now + timedelta(seconds=5))
    live.wait(20, heartbeats=(one,))
    assert firing() == {"ready_to_probe": ready}
    persist(live)
    restart(live, after=3)
    assert firing() == {"ready_to_probe": ready}
    one.connect().tell(state="open", retry_in=0.0)
    assert firing() == {"ready_to_probe": ready}


def test_a_wait_that_is_over_while_no_server_runs_or_after_it_is_known(live, firing):
    one = live.link()
    opened(live, one)
    one.tell(state="open", retry_in=5.0)
    persist(live)
    restart(live, after=3)
    assert list(firing()) == ["open"]
    live.wait(2)
    assert list(firing()) == ["ready_to_probe"]


def test_a_wait_of_an_opening_before_the_last_says_nothing_of_the_last(live, firing):
    one = live.link()
    opened(live, one)
    one.tell(state="open", retry_in=5.0)
    live.wait(20, heartbeats=(one,))
    persist(live)
    one.move("closed")
    opened(live, one)  # written at once, and then the server was killed
    restart(live)
    assert list(firing()) == ["open"]


def test_reports_that_were_dropped_long_ago_are_no_news_after_a_restart(live, firing):
    one, told = live.link().tell(), iso(live.now)
    persist(live)
    one.send(dropped=3)
    persist(live)
    live.wait(300, heartbeats=(one,))
    restart(live)
    one.connect().send(dropped=3)
    assert firing() == {"reports_dropped": told}
    live.wait(301, heartbeats=(one,))
    assert firing() == {}
    persist(live)
    restart(live)
    one.connect().send(dropped=3)
    assert firing() == {}
    one.send(dropped=4)
    assert firing() == {"reports_dropped": iso(live.now)}


def test_an_instance_that_died_is_not_behind_a_config_after_a_restart(live, firing):
    live.link().tell()
    persist(live)
    restart(live, after=5)
    live.wait(14)
    assert firing() == {}
    live.wait(2)
    assert list(firing()) == ["silent_instances"]


def test_flapping_is_since_it_began_also_after_a_restart(live, firing):
    one, begun = live.link().tell(), iso(live.now)
    for _ in range(20):
        opened(live, one)
        one.move("closed")
        closed_again(live, one)
        live.wait(60, heartbeats=(one,))
    assert firing() == {"flapping": begun}
    persist(live)
    restart(live)
    assert firing() == {"flapping": begun}
    one.connect().tell()
    assert firing() == {"flapping": begun}


def closed_again(scene, linked):
    report = TransitionReport(
        linked.sequence, "bank-api", CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED, "reset", "",
        scene.now.timestamp(), epoch=1,
    )  # fmt: skip
    services.transitions_record(batch=[(linked.identity, report)])


def test_openings_that_are_told_again_after_a_restart_are_counted_once(live, firing):
    """A server that was killed has written them down, and has not told the link."""
    one = live.link().tell()
    persist(live)
    told = []
    for number, (before, after) in enumerate(3 * [("closed", "open"), ("open", "closed")], start=1):
        live.wait(1, heartbeats=(one,))
        states = CircuitBreakerState(before), CircuitBreakerState(after)
        told.append(TransitionReport(number, "bank-api", *states, "reset", "", live.now.timestamp(), epoch=number))
    services.transitions_record(batch=[(one.identity, each) for each in told])
    restart(live)
    one.connect().send(transitions=tuple(told))
    troubles = live.fleet.troubles("bank-api")
    assert troubles is not None
    assert (troubles.openings, list(firing())) == (3, ["flapping"])
