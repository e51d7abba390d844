"""A link and the breakers that its process forgets: their counts go on, without a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.partings import Partings
from breakers.core.states import Override
from breakers.core.wire import Ack, BreakerStatus, DesiredBreaker, DesiredOverride

from .test_sync import CLOSED, OPEN, Process, linked, row, told

process = pytest.fixture(linked, name="process")


def counted(status: BreakerStatus) -> tuple[int, int, int]:
    return status.counts.failures, status.counts.state_changes, sum(status.latency.values())


def test_one_that_is_made_anew_goes_on_counting_where_the_forgotten_one_stopped(process: Process) -> None:
    for turn in range(1, 4):
        process.fail()  # which opens it
        [status] = process.say().breakers
        assert counted(status) == (turn, 2 * turn - 1, turn)  # it was closed for who watches when it was forgotten
        assert process.breaker().get_metrics()["failures_total"] == 1
        process.registry.forget("api")
        process.breaker(failure_threshold=1)


def test_what_a_forgotten_one_had_not_reported_yet_is_not_lost(process: Process) -> None:
    process.say()
    for _ in range(2):  # neither of them was ever reported
        process.fail()
        process.registry.forget("api")
        process.breaker(failure_threshold=1)
    [status] = process.say().breakers
    assert counted(status) == (2, 4, 2)


def test_one_that_is_not_made_anew_is_reported_once_more_until_that_is_acknowledged(process: Process) -> None:
    process.say()
    process.fail()
    process.registry.forget("api")
    report = process.say()
    assert [counted(status) for status in report.breakers] == [(1, 2, 1)]
    assert list(process.reports()) == []
    process.sync.hello()  # nobody knows whether it has arrived
    report = process.say()
    assert [counted(status) for status in report.breakers] == [(1, 2, 1)]
    process.sync.receive(Ack(report.id, report.transitions[-1].sequence))
    process.sync.hello()
    assert list(process.reports()) == []


def test_an_instance_that_begins_now_leaves_out_what_its_parent_counted_also_of_one_that_is_made_anew(
    process: Process,
) -> None:
    process.fail()
    process.sync.begin_anew()
    process.registry.forget("api")
    process.breaker(failure_threshold=1)
    process.fail()
    process.sync.hello()
    [status] = process.say().breakers
    assert counted(status) == (1, 2, 1)


def test_how_many_forgotten_ones_are_remembered_is_bounded(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakers.core.forgotten.REMEMBERED", 2)
    for name in ("a", "b", "c"):
        process.breaker(name, failure_threshold=1)
        process.fail(name)
        process.say()
        process.registry.forget(name)
    assert process.registry.forgotten() == ["b", "c"]
    for name in ("a", "b", "c"):
        process.breaker(name)
    assert process.registry.forgotten() == []
    known = {status.name: status.counts.failures for status in process.say().breakers}
    assert known == {"a": 0, "b": 1, "c": 1}
    for number in range(5):  # what is counted on is not forgotten for others
        process.registry.forget(process.breaker(f"other-{number}").name)
    process.sync.hello()
    known = {status.name: status.counts.failures for status in process.say().breakers}
    assert (known["b"], known["c"]) == (1, 1)


def test_what_was_forgotten_before_an_instance_began_is_told_only_as_far_as_it_counts_on(process: Process) -> None:
    process.fail()
    old = process.breaker()
    process.registry.forget("api")
    process.registry.forget(process.breaker("other").name)
    later = process.new_sync(from_now=True)
    later.hello()
    assert later.report(heartbeat=False) is None
    old.reset()
    old.call_sync(int)
    report = later.report(heartbeat=False)
    assert report is not None
    [status] = report.breakers
    assert (status.name, status.state, status.counts.successes, status.counts.failures) == ("api", CLOSED, 1, 0)


def test_one_that_is_open_is_closed_for_who_listens_when_it_is_forgotten_and_stays_as_it_is_for_who_holds_it(
    process: Process,
) -> None:
    process.fail()
    held = process.breaker()
    process.say()
    process.registry.forget("api")
    report = process.say(whole=False)
    [end] = report.transitions
    [status] = report.breakers
    assert (end.from_state, end.to_state, end.reason) == (OPEN, CLOSED, "reset")
    assert (status.state, status.epoch) == (CLOSED, end.epoch)
    assert held.state is OPEN
    assert process.breaker().snapshot().epoch > end.epoch


def test_of_one_that_is_closed_nothing_but_its_counts_is_news_when_it_is_forgotten(process: Process) -> None:
    [before] = process.say().breakers
    process.registry.forget("api")
    report = process.say()
    [status] = report.breakers
    assert (status.state, status.epoch, report.transitions) == (CLOSED, before.epoch, ())


def test_a_forgotten_one_that_is_held_is_told_of_whenever_it_has_counted_more_and_no_longer(process: Process) -> None:
    held: list[CircuitBreaker] = [process.breaker()]
    process.registry.forget("api")
    process.say()
    for turn in range(1, 4):
        held[0].call_sync(int)
        [status] = process.say().breakers
        assert status.counts.successes == turn
        assert list(process.reports()) == []
    held[0].call_sync(int)
    held.clear()  # it is no more, and nobody has told of its last call
    report = process.say()
    assert [status.counts.successes for status in report.breakers] == [4]
    assert list(process.reports()) == []
    process.sync.hello()
    assert [status.counts.successes for status in process.say().breakers] == [4]


def test_of_many_that_are_forgotten_and_held_each_is_looked_at_in_its_turn_and_all_at_the_end(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.partings.AT_ONCE", 2)
    held = [process.breaker(f"host:{number}") for number in range(6)]
    process.registry.clear()
    process.say()
    process.sync.report()

    def told() -> list[str]:
        return [status.name for report in process.reports() for status in report.breakers]

    for breaker in held:
        breaker.call_sync(int)
    seen = [told() for _ in range(3)]
    assert [len(names) for names in seen] == [2, 2, 2]
    assert {name for names in seen for name in names} == {breaker.name for breaker in held}
    for breaker in held:
        breaker.call_sync(int)
    process.sync.close()
    assert set(told()) == {breaker.name for breaker in held}


def test_how_many_forgotten_ones_are_told_of_again_and_again_is_bounded(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.sync._LATEST", 2)
    for number in range(5):
        process.registry.forget(process.breaker(f"host:{number}").name)
    assert [status.name for status in process.sync.standing().breakers] == ["host:3", "host:4", "api"]


def test_several_forgotten_ones_of_a_name_count_on_beside_the_one_that_was_made_anew(process: Process) -> None:
    held = [process.breaker()]
    for _ in range(2):
        process.registry.forget("api")
        held.append(process.breaker())
    process.say()
    for old in held[:2]:
        old.call_sync(int)
    [status] = process.say().breakers
    assert (status.counts.successes, sum(status.latency.values())) == (2, 2)
    held[1].call_sync(int)
    del old, held[:2]
    [status] = process.say().breakers
    assert (status.counts.successes, sum(status.latency.values())) == (3, 3)


def test_what_is_kept_of_names_that_are_remembered_no_longer_is_bounded(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.forgotten.REMEMBERED", 5)
    monkeypatch.setattr("breakers.core.sync._FEW", 5)
    for number in range(1, 50):
        name = f"host:{number}"
        process.breaker(name)
        process.sync.receive(told(number, row(number, name), since=number - 1))
        process.say()
        process.registry.forget(name)
        process.say()
    assert {f"host:{number}" for number in range(45, 50)} <= {kept.name for kept in process.sync.rows()}
    assert len(process.sync.rows()) < 20
    assert len(process.sync._said) < 20
    assert [status.name for report in process.reports() for status in report.breakers] == []


def test_no_count_is_below_zero_where_a_name_was_no_longer_remembered(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.forgotten.REMEMBERED", 1)
    process.fail()
    later = process.new_sync(from_now=True)
    process.registry.forget("api")
    process.registry.forget(process.breaker("other").name)
    process.breaker("api")
    later.hello()
    report = later.report()
    assert report is not None
    assert {status.name: status.counts.failures for status in report.breakers} == {"api": 0, "other": 0}


def test_an_acknowledgement_confirms_what_came_in_its_report_or_before_on_this_connection(process: Process) -> None:
    partings, mark = Partings(process.registry, from_now=False), (0, -1, 0)
    process.registry.forget("api")

    def due_after(said_in: int, acknowledged: int) -> list[str]:
        partings.said("api", mark, said_in)
        partings.acknowledge(acknowledged)
        partings.forget_connection()
        return partings.due({})

    partings.forget_connection()
    assert partings.due({}) == ["api"]
    assert due_after(2, 1) == ["api"]
    partings.acknowledge(2)  # that was the last connection's
    partings.forget_connection()
    assert partings.due({}) == ["api"]
    assert due_after(2, 3) == []


def test_the_last_counts_of_forgotten_ones_take_little_memory(process: Process) -> None:
    """Their machines, gates and windows are gone with them."""
    for number in range(5):
        process.breaker(f"host:{number}").call_sync(int)
        process.registry.forget(f"host:{number}")
    process.breaker("host:4")
    process.registry.forget("api")
    pasts = [process.registry.look(f"host:{number}")[1] for number in range(5)]
    assert [past.lingering for past in pasts if past is not None] == [()] * 5
    assert [past.ended.counts.successes for past in pasts if past is not None] == [1] * 5


def test_what_the_fleet_wants_holds_also_for_one_that_is_made_anew(process: Process) -> None:
    forced = DesiredOverride(Override.FORCED_OPEN, "maintenance")
    process.sync.receive(told(3, replace(row(3), override=forced)))
    process.registry.forget("api")
    again = process.breaker(failure_threshold=1)
    assert again.config.success_threshold == 3
    assert again.snapshot().override is Override.FORCED_OPEN


def test_what_the_fleet_wanted_meanwhile_holds_for_one_that_is_made_anew(process: Process) -> None:
    process.sync.receive(told(3, row(3)))
    process.registry.forget("api")
    process.sync.receive(told(4, row(4), since=3))
    assert process.breaker().config.success_threshold == 4
    process.registry.forget("api")
    process.sync.receive(told(5, DesiredBreaker("api", 5, deleted=True), since=4))
    assert process.breaker().config == CircuitBreakerConfig(name="api")
