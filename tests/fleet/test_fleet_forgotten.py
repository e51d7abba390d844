"""What the fleet shows of a process that forgets breakers and makes them anew, as the middleware does with hosts."""

from __future__ import annotations

from uuid import UUID

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.sync import Sync
from breakers.core.wire import Ack
from breakers.fleet import Row
from breakers.models import InstanceIdentity

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
