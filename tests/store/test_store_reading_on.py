"""Desired state read on from an earlier answer: the same as read anew, at the price of what was written since."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from breakers import selectors, services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import Override
from breakers.core.wire import Registration
from breakers.models import BreakerConfig, DesiredState
from breakers.services import Actor

pytestmark = pytest.mark.django_db
ALICE = Actor("user", "alice")


def create(name: str, **fields: object) -> None:
    services.breaker_create(name=name, config=CircuitBreakerConfig(**fields), http=HttpConfig(), by=ALICE)


def edit(name: str, **fields: object) -> None:
    services.breaker_edit(name=name, config=CircuitBreakerConfig(**fields), http=HttpConfig(), reason="", by=ALICE)


def delete(name: str) -> None:
    services.breaker_delete(name=name, reason="", by=ALICE)


def force(name: str) -> None:
    services.override_set(name=name, override=Override.FORCED_OPEN, reason="", expires_at=None, by=ALICE, confirm=True)


def reset(name: str) -> None:
    services.breaker_reset(name=name, reason="", by=ALICE)


def register(name: str) -> None:
    config = CircuitBreakerConfig(name=name).as_dict()
    services.breakers_register(service="shop", registrations=[Registration(name, config)])


@pytest.fixture
def known(ground: None) -> DesiredState:
    for name in ("a", "b", "c"):
        create(name)
    return selectors.desired_state()


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ((reset, "a"),),
        ((edit, "a"), (force, "b"), (reset, "c")),
        ((delete, "a"),),
        ((delete, "a"), (create, "a")),
        ((create, "d"), (delete, "d")),
        ((register, "d"), (edit, "d"), (delete, "b")),
    ],
)
def test_what_is_read_on_is_what_is_read_anew(known: DesiredState, steps: tuple[tuple[Callable[..., None], str], ...]):
    for number, (step, name) in enumerate(steps):
        step(name, **({"failure_threshold": 7 + number} if step in (create, edit) else {}))
    later, anew = selectors.desired_state(known), selectors.desired_state()
    assert (later.revision, dict(later.breakers)) == (anew.revision, dict(anew.breakers))
    assert [change.breaker for change in later.changes] == [name for _, name in steps]
    assert later.resets == anew.resets


def test_resets_are_read_once(known: DesiredState):
    reset("a")
    later = selectors.desired_state(known)
    reset("b")
    assert [command.name for command in selectors.desired_state(later).resets] == ["b"]


def test_one_edit_of_many_breakers_reads_one(known: DesiredState):
    edit("a", failure_threshold=9)
    later = selectors.desired_state(known)
    assert later.breakers["b"] is known.breakers["b"]
    assert later.breakers["a"].config.failure_threshold == 9


def test_a_row_that_went_without_a_word_is_missed_at_the_next_write(known: DesiredState):
    BreakerConfig.objects.filter(name="b").delete()
    edit("a", failure_threshold=9)
    assert set(selectors.desired_state(known).breakers) == {"a", "c"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only there can the checks of a table be passed over")
def test_what_another_version_wrote_is_told_apart_until_it_is_edited(known: DesiredState):
    revision = selectors.current_revision()
    edit("b", failure_threshold=8)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        BreakerConfig.objects.filter(name="b").update(failure_threshold=-1)
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    later = selectors.desired_state(known)
    assert (set(later.breakers), set(later.unreadable), later.revision) == ({"a", "c"}, {"b"}, revision + 1)
    edit("a", failure_threshold=9)
    assert set(selectors.desired_state(later).unreadable) == {"b"}
    BreakerConfig.objects.filter(name="b").update(failure_threshold=5)
    edit("b", failure_threshold=7)
    again = selectors.desired_state(later)
    assert (set(again.breakers), set(again.unreadable)) == ({"a", "b", "c"}, set())


def test_a_reset_is_read_by_few_queries(known: DesiredState, django_assert_num_queries):
    reset("a")
    with django_assert_num_queries(3):  # the revision, what was written, and the revision again
        selectors.desired_state(known)
