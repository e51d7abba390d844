"""What the fleet shows of a process that forgets breakers and makes them anew, as the middleware does with hosts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.states import CircuitBreakerState, Outcome, Permit
from breakers.core.sync import Sync
from breakers.core.wire import Ack, Report
from breakers.fleet import Row
from breakers.fleet.observed import Observation
from breakers.models import InstanceIdentity
from tests.fleet.conftest import Scene

HOST = "data-service:80"


class Process:
    """A registry whose reports arrive at the fleet of ``scene``."""

    def __init__(self, scene) -> None:
        self.scene, self.registry = scene, CircuitBreakerRegistry()
        self.sync = Sync(self.registry, service="trading", library="test", wall=lambda: scene.now.timestamp())
        hello = self.sync.hello()
        self.id = UUID(hello.instance)
        scene.fleet.connect(InstanceIdentity(self.id, "trading", "host-1", 1, "test", scene.now), scene.now)

    def call(self, *, works: bool) -> None:
        """Through the host's breaker, which one failure opens."""
        breaker = self.registry.get_or_create(HOST, CircuitBreakerConfig(failure_threshold=1))
        if works:
            breaker.call_sync(lambda: None)
        else:
            with pytest.raises(ZeroDivisionError):
                breaker.call_sync(lambda: 1 / 0)

    def shown(self) -> Row:
        """The host's row once all is reported."""
        while report := self.sync.report(heartbeat=False):
            self.scene.fleet.report(self.id, report, self.scene.now)
            last = report.transitions[-1].sequence if report.transitions else 0
            self.sync.receive(Ack(report.id, last))
        return self.scene.row(HOST)

    def successes(self) -> int:
        """Of the whole fleet."""
        self.shown()
        metrics = self.scene.fleet.metrics(HOST)
        return int(metrics["successes_total"])


@pytest.fixture
def process(scene) -> Process:
    scene.want(HOST)
    return Process(scene)


def test_no_call_of_one_that_is_made_anew_is_missing_from_the_totals(process: Process) -> None:
    for _ in range(5):
        process.call(works=True)
    assert process.successes() == 5
    for turn in range(1, 4):
        process.call(works=True)  # what is reported with the next one only
        process.registry.forget(HOST)
        process.call(works=True)
        assert process.successes() == 5 + 2 * turn


def test_the_last_calls_of_one_that_is_not_made_anew_are_in_the_totals(process: Process) -> None:
    process.call(works=True)
    process.shown()
    process.call(works=True)
    process.registry.forget(HOST)
    assert process.successes() == 2


def test_one_that_is_made_anew_and_opens_is_shown_as_open(process: Process) -> None:
    process.call(works=False)
    assert process.shown()["state"] == "open"
    process.registry.all()[0].reset()
    assert process.shown()["state"] == "closed"
    process.registry.forget(HOST)
    process.call(works=False)
    assert process.shown()["state"] == "open"


def test_one_that_is_made_anew_is_shown_as_closed_whatever_the_forgotten_one_was(process: Process) -> None:
    process.call(works=False)
    assert process.shown()["state"] == "open"
    process.registry.forget(HOST)
    process.call(works=True)
    assert process.shown()["state"] == "closed"


def test_a_process_that_has_forgotten_a_breaker_is_none_of_its_instances_until_it_makes_it_anew(
    process: Process,
) -> None:
    another = process.scene.link("another_service").tell(HOST)
    process.call(works=False)
    assert process.shown()["instances"] == {"total": 2, "closed": 1, "half_open": 0, "open": 1, "silent": 0}
    process.registry.forget(HOST)
    shown = process.shown()
    assert shown["instances"] == {"total": 1, "closed": 1, "half_open": 0, "open": 0, "silent": 0}
    assert (shown["services"], shown["applied"]["of"]) == (["another_service"], 1)
    process.scene.wait(20, heartbeats=(another,))  # it is silent, and heard again
    assert process.shown()["instances"]["total"] == 1
    process.call(works=True)
    assert process.shown()["instances"]["total"] == 2


@pytest.mark.parametrize("works", [True, False])
def test_one_that_was_made_and_forgotten_again_between_two_reports_is_nobodys(process: Process, works: bool) -> None:
    for _ in range(3):
        process.call(works=works)
        process.registry.forget(HOST)
        shown = process.shown()
        assert shown["instances"] == {"total": 0, "closed": 0, "half_open": 0, "open": 0, "silent": 0}
        assert shown["state"] == "closed"


def test_a_step_of_one_that_is_made_anew_is_enough_to_have_it_again(process: Process) -> None:
    """Its status may come in the next report, where there is much to tell."""
    process.call(works=True)
    process.registry.forget(HOST)
    process.shown()
    process.call(works=False)
    report = process.sync.report()
    assert report is not None
    process.scene.fleet.report(process.id, replace(report, breakers=()), process.scene.now)
    assert process.scene.row(HOST)["instances"] == {"total": 1, "closed": 0, "half_open": 0, "open": 1, "silent": 0}


def test_what_a_process_has_forgotten_is_not_among_the_breakers_that_it_guards(process: Process) -> None:
    process.call(works=True)
    process.registry.get_or_create("another:80")
    process.shown()
    process.registry.forget(HOST)
    process.shown()
    assert [instance["breakers"] for instance in process.scene.fleet.instances()] == [1]


def test_which_epoch_was_forgotten_last_is_known_in_whatever_order_it_is_told() -> None:
    seen = Observation(epoch=5)
    seen.forget_in(5)
    seen.forget_in(3)
    seen.forget_in(None)
    assert seen.forgotten
    seen.move(CLOSED, 6, datetime.now(UTC))
    assert not seen.forgotten
    seen.forget_in(5)
    assert not seen.forgotten


def test_a_reset_awaits_nobody_who_has_forgotten_the_breaker(process: Process) -> None:
    process.call(works=True)
    process.shown()
    process.registry.forget(HOST)
    process.shown()
    assert process.scene.fleet.reset_progress(process.scene.reset(HOST))["targeted"] == 0


def test_beyond_those_that_are_remembered_totals_stand_still_and_never_fall(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.core.forgotten.REMEMBERED", 1)
    for _ in range(3):
        process.call(works=True)
    assert process.successes() == 3
    process.registry.forget(HOST)
    process.registry.forget(process.registry.get_or_create("another:80").name)
    seen = []
    for _ in range(5):  # it begins at zero
        process.call(works=True)
        seen.append(process.successes())
    assert seen == [3, 3, 3, 4, 5]


NAMES = ("a", "b")
ONE_FAILURE_OPENS = CircuitBreakerConfig(failure_threshold=1, recovery_timeout=1e6)
OPEN, CLOSED = CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED


class Forgetting(RuleBasedStateMachine):
    """A program that forgets breakers while calls are in flight, a way that loses reports, a link that closes."""

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        self.scene.want(*NAMES)
        self.registry = CircuitBreakerRegistry()
        self.in_flight: list[tuple[CircuitBreaker, Permit]] = []
        self.requests = dict.fromkeys(NAMES, 0)
        self.shown = dict.fromkeys(NAMES, 0)
        self.sync: Sync | None = None
        self.linked = False

    # --- the program -----------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), held=st.booleans(), works=st.booleans())
    def call(self, name: str, held: bool, works: bool) -> None:
        breaker = self.registry.get_or_create(name, ONE_FAILURE_OPENS)
        self.requests[name] += 1
        try:
            permit = breaker.acquire()
        except CircuitBreakerOpenError:
            return
        if held:
            self.requests[name] -= 1  # counted when it ends
            self.in_flight.append((breaker, permit))
        else:
            breaker.settle(permit, Outcome.SUCCESS if works else Outcome.FAILURE)

    @rule(which=st.integers(0, 9), works=st.booleans())
    def end_a_call(self, which: int, works: bool) -> None:
        if self.in_flight:
            breaker, permit = self.in_flight.pop(which % len(self.in_flight))
            breaker.settle(permit, Outcome.SUCCESS if works else Outcome.FAILURE)
            self.requests[breaker.name] += 1

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        self.registry.forget(name)

    @rule(name=st.sampled_from(NAMES))
    def reset(self, name: str) -> None:
        breaker = self.registry.get(name)
        if breaker is not None:
            breaker.reset()

    # --- its link --------------------------------------------------------------------------------------------------

    @rule()
    def connect(self) -> None:
        if self.sync is None:
            self.sync = Sync(self.registry, service="s", library="l", wall=lambda: self.scene.now.timestamp())
        else:
            self.sync.reopen("s")
        hello = self.sync.hello()
        self.id, self.linked = UUID(hello.instance), True
        self.scene.fleet.connect(InstanceIdentity(self.id, "s", "host-1", 1, "l", self.scene.now), self.scene.now)

    @precondition(lambda self: self.sync is not None)
    @rule()
    def close(self) -> None:
        assert self.sync is not None
        self.sync.close()
        self.linked = False

    @precondition(lambda self: self.sync is not None)
    @rule(whole=st.booleans(), arrives=st.booleans(), acknowledged=st.booleans())
    def report(self, whole: bool, arrives: bool, acknowledged: bool) -> None:
        """What does not arrive is not acknowledged, and the connection ends: reports are never passed over."""
        assert self.sync is not None
        report = self.sync.report(whole=whole, heartbeat=False)
        if report is not None and arrives:
            self._arrives(report)
            if acknowledged:
                self._acknowledge(report)
        elif report is not None:
            self.connect()

    def _arrives(self, report: Report) -> None:
        self.scene.fleet.report(self.id, report, self.scene.now)

    def _acknowledge(self, report: Report) -> None:
        assert self.sync is not None
        self.sync.receive(Ack(report.id, report.transitions[-1].sequence if report.transitions else 0))

    # --- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def totals_never_fall_and_no_call_is_counted_twice(self) -> None:
        for name in NAMES:
            total = int(self.scene.fleet.metrics(name)["requests_total"])
            assert self.shown[name] <= total <= self.requests[name]
            self.shown[name] = total

    def teardown(self) -> None:
        """At last the way is good: each call is counted, and nothing is open that nobody has."""
        if not self.linked:
            self.connect()
        assert self.sync is not None
        while report := self.sync.report(heartbeat=False):
            self._arrives(report)
            self._acknowledge(report)
        for name in NAMES:
            breaker = self.registry.get(name)
            assert self.scene.fleet.metrics(name)["requests_total"] == self.requests[name]
            assert self.scene.row(name)["state"] == (CLOSED if breaker is None else breaker.state)


Forgetting.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestForgetting = Forgetting.TestCase
