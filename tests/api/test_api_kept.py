"""What is kept of answers is never older than the question: after whatever changes, memory says what is true now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from breakers import services
from breakers.api import hot, memory
from breakers.api.views import breaker_state
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.latency import bucket_of
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import BreakerStatus, Counts, Report, TransitionReport
from breakers.fleet import fleet
from breakers.models import InstanceIdentity
from breakers.services import Actor

pytestmark = pytest.mark.django_db
ALICE = Actor("user", "alice")
CLOSED, OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN
LIST = "http://testserver/circuit-breakers"


def rows_body() -> bytes:
    return hot.rows_body(RequestFactory().get("/circuit-breakers"), LIST)


def truth() -> tuple[bytes, bytes, dict[str, bytes]]:
    """What REST framework writes of the fleet as it is; nothing of it is kept."""
    rows = fleet.rows()
    page = {"count": len(rows), "next": None, "previous": None, "results": rows}
    states = {row["name"]: JSONRenderer().render(breaker_state(row)) for row in rows}
    whole = JSONRenderer().render({"summary": fleet.summary(), "breakers": rows})
    return JSONRenderer().render(page), whole, states


def told() -> tuple[bytes, bytes, dict[str, bytes]]:
    """What is answered: states as they are found, then lists."""
    names = [name for name in ("a", "b", "copy") if hot.state_of(name)]
    states = {name: hot.state_of(name).body for name in names}
    return rows_body(), hot.whole_body(), states


class Instance:
    """Linked, with breakers that count and change."""

    def __init__(self) -> None:
        self.identity = InstanceIdentity(uuid4(), "trading_service", "host-1", 4711, "0.1.0", timezone.now())
        self._reports = self._calls = 0

    def come(self) -> None:
        fleet.connect(self.identity, timezone.now())

    def tell(self, *statuses: BreakerStatus, transitions: tuple[TransitionReport, ...] = (), ahead: float = 0) -> None:
        self._reports += 1
        at = timezone.now() + timedelta(seconds=ahead)
        report = Report(self._reports, at.timestamp(), fleet.revision, statuses, transitions)
        fleet.report(self.identity.id, report, at)

    def count(self, name: str = "a", **more: Any) -> None:
        self._calls += 7
        self.tell(BreakerStatus(name, more.pop("state", CLOSED), counts=Counts(successes=self._calls), **more))

    def open(self) -> None:
        at = timezone.now().timestamp()
        step = TransitionReport(1, "a", CLOSED, OPEN, "consecutive_failures", "too many", at, 1, 5, 9, 0.55)
        self.tell(BreakerStatus("a", OPEN, epoch=1, retry_in=60.0), transitions=(step,))


@pytest.fixture
def scene(breaker: Callable[..., Any]) -> SimpleNamespace:
    """Two breakers, the second with a name that JSON writes in its own way, and one instance that has both."""
    for name in ("a", "b"):
        breaker(name, group="\u00e4\u2028")
    services.override_set(name="b", override=Override.FORCED_CLOSED, reason="so", expires_at=None, by=ALICE)
    one, other = Instance(), Instance()
    fleet.synchronise()
    one.come()
    one.count("a")
    one.count("b")
    return SimpleNamespace(one=one, other=other)


def alone(there: Instance, gone: Instance) -> None:
    there.come()
    fleet.goodbye(gone.identity.id)


def edited(**more: Any) -> Callable[[SimpleNamespace], object]:
    config = CircuitBreakerConfig(name="a", failure_rate_threshold=0.5)
    return lambda scene: services.breaker_edit(name="a", config=config, http=HttpConfig(), reason="", by=ALICE, **more)


CHANGES: dict[str, Callable[[SimpleNamespace], object]] = {
    "an edit": edited(),
    "another group": edited(group="payments"),
    "an override": lambda scene: services.override_set(
        name="a", override=Override.FORCED_OPEN, reason="INC", expires_at=None, by=ALICE, confirm=True
    ),
    "an override that ends": lambda scene: services.override_release(name="b", reason="", by=ALICE),
    "a reset that is done": lambda scene: scene.one.count(epoch=2),
    "a copy": lambda scene: services.breaker_copy(source="a", target="copy", by=ALICE),
    "a new name": lambda scene: (
        services.breaker_copy(source="a", target="copy", by=ALICE),
        services.breaker_delete(name="a", reason="", by=ALICE),
    ),
    "an older version": lambda scene: services.breaker_restore(name="a", version=1, by=ALICE),
    "a deletion": lambda scene: services.breaker_delete(name="b", reason="", by=ALICE),
    "a deletion of what is made anew": lambda scene: (
        services.breaker_delete(name="b", reason="", by=ALICE),
        fleet.synchronise(),
        services.breaker_create(name="b", config=CircuitBreakerConfig(name="b"), http=HttpConfig(), by=ALICE),
    ),
    "a transition": lambda scene: scene.one.open(),
    "calls": lambda scene: scene.one.count(),
    "calls that took long": lambda scene: scene.one.count(latency=slow()),
    "rates, a second later": lambda scene: (scene.one.count(), fleet.tick(timezone.now() + timedelta(seconds=1))),
    "an instance that comes": lambda scene: scene.other.come(),
    "an instance that comes with breakers": lambda scene: (scene.other.come(), scene.other.count()),
    "an instance that goes": lambda scene: fleet.goodbye(scene.one.identity.id),
    "an instance without breakers that goes": lambda scene: fleet.goodbye(scene.other.identity.id),
    "the silence of one without breakers": lambda scene: fleet.tick(timezone.now() + timedelta(seconds=20)),
    "the end of the silence of one without breakers": lambda scene: scene.other.tell(ahead=21),
    "silence": lambda scene: fleet.tick(timezone.now() + timedelta(seconds=20)),
    "silence that ends": lambda scene: scene.one.tell(ahead=21),
    "an instance that has the newest config": lambda scene: scene.one.tell(),
}
FIRST: dict[str, Callable[[SimpleNamespace], object]] = {
    "a reset that is done": lambda scene: scene.one.open(),
    "an older version": edited(),
    "an instance without breakers that goes": lambda scene: scene.other.come(),
    "the silence of one without breakers": lambda scene: alone(scene.other, scene.one),
    "the end of the silence of one without breakers": lambda scene: (
        alone(scene.other, scene.one),
        fleet.tick(timezone.now() + timedelta(seconds=20)),
    ),
    "silence that ends": lambda scene: fleet.tick(timezone.now() + timedelta(seconds=20)),
    "an instance that has the newest config": edited(),
}
"""What there must have been before."""


def slow() -> dict[str, int]:
    return {str(bucket_of(3.0)): 1}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_what_is_told_is_what_is_true(scene, change):
    if change in FIRST:
        FIRST[change](scene)
    fleet.synchronise()
    before = told()
    assert told() == before == truth()
    asked = time.monotonic()
    CHANGES[change](scene)
    fleet.synchronise()
    for address in (LIST, hot.WHOLE):
        assert hot.kept_answers.fit(address, time.monotonic()) is None, "what was kept is not fit any more"
        assert hot.kept_answers.fit(address, asked) is None, "nor for who had asked before"
    after = told()
    assert after == truth()
    assert after != before
    for address, body in ((LIST, after[0]), (hot.WHOLE, after[1])):
        assert hot.kept_answers.fit(address, time.monotonic()) == body


def test_what_was_made_since_one_asked_will_do_although_more_has_come(scene):
    told()
    asked = time.monotonic()
    scene.one.count()
    made = hot.whole_body()
    scene.one.count()
    assert hot.kept_answers.fit(hot.WHOLE, asked) == made
    assert hot.kept_answers.fit(hot.WHOLE, time.monotonic()) is None


def test_what_changes_amid_the_making_is_no_part_of_it(scene, monkeypatch):
    """A report that comes while a list is written makes that list old at once."""
    whole = hot.dashboard_body

    def make() -> bytes:
        body = whole()
        scene.one.open()
        fleet.row("a")  # nothing is left to derive, and yet the list is not true
        return body

    monkeypatch.setattr(hot, "dashboard_body", make)
    hot.whole_body()
    monkeypatch.undo()
    assert hot.kept_answers.fit(hot.WHOLE, time.monotonic()) is None
    assert json.loads(hot.whole_body())["summary"]["open"] == 1


def test_a_list_that_is_found_to_be_true_still_is_fit_for_who_asked_before_that(scene):
    hot.whole_body()
    asked = time.monotonic()
    body = hot.whole_body()
    scene.one.count()
    assert hot.kept_answers.fit(hot.WHOLE, asked) == body


def test_of_many_rows_only_those_that_changed_are_written_again(scene, monkeypatch):
    told()
    written: list[str] = []
    monkeypatch.setattr(memory.row_pieces, "_write", lambda row: written.append(row["name"]) or memory.text(row))
    scene.one.open()
    assert told() == truth()
    assert written == ["a"]


def test_pieces_of_what_is_gone_are_forgotten(scene, monkeypatch):
    monkeypatch.setattr(memory, "FEW_PIECES", 4)
    pieces = memory.Pieces(lambda row: row["name"])
    for number in range(20):
        name = f"brief-{number}"
        services.breaker_create(name=name, config=CircuitBreakerConfig(name=name), http=HttpConfig(), by=ALICE)
        fleet.synchronise()
        assert pieces.of(fleet.row(name)) == name
        services.breaker_delete(name=name, reason="", by=ALICE)
        fleet.synchronise()
        assert len(pieces) <= 4
    assert pieces.of(fleet.row("a")) == "a"


def test_a_page_names_its_neighbours_under_the_address_that_was_asked(scene):
    asked = RequestFactory().get("/circuit-breakers?page_size=1&page=2")
    page = json.loads(hot.rows_body(asked, "somewhere"))
    assert (page["next"], page["previous"]) == (None, f"{LIST}?page_size=1")
    assert json.loads(hot.list_body(Request(asked))) == page
