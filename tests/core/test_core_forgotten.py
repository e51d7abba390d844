"""What breakers had counted that the registry has forgotten, by name."""

from __future__ import annotations

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.counts import NOTHING, Counts, Totals
from breakers.core.registry import CircuitBreakerRegistry


@pytest.fixture
def book() -> CircuitBreakerRegistry:
    return CircuitBreakerRegistry()


def test_totals_add_up_field_by_field_and_bucket_by_bucket() -> None:
    first = Totals(Counts(successes=5, failures=2, probes=1), {3: 6, 7: 1})
    second = Totals(Counts(successes=1, rejected=4), {7: 2, 9: 5})
    assert first + second == Totals(Counts(successes=6, failures=2, rejected=4, probes=1), {3: 6, 7: 3, 9: 5})
    assert first + NOTHING == first


def test_what_is_more_than_before_is_never_below_zero() -> None:
    now = Totals(Counts(successes=5, failures=2), {3: 6, 7: 1, 9: 4})
    before = Totals(Counts(successes=1, failures=3), {3: 6, 7: 2, 9: 1})
    assert now.beyond(before) == Totals(Counts(successes=4), {9: 3})
    assert now.beyond(NOTHING) == now


def test_a_name_that_was_never_forgotten_has_no_past(book) -> None:
    breaker = book.get_or_create("api")
    assert book.look("api") == (breaker, None)
    assert book.look("another") == (None, None)


def test_a_forgotten_ones_counts_are_known_and_rise_while_somebody_holds_it(book) -> None:
    held = book.get_or_create("api")
    held.call_sync(int)
    book.forget("api")
    present, past = book.look("api")
    assert (present, past.totals.counts, sum(past.totals.latency.values())) == (None, Counts(successes=1), 1)
    held.call_sync(int)
    assert book.look("api")[1].totals.counts == Counts(successes=2)


def test_the_past_of_one_that_was_made_anew_is_that_of_all_before_it(book) -> None:
    for _ in range(3):
        book.get_or_create("api").call_sync(int)
        book.forget("api")
    again = book.get_or_create("api")
    again.call_sync(int)
    present, past = book.look("api")
    assert (present, past.lingering, past.totals.counts) == (again, (), Counts(successes=3))


def test_the_change_that_closes_a_forgotten_one_for_who_watches_counts_as_one(book) -> None:
    with pytest.raises(ZeroDivisionError):
        book.get_or_create("api", CircuitBreakerConfig(failure_threshold=1)).call_sync(lambda: 1 / 0)
    epoch = book.get("api").snapshot().epoch
    book.forget("api")
    past = book.look("api")[1]
    assert (past.epoch, past.totals.counts) == (epoch + 1, Counts(failures=1, state_changes=2))


def test_the_longest_forgotten_goes_first_but_none_that_was_made_anew(book, monkeypatch) -> None:
    monkeypatch.setattr("breakers.core.forgotten.REMEMBERED", 2)
    for name in ("a", "b", "c"):
        book.get_or_create(name).call_sync(int)
    book.forget("a")
    book.get_or_create("a")
    for name in ("b", "c"):
        book.forget(name)
    book.forget(book.get_or_create("d").name)
    assert book.forgotten() == ["c", "d"]
    assert book.look("a")[1].totals.counts == Counts(successes=1)
    assert book.look("b") == (None, None)
