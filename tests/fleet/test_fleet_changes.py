"""Who looks on is told that there is something to see, once, and can then read what."""

from __future__ import annotations

import pytest


@pytest.fixture
def hints(scene):
    heard = []
    scene.fleet.rows()
    scene.fleet.subscribe(lambda: heard.append(1))
    return heard


def test_a_subscriber_is_told_once_until_somebody_looks(scene, hints):
    one = scene.link()
    assert hints == []
    one.tell(state="open")
    one.tell(state="closed")
    assert hints == [1]
    scene.fleet.rows()
    one.tell(state="open")
    assert hints == [1, 1]


def test_a_new_subscriber_hears_also_of_what_nobody_has_looked_at(scene):
    scene.link().tell(state="open")
    heard = []
    scene.fleet.subscribe(lambda: heard.append(1))
    scene.link().send()
    assert heard == [1]


def test_who_unsubscribed_hears_nothing(scene):
    heard = []
    scene.fleet.rows()
    end = scene.fleet.subscribe(lambda: heard.append(1))
    end()
    end()
    scene.link().tell()
    assert heard == []


def test_a_heartbeat_is_no_change(scene, hints):
    one = scene.link().tell()
    version = scene.fleet.version
    hints.clear()
    one.send()
    assert hints == []
    assert scene.fleet.version == version


def test_a_report_that_shows_nothing_new_is_no_new_version(scene):
    one = scene.link().tell()
    version = scene.fleet.version
    one.tell()
    assert scene.fleet.version == version


def test_changes_are_told_by_name_after_a_version(scene):
    scene.want("b")
    version = scene.fleet.version
    scene.link().tell("b")
    newer, changed, removed = scene.fleet.changed_since(version)
    assert newer > version
    assert (changed, removed) == ({"b"}, set())
    assert scene.fleet.changed_since(newer) == (newer, set(), set())
    assert scene.fleet.changed_since(0)[1] == {"bank-api", "b"}


def test_a_removed_row_is_told_until_it_comes_back(scene):
    version = scene.fleet.version
    scene.drop()
    assert scene.fleet.changed_since(version)[1:] == (set(), {"bank-api"})
    scene.want("bank-api")
    assert scene.fleet.changed_since(version)[1:] == ({"bank-api"}, set())


def test_a_subscriber_that_fails_does_not_keep_the_others_from_hearing(scene, caplog):
    heard = []

    def broken():
        raise RuntimeError("broken")

    scene.fleet.rows()
    scene.fleet.subscribe(broken)
    scene.fleet.subscribe(lambda: heard.append(1))
    scene.link().tell()
    assert heard == [1]
    assert "A subscriber of the fleet failed" in caplog.text


def test_a_callback_may_ask_the_fleet(scene):
    states = []
    scene.fleet.rows()
    scene.fleet.subscribe(lambda: states.append(scene.row()["state"]))
    scene.link().tell(state="open")
    assert states == ["open"]


def test_events_go_to_listeners_and_the_latest_are_kept(scene):
    heard = []
    end = scene.fleet.on_event(heard.append)
    for number in range(250):
        scene.fleet.record_event({"kind": "config", "number": number})
    end()
    scene.fleet.record_event({"kind": "config", "number": 250})
    assert [event["number"] for event in heard] == list(range(250))
    assert [event["number"] for event in scene.fleet.events] == list(range(51, 251))


def test_a_report_of_somebody_who_never_connected_is_passed_over(scene):
    stranger = scene.link().goodbye()
    scene.fleet.clear()
    scene.fleet.report(stranger.id, None, scene.now)
    assert scene.fleet.instances() == []
