"""What instances are told of what is wanted, and how a reset comes along."""

from __future__ import annotations

from uuid import uuid4

from breakers.core.states import Override


def names(desired):
    return [breaker.name for breaker in desired.breakers]


def test_desired_state_is_told_for_the_names_that_exist(scene):
    scene.want("b", failure_threshold=7)
    assert [d.name for d in scene.fleet.desired(None)] == ["bank-api", "b"]
    (told,) = scene.fleet.desired(["b", "nobody"])
    assert (told.name, told.revision, told.config["failure_threshold"]) == ("b", 2, 7)


def test_a_registered_breaker_leaves_instances_their_own_config(scene):
    scene.want("bank-api", managed=False)
    (told,) = scene.fleet.desired(["bank-api"])
    assert told.config is told.http is None


def test_only_what_changed_after_a_revision_is_told(scene):
    assert names(scene.fleet.desired_since(1)) == [], "of the revision that it began with, it can tell"
    scene.want("b")
    scene.want("bank-api", failure_threshold=9)
    desired = scene.fleet.desired_since(2)
    assert (desired.revision, desired.since, names(desired)) == (3, 2, ["bank-api"])
    assert names(scene.fleet.desired_since(3)) == []


def test_a_deleted_breaker_is_told_as_deleted(scene):
    scene.want("b")
    before = scene.revision
    scene.drop("b")
    (told,) = scene.fleet.desired_since(before).breakers
    assert (told.name, told.deleted, told.revision) == ("b", True, 3)
    scene.want("b")
    (told,) = scene.fleet.desired_since(before).breakers
    assert (told.name, told.deleted) == ("b", False)


def test_before_what_this_process_has_seen_nobody_can_tell(scene, make_scene):
    assert scene.fleet.desired_since(0) is None, "deletions of before the start are unknown"
    assert make_scene().fleet.desired_since(0) is None


def test_an_older_state_that_arrives_late_changes_nothing(scene):
    scene.want("bank-api", failure_threshold=9)
    scene.revision -= 1
    scene.records.clear()
    scene.apply()
    assert scene.fleet.revision == 2
    assert scene.row()["name"] == "bank-api"


def test_an_override_is_told_with_the_seconds_that_are_left(scene):
    scene.force(Override.FORCED_OPEN, seconds=60)
    scene.wait(20)
    (told,) = scene.fleet.desired(["bank-api"])
    assert (told.override.override, told.override.expires_in) == (Override.FORCED_OPEN, 40.0)


def test_a_reset_is_for_whoever_ran_when_it_was_given(scene):
    early = scene.link().tell()
    scene.wait(1)
    command = scene.reset()
    scene.wait(1)
    late = scene.link().tell()
    (told,) = scene.fleet.resets_for(early.id, early.revision)
    assert (told.id, told.name, told.instance) == (command, "bank-api", None)
    assert told.age == 1.0
    assert scene.fleet.resets_for(late.id, 0) == ()
    assert scene.fleet.resets_for(uuid4(), 0) == ()


def test_who_came_before_a_late_read_but_after_the_command_is_no_target(scene):
    """The write of another process: the hint was lost, and an instance linked before the next look."""
    scene.link().tell()
    given = scene.now
    scene.wait(1)
    scene.link().tell()
    scene.now, now = given, scene.now
    command = scene.reset()
    scene.now = now
    assert scene.fleet.reset_progress(command)["targeted"] == 1


def test_a_reset_of_one_instance_is_not_told_to_others(scene):
    one, other = scene.link().tell(), scene.link().tell()
    command = scene.reset(instance=one.id)
    assert [told.id for told in scene.fleet.resets_for(one.id, 0)] == [command]
    assert scene.fleet.resets_for(other.id, 0) == ()
    assert scene.fleet.reset_progress(command) == {"targeted": 1, "confirmed": 0, "silent": 0}


def test_a_reset_is_told_to_those_who_have_the_breaker_only(scene):
    scene.want("b")
    one = scene.link().tell("bank-api")
    scene.reset("b")
    assert scene.fleet.resets_for(one.id, 0) == ()


def test_a_reset_lives_60_seconds(scene):
    one = scene.link().tell()
    scene.reset()
    scene.wait(59, heartbeats=(one,))
    assert len(scene.fleet.resets_for(one.id, 0)) == 1
    scene.wait(1, heartbeats=(one,))
    assert scene.fleet.resets_for(one.id, 0) == ()


def test_what_was_confirmed_or_told_before_is_not_told_again(scene):
    one = scene.link().tell()
    first, second = scene.reset(), scene.reset()
    assert [told.id for told in scene.fleet.resets_for(one.id, scene.revision - 1)] == [second]
    one.send(resets=(first,))
    assert [told.id for told in scene.fleet.resets_for(one.id, 0)] == [second]


def test_the_progress_of_a_reset_counts_who_confirmed_and_who_is_silent(scene):
    one, other, lost = (scene.link().tell(state="open") for _ in range(3))
    scene.wait(16, heartbeats=(one, other))
    command = scene.reset()
    assert scene.fleet.reset_progress(command) == {"targeted": 3, "confirmed": 0, "silent": 1}
    one.send(resets=(command,))
    one.send(resets=(command,))
    assert scene.fleet.reset_progress(command) == {"targeted": 3, "confirmed": 1, "silent": 1}
    scene.link().tell().send(resets=(command,))
    assert scene.fleet.reset_progress(command)["confirmed"] == 1, "who came later has nothing to confirm"
    assert lost.id != other.id


def test_the_progress_of_an_unknown_reset_is_nothing(scene):
    assert scene.fleet.reset_progress(str(uuid4())) == {"targeted": 0, "confirmed": 0, "silent": 0}


def test_each_confirmation_is_an_event(scene):
    heard = []
    scene.fleet.on_event(heard.append)
    one = scene.link().tell()
    command = scene.reset()
    one.send(resets=(command,))
    one.send(resets=(command,))
    (event,) = heard
    assert (event["kind"], event["name"], event["command"]) == ("reset_progress", "bank-api", command)
    assert (event["targeted"], event["confirmed"], event["text"]) == (1, 1, "1 of 1 confirmed")


def test_a_reset_that_is_10_minutes_old_is_forgotten_with_the_next_write(scene):
    one = scene.link().tell()
    command = scene.reset()
    scene.wait(601, heartbeats=(one,))
    scene.resets.clear()
    scene.want("bank-api")
    assert scene.fleet.reset_progress(command)["targeted"] == 0
