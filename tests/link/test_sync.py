"""What a link applies and reports, without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.registrations import REGISTER_AGAIN_AFTER
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.sync import Sync
from breakers.core.wire import (
    MAX_BYTES,
    Ack,
    Desired,
    DesiredBreaker,
    DesiredOverride,
    Report,
    ResetCommand,
    Welcome,
    encode,
)
from breakers.testing import FakeClock

OPEN, CLOSED = CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED


class Process:
    """A registry on a clock that stands still, and its Sync."""

    def __init__(self, **options: int) -> None:
        self.clock = FakeClock()
        self.registry = CircuitBreakerRegistry(clock=self.clock)
        self.sync = self.new_sync(**options)

    def new_sync(self, **options: int) -> Sync:
        return Sync(self.registry, service="trading", library="test", clock=self.clock, wall=lambda: 1e9, **options)

    def breaker(self, name: str = "api", **config: object):  # type: ignore[no-untyped-def]  # what the registry gives
        return self.registry.get_or_create(name, CircuitBreakerConfig(name=name, **config) if config else None)

    def fail(self, name: str = "api", times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(ZeroDivisionError):
                self.breaker(name).call_sync(lambda: 1 / 0)

    def flap(self, transitions: int, name: str = "api") -> None:
        """Opened by one failure, closed by a reset, and again."""
        for _ in range(transitions):
            if self.breaker(name).state is OPEN:
                self.breaker(name).reset()
            else:
                self.fail(name)

    def reports(self, *, whole: bool = True, transitions: int = 500) -> Iterator[Report]:
        """All there is to say now."""
        while report := self.sync.report(whole=whole, heartbeat=False, transitions=transitions):
            yield report
            whole = False

    def say(self, *, whole: bool = True) -> Report:
        """The one report that says it all."""
        [report] = self.reports(whole=whole)
        return report


def linked() -> Process:
    """With the breaker ``api``, which one failure opens."""
    made = Process()
    made.breaker(failure_threshold=1)
    made.sync.hello()
    return made


process = pytest.fixture(linked, name="process")


def row(revision: int, name: str = "api", **config: object) -> DesiredBreaker:
    """A row whose config says its revision in ``success_threshold``."""
    whole = CircuitBreakerConfig(name=name, success_threshold=max(revision, 1)).as_dict()
    return DesiredBreaker(name, revision, version=revision, config={**whole, **config})


def told(revision: int, *rows: DesiredBreaker, since: int | None = None, **more: object) -> Desired:
    return Desired(revision=revision, since=since, breakers=rows, **more)  # type: ignore[arg-type]  # resets, if any


# --- saying -------------------------------------------------------------------------------------------------------


def test_hello_names_the_process_and_the_breakers_it_has_in_code() -> None:
    process = Process()
    process.breaker("a", failure_threshold=7)
    process.breaker("b")
    hello = process.sync.hello()
    assert [registration.name for registration in hello.registrations] == ["a", "b"]
    assert hello.registrations[0].config["failure_threshold"] == 7
    assert (hello.service, hello.revision, hello.instance) == ("trading", 0, process.sync.instance)


def test_after_a_connection_every_breaker_is_reported_then_only_those_that_changed(process: Process) -> None:
    process.breaker("other")
    assert {status.name for status in process.say().breakers} == {"api", "other"}
    assert process.sync.report(heartbeat=False) is None
    process.breaker("other").call_sync(int)
    report = process.say()
    assert [(status.name, status.counts.successes) for status in report.breakers] == [("other", 1)]
    process.sync.hello()
    assert {status.name for status in process.say().breakers} == {"api", "other"}


def test_a_heartbeat_with_nothing_to_say_is_empty_and_numbered(process: Process) -> None:
    first, second = process.say(), process.sync.report()
    assert second == Report(id=first.id + 1, now=1e9)


def test_a_lost_report_loses_no_count(process: Process) -> None:
    process.fail()
    process.say()  # lost
    process.breaker().reset()
    process.fail()
    assert process.say().breakers[0].counts.failures == 2


def test_a_transition_is_urgent_and_brings_the_status_of_its_breaker_only(process: Process) -> None:
    process.breaker("other")
    process.say()
    process.breaker("other").call_sync(int)
    process.fail()
    report = process.say(whole=False)
    assert [transition.to_state for transition in report.transitions] == [OPEN]
    assert [status.name for status in report.breakers] == ["api"]


def test_whoever_carries_the_sync_is_woken_by_transitions_and_new_breakers(process: Process) -> None:
    woken: list[int] = []
    process.sync.wake = lambda: woken.append(1)
    process.breaker().call_sync(int)
    assert not woken
    process.fail()
    assert len(woken) == 1
    process.breaker("new")
    assert len(woken) == 2
    assert process.sync.urgent


def test_transitions_are_numbered_from_one_without_a_gap(process: Process) -> None:
    process.flap(7)
    told = [transition.sequence for report in process.reports(transitions=3) for transition in report.transitions]
    assert told == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_not_acknowledged_is_said_again_under_its_number_after_a_reconnection(process: Process) -> None:
    process.flap(5)
    first = process.say()
    process.sync.receive(Ack(id=first.id, sequence=2))
    process.flap(1)
    process.sync.hello()
    again = process.say().transitions
    assert [transition.sequence for transition in again] == [3, 4, 5, 6]
    assert again[:3] == first.transitions[2:]


def test_an_acknowledgement_of_numbers_never_given_forgets_nothing_unsaid(process: Process) -> None:
    process.flap(2)
    process.say()
    process.flap(2)
    process.sync.receive(Ack(id=1, sequence=1000))
    assert [transition.sequence for transition in process.say().transitions] == [3, 4]


def test_an_acknowledgement_does_not_reach_what_came_after_it(process: Process) -> None:
    process.flap(2)
    process.say()
    process.sync.receive(Ack(id=1, sequence=2))
    process.flap(2)
    process.sync.receive(Ack(id=1, sequence=4))
    assert [transition.sequence for transition in process.say().transitions] == [3, 4]


def test_an_old_acknowledgement_changes_nothing(process: Process) -> None:
    process.flap(4)
    process.say()
    process.sync.receive(Ack(id=1, sequence=3))
    process.sync.receive(Ack(id=1, sequence=1))
    process.sync.hello()
    assert [transition.sequence for transition in process.say().transitions] == [4]


def test_a_full_queue_drops_the_oldest_unsent_counts_it_and_leaves_no_gap() -> None:
    process = Process(capacity=10)
    process.breaker(failure_threshold=1)
    process.sync.hello()
    process.flap(3)
    [sent] = process.reports()
    process.flap(11)
    assert (len(process.sync.outbox), process.sync.outbox.dropped) == (10, 4)
    process.sync.receive(Ack(id=sent.id, sequence=3))
    kept = [t for report in process.reports() for t in report.transitions]
    process.sync.receive(Ack(id=99, sequence=8))
    kept += [t for report in process.reports() for t in report.transitions]
    assert [t.sequence for t in kept] == list(range(4, 11))
    assert [t.epoch for t in kept] == list(range(8, 15))  # the newest are there
    report = process.sync.report()
    assert report is not None
    assert report.dropped == 4


def test_what_was_sent_keeps_its_number_when_the_queue_overflows() -> None:
    process = Process(capacity=10)
    process.breaker(failure_threshold=1)
    process.sync.hello()
    process.flap(3)
    [sent] = process.reports()
    process.flap(11)
    process.sync.hello()
    assert next(process.reports()).transitions[:3] == sent.transitions


def test_a_server_that_does_not_acknowledge_gets_no_more_than_a_window(process: Process) -> None:
    process.flap(2500)
    sent = sum(len(report.transitions) for report in process.reports())
    assert sent == 2000
    process.sync.receive(Ack(id=1, sequence=100))
    assert sum(len(report.transitions) for report in process.reports()) == 100


def test_no_report_is_larger_than_a_message_may_be() -> None:
    process = Process()
    for number in range(1500):
        process.breaker(f"{'b' * 90}.{number}", failure_threshold=1)
    process.sync.hello()
    name = f"{'b' * 90}.7"
    for _ in range(600):
        with pytest.raises(ValueError):
            process.breaker(name).call_sync(lambda: (_ for _ in ()).throw(ValueError("\N{PILE OF POO}" * 400)))
        process.breaker(name).reset()
    reports = list(process.reports())
    assert max(len(encode(report)) for report in reports) <= MAX_BYTES
    assert len({status.name for report in reports for status in report.breakers}) == 1500
    assert len({registration.name for report in reports for registration in report.registrations}) == 1300
    assert [t.sequence for report in reports for t in report.transitions] == list(range(1, 1201))


def test_a_report_that_would_be_too_large_is_cut_and_nothing_of_it_is_left_out(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.sync.MAX_BYTES", 20_000)
    monkeypatch.setattr("breakers.core.sync._SURELY_FITS", 5)
    process.flap(400)
    reports = list(process.reports())
    assert max(len(encode(report)) for report in reports) <= 20_000
    assert [t.sequence for report in reports for t in report.transitions] == list(range(1, 401))


def test_an_instance_that_begins_now_does_not_report_what_was_counted_before(process: Process) -> None:
    process.fail()
    later = process.new_sync(from_now=True)
    process.breaker().reset()
    process.fail()
    later.hello()
    report = later.report()
    assert report is not None
    counts, latency = report.breakers[0].counts, report.breakers[0].latency
    assert (counts.failures, counts.state_changes, sum(latency.values())) == (1, 2, 1)
    assert later.instance != process.sync.instance


def test_a_closed_sync_listens_no_longer_until_it_is_reopened(process: Process) -> None:
    process.sync.close()
    process.flap(2)
    assert len(process.sync.outbox) == 0
    process.sync.reopen("renamed")
    process.flap(2)
    assert len(process.sync.outbox) == 2
    assert process.sync.hello().service == "renamed"


# --- applying -----------------------------------------------------------------------------------------------------


def test_a_config_is_applied_and_confirmed_at_once(process: Process) -> None:
    process.say()
    process.sync.receive(told(3, row(3)))
    assert process.breaker().config.success_threshold == 3
    report = process.say(whole=False)
    assert report.revision == 3
    assert [(status.name, status.config_version) for status in report.breakers] == [("api", 3)]


def test_a_revision_that_concerns_no_breaker_here_is_confirmed_at_once(process: Process) -> None:
    process.say()
    process.sync.receive(told(3))
    assert process.say(whole=False).revision == 3


def test_older_never_overwrites_newer(process: Process) -> None:
    process.sync.receive(told(5, row(5)))
    process.sync.receive(told(4, row(4), since=3))
    process.sync.receive(told(4, row(4)))
    assert process.breaker().config.success_threshold == 5
    assert process.sync.revision == 5


def test_a_snapshot_older_than_a_row_does_not_delete_it(process: Process) -> None:
    process.sync.receive(told(5, row(5)))
    process.sync.receive(told(4))
    assert process.breaker().config.success_threshold == 5


def test_rows_after_a_gap_are_taken_but_the_gap_is_not_confirmed(process: Process) -> None:
    process.breaker("other")
    process.sync.receive(told(5, row(5), row(5, "other")))
    process.sync.receive(told(9, row(9), since=7))  # 6 and 7 were lost: "other" may have changed
    assert process.breaker().config.success_threshold == 9
    assert process.sync.revision == 5
    process.sync.receive(told(9, row(9), row(6, "other"), since=5))
    assert process.sync.revision == 9
    assert process.breaker("other").config.success_threshold == 6


def test_a_row_for_a_breaker_made_later_is_taken_at_the_same_revision(process: Process) -> None:
    process.sync.receive(told(9))
    process.breaker("late")
    process.sync.receive(told(9, row(4, "late"), since=9))
    assert process.breaker("late").config.success_threshold == 4


def test_rows_of_breakers_that_this_process_does_not_have_are_passed_over(process: Process) -> None:
    process.sync.receive(told(3, row(3, "unknown")))
    assert "unknown" not in process.registry
    assert process.sync.rows() == ()
    assert process.sync.revision == 3


def test_a_config_that_cannot_be_is_refused_and_the_last_good_one_stays(process: Process) -> None:
    process.sync.receive(told(3, row(3)))
    process.say()
    bad = row(4, failure_threshold=-1)
    process.sync.receive(told(4, DesiredBreaker("api", 4, 4, bad.config, None, DesiredOverride(Override.FORCED_OPEN))))
    assert process.breaker().config.success_threshold == 3
    assert process.breaker().get_metrics()["override"] is Override.FORCED_OPEN  # an order does not wait for a config
    [refusal] = process.say(whole=False).refusals
    assert (refusal.name, refusal.revision, "failure_threshold" in refusal.error) == ("api", 4, True)
    assert process.sync.revision == 4


def test_a_refusal_is_said_again_after_a_reconnection_until_a_good_config_comes(process: Process) -> None:
    process.sync.receive(told(4, row(4, failure_threshold=-1)))
    process.say()
    assert process.sync.report().refusals == ()  # type: ignore[union-attr]  # a heartbeat is always given
    process.sync.hello()
    assert [refusal.revision for refusal in process.say().refusals] == [4]
    process.sync.receive(told(5, row(5)))
    process.sync.hello()
    assert process.say().refusals == ()


def test_an_http_config_that_cannot_be_takes_neither_config(process: Process) -> None:
    good = row(9)
    process.sync.receive(told(9, DesiredBreaker("api", 9, 9, good.config, {"max_retries": -1})))
    assert process.breaker().config == process.breaker().code_config
    assert [refusal.revision for refusal in process.say().refusals] == [9]


def test_fields_of_a_newer_server_are_passed_over(process: Process) -> None:
    process.sync.receive(told(3, row(3, invented_tomorrow=True)))
    assert process.breaker().config.success_threshold == 3


def test_a_row_without_a_config_leaves_the_one_of_the_code(process: Process) -> None:
    process.sync.receive(told(3, row(3)))
    process.sync.receive(told(4, DesiredBreaker("api", 4, version=1), since=3))
    assert process.breaker().config == process.breaker().code_config


@pytest.mark.parametrize(
    "deletion", [told(4, DesiredBreaker("api", 4, deleted=True), since=3), told(4)], ids=["said", "absent"]
)
def test_a_deleted_breaker_returns_to_code_and_is_registered_again_later(process: Process, deletion: Desired) -> None:
    process.sync.receive(told(3, row(3)))
    process.say()
    process.sync.receive(deletion)
    assert process.breaker().config == process.breaker().code_config
    report = process.say()
    assert report.registrations == ()
    assert report.breakers[0].config_version is None
    process.clock.advance(REGISTER_AGAIN_AFTER)
    assert [registration.name for registration in process.say(whole=False).registrations] == ["api"]


def test_a_breaker_that_was_recreated_meanwhile_is_not_registered_again(process: Process) -> None:
    process.sync.receive(told(3, row(3)))
    process.sync.receive(told(4))
    process.sync.receive(told(5, row(5), since=4))
    process.say()
    process.clock.advance(REGISTER_AGAIN_AFTER)
    assert process.sync.report(heartbeat=False) is None


def test_an_unknown_name_in_the_first_answer_is_no_deletion(process: Process) -> None:
    process.sync.receive(told(3))
    process.say()
    process.clock.advance(REGISTER_AGAIN_AFTER)
    assert process.sync.report(heartbeat=False) is None


def test_an_override_comes_with_its_seconds_and_goes(process: Process) -> None:
    order = DesiredOverride(Override.FORCED_OPEN, "INC-1", 30.0)
    process.sync.receive(told(3, DesiredBreaker("api", 3, override=order)))
    [status] = process.say().breakers
    assert status.override is not None
    assert (status.override.override, status.override.origin, status.override.reason) == (
        Override.FORCED_OPEN,
        "fleet",
        "INC-1",
    )
    assert status.override.expires_in == 30.0
    process.sync.receive(told(4, DesiredBreaker("api", 4), since=3))
    assert process.breaker().get_metrics()["override"] is None


def test_an_override_that_expired_on_the_way_is_none(process: Process) -> None:
    order = DesiredOverride(Override.FORCED_OPEN, "INC-1", -0.5)
    process.sync.receive(told(3, replace(row(3), override=order)))
    assert process.breaker().get_metrics()["override"] is None
    assert process.say().refusals == ()
    assert process.breaker().config.success_threshold == 3


def test_a_database_that_was_put_back_is_believed_in_its_answer_to_hello(process: Process) -> None:
    process.sync.receive(told(500, row(500)))
    process.sync.hello()
    process.sync.receive(Welcome(server="restored", now=1e9))
    process.sync.receive(told(7, row(7)))
    assert process.breaker().config.success_threshold == 7
    assert process.sync.revision == 7
    process.sync.receive(told(6, row(6)))  # no longer the answer: merely old
    assert process.breaker().config.success_threshold == 7


# --- resets -------------------------------------------------------------------------------------------------------


def test_a_reset_is_carried_out_once_and_confirmed_until_acknowledged(process: Process) -> None:
    process.clock.advance(100)
    process.fail()
    command = ResetCommand("r1", "api", age=0.1)
    process.sync.receive(told(1, since=0, resets=(command,)))
    assert process.breaker().state is CLOSED
    process.fail()
    process.sync.receive(told(1, since=0, resets=(command,)))
    assert process.breaker().state is OPEN
    assert process.say().resets == ("r1",)
    assert process.sync.report().resets == ()  # type: ignore[union-attr]  # a heartbeat is always given
    process.sync.hello()  # it was never acknowledged
    report = process.say()
    assert report.resets == ("r1",)
    process.sync.receive(Ack(id=report.id))
    process.sync.hello()
    assert process.say().resets == ()


def test_a_reset_that_was_not_said_yet_outlives_an_acknowledgement(process: Process) -> None:
    report = process.say()
    process.sync.receive(told(1, since=0, resets=(ResetCommand("r1", "api"),)))
    process.sync.receive(Ack(id=report.id))
    assert process.say().resets == ("r1",)


def test_a_thousand_resets_at_once_are_all_confirmed(process: Process) -> None:
    process.say()
    process.sync.receive(told(1, since=0, resets=tuple(ResetCommand(f"r{n}", "api") for n in range(1000))))
    confirmed = [key for report in process.reports(whole=False) for key in report.resets]
    assert confirmed == [f"r{n}" for n in range(1000)]


@pytest.mark.parametrize(
    ("command", "uptime"),
    [
        (ResetCommand("r", "api", age=60.1), 1000.0),
        (ResetCommand("r", "api", age=5.0), 4.0),
        (ResetCommand("r", "api", age=1.0, instance="another"), 1000.0),
    ],
    ids=["too old", "given before this process ran", "for another instance"],
)
def test_a_reset_that_is_not_for_now_or_not_for_us_is_passed_over(command: ResetCommand, uptime: float) -> None:
    process = Process()
    process.breaker(failure_threshold=1)
    process.sync.hello()
    process.clock.advance(uptime)
    process.fail()
    process.sync.receive(told(1, resets=(command,)))
    assert process.breaker().state is OPEN
    assert process.say().resets == ()


def test_ids_of_resets_are_forgotten_once_they_cannot_come_again(process: Process) -> None:
    command = ResetCommand("r", "api")
    process.sync.receive(told(1, resets=(command,)))
    process.clock.advance(119)
    process.fail()
    process.sync.receive(told(1, resets=(command,)))
    assert process.breaker().state is OPEN
    process.clock.advance(1)
    process.sync.receive(told(1, resets=(command,)))
    assert process.breaker().state is CLOSED


def test_a_reset_for_this_instance_alone_is_carried_out(process: Process) -> None:
    process.clock.advance(100)
    process.fail()
    process.sync.receive(told(1, resets=(ResetCommand("r", "api", instance=process.sync.instance),)))
    assert process.breaker().state is CLOSED


def test_a_reset_met_before_its_breaker_was_made_does_not_touch_it_later(process: Process) -> None:
    process.clock.advance(100)
    command = ResetCommand("r", "late")
    process.sync.receive(told(1, since=0, resets=(command,)))
    process.breaker("late", failure_threshold=1)
    process.fail("late")
    process.sync.receive(told(1, since=0, resets=(command,)))
    assert process.breaker("late").state is OPEN


# --- the cache ----------------------------------------------------------------------------------------------------


def test_remembered_rows_are_taken_when_the_program_makes_the_breaker_and_yield_to_the_server(process: Process) -> None:
    process.sync.seed([row(900, "late"), row(900)])
    assert process.breaker().config.success_threshold == 900
    assert process.breaker("late").config.success_threshold == 900
    assert process.sync.revision == 0
    process.sync.receive(told(2, row(2), row(1, "late")))
    assert process.breaker().config.success_threshold == 2
    assert process.breaker("late").config.success_threshold == 1


def test_rows_name_what_the_fleet_wants_now(process: Process) -> None:
    process.sync.receive(told(3, row(3)))
    assert process.sync.rows() == (row(3),)
    process.sync.receive(told(4))
    assert process.sync.rows() == ()


def test_what_is_said_is_readable(process: Process) -> None:
    process.flap(3)
    assert json.loads(encode(process.say()))["type"] == "report"
