from __future__ import annotations

import copy
import pickle
import threading

import pytest

from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import ConfigError
from breakers.core.registry import CircuitBreakerRegistry, get_circuit_breaker, registry
from breakers.core.states import CircuitBreakerState
from breakers.testing import fresh_registry

OPEN, CLOSED = CircuitBreakerState.OPEN, CircuitBreakerState.CLOSED


@pytest.fixture
def book() -> CircuitBreakerRegistry:
    return CircuitBreakerRegistry()


def test_one_breaker_a_name(book) -> None:
    breaker = book.get_or_create("api")
    assert book.get_or_create("api") is breaker is book.get("api")
    assert (breaker.name, breaker.config.name) == ("api", "api")
    assert ("api" in book, "other" in book, len(book), book.get("other")) == (True, False, 1, None)
    book.get_or_create("other")
    assert {known.name for known in book.all()} == {"api", "other"}


def test_the_name_replaces_the_configs(book) -> None:
    breaker = book.get_or_create("api", CircuitBreakerConfig(name="else", failure_threshold=2))
    assert (breaker.config.name, breaker.config.failure_threshold) == ("api", 2)
    assert "else" not in book


def test_the_same_config_again_is_fine_and_another_is_an_error_that_names_the_fields(book) -> None:
    breaker = book.get_or_create("api", CircuitBreakerConfig(failure_threshold=2))
    assert book.get_or_create("api", CircuitBreakerConfig(failure_threshold=2)) is breaker
    with pytest.raises(ConfigError) as caught:
        book.get_or_create("api", CircuitBreakerConfig(failure_threshold=3, timeout=None))
    assert set(caught.value.fields) == {"failure_threshold", "timeout"}
    assert "exists with 2, not 3" in caught.value.fields["failure_threshold"]
    assert breaker.config.failure_threshold == 2


def test_asking_again_after_an_edit_is_fine_with_the_old_and_the_new_config(book) -> None:
    first, second = CircuitBreakerConfig(failure_threshold=2), CircuitBreakerConfig(failure_threshold=3)
    breaker = book.get_or_create("api", first)
    breaker.configure(second)
    breaker.apply_fleet_config(CircuitBreakerConfig(failure_threshold=9), 1)
    assert book.get_or_create("api", first) is book.get_or_create("api", second) is breaker
    with pytest.raises(ConfigError):
        book.get_or_create("api", CircuitBreakerConfig(failure_threshold=9))


@pytest.mark.parametrize("name", ["", "a b", "x" * 101, ".", "..", "reset-all", "ä", "a\n", 5, None, ["a"]])
def test_a_name_that_cannot_be_makes_nothing(book, name) -> None:
    with pytest.raises((ConfigError, TypeError)):
        book.get_or_create(name)
    assert len(book) == 0


def test_reset_all_resets_every_one_and_counts_them(book) -> None:
    for name in ("a", "b"):
        breaker = book.get_or_create(name, CircuitBreakerConfig(failure_threshold=1))
        with pytest.raises(ZeroDivisionError):
            breaker.call_sync(lambda: 1 / 0)
    assert book.reset_all() == 2
    assert [breaker.state for breaker in book.all()] == [CLOSED, CLOSED]


def test_listeners_hear_of_every_breaker_also_of_later_ones(book, caplog) -> None:
    heard, made = [], []

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    book.on_register(broken)
    book.on_transition(broken)
    stop_register = book.on_register(made.append)
    stop_transition = book.on_transition(lambda breaker, happened: heard.append((breaker, happened.to_state)))
    breaker = book.get_or_create("api", CircuitBreakerConfig(failure_threshold=1))
    book.get_or_create("api")
    with pytest.raises(ZeroDivisionError):
        breaker.call_sync(lambda: 1 / 0)
    assert (made, heard) == ([breaker], [(breaker, OPEN)])
    assert caplog.messages.count("Circuit breaker 'api': a listener raised") == 2
    stop_register()
    stop_transition()
    book.get_or_create("other")
    breaker.reset()
    assert (len(made), len(heard)) == (1, 1)


def test_a_forgotten_name_is_free_again(book) -> None:
    heard = []
    book.on_transition(lambda breaker, happened: heard.append(happened))
    old = book.get_or_create("api", CircuitBreakerConfig(failure_threshold=1))
    book.forget("api")
    book.forget("api")
    new = book.get_or_create("api", CircuitBreakerConfig(failure_threshold=7))
    with pytest.raises(ZeroDivisionError):
        old.call_sync(lambda: 1 / 0)
    assert (new is old, heard) == (False, [])
    book.clear()
    assert len(book) == 0


@pytest.mark.parametrize("probing", [False, True])
def test_one_that_is_not_closed_is_closed_for_who_listens_to_the_registry_when_it_is_forgotten(book, probing) -> None:
    heard, own = [], []
    breaker = book.get_or_create("api", CircuitBreakerConfig(failure_threshold=1, recovery_timeout=1e-9))
    with pytest.raises(ZeroDivisionError):
        breaker.call_sync(lambda: 1 / 0)
    if probing:
        breaker.acquire()
    before = breaker.snapshot()
    book.on_transition(lambda of, happened: heard.append((of, happened)))
    breaker.on_transition(own.append)
    book.forget("api")
    [(of, happened)] = heard
    assert of is breaker
    assert (happened.from_state, happened.to_state, happened.reason) == (before.state, CLOSED, "reset")
    assert (happened.cause, happened.epoch) == ("its process has forgotten the breaker", before.epoch + 1)
    assert (own, breaker.state, breaker.snapshot().epoch) == ([], before.state, before.epoch)
    assert book.get_or_create("api").snapshot().epoch > happened.epoch


def test_the_forgotten_names_are_those_that_were_not_made_anew(book) -> None:
    for name in ("a", "b", "c"):
        book.get_or_create(name)
    for name in ("c", "a", "b"):
        book.forget(name)
    book.get_or_create("a")
    assert book.forgotten() == ["c", "b"]


def test_a_lent_breaker_is_kept_once_the_program_asks_for_it(book) -> None:
    for name in ("a", "b"):
        book.get_or_create(name)
        assert not book.is_lent(name)
        book.lend(name)
    book.get_or_create("a")
    assert [book.is_lent(name) for name in ("a", "b")] == [False, True]


def test_a_name_that_was_forgotten_is_lent_no_longer(book) -> None:
    book.get_or_create("a")
    book.lend("a")
    book.forget("a")
    assert not book.is_lent("a")


def test_threads_that_come_together_get_the_same_breaker(book) -> None:
    barrier, got, made = threading.Barrier(8), [], []
    book.on_register(made.append)

    def come() -> None:
        barrier.wait(10.0)
        got.extend(book.get_or_create(f"api-{number}") for number in range(50))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert len(set(got)) == len(made) == len(book) == 50


def test_the_process_has_one() -> None:
    with fresh_registry():
        assert get_circuit_breaker("api", CircuitBreakerConfig(timeout=None)) is registry.get("api")


def test_a_copy_of_what_holds_a_breaker_holds_the_same_breaker(book) -> None:
    breaker = book.get_or_create("api")
    assert copy.copy(breaker) is breaker
    assert copy.deepcopy({"client": [breaker]}) == {"client": [breaker]}


def test_a_breaker_does_not_travel_to_another_process(book) -> None:
    with pytest.raises(TypeError, match="'api' belongs to its process"):
        pickle.dumps(book.get_or_create("api"))


def test_one_that_is_made_anew_under_a_forgotten_name_begins_in_a_later_epoch(book) -> None:
    """The fleet takes no news from an epoch that it has seen the end of."""
    first = book.get_or_create("host:1", CircuitBreakerConfig(failure_threshold=1))
    for _ in range(3):
        with pytest.raises(OSError), first:
            raise OSError
        first.reset()
    told = []
    book.on_transition(lambda breaker, transition: told.append(transition.epoch))
    book.forget("host:1")
    again = book.get_or_create("host:1", CircuitBreakerConfig(failure_threshold=1))
    assert again.snapshot().epoch > first.snapshot().epoch
    with pytest.raises(OSError), again:
        raise OSError
    assert again.state is CircuitBreakerState.OPEN
    assert told == [again.snapshot().epoch]
    assert book.get_or_create("host:2").snapshot().epoch >= first.snapshot().epoch


def test_a_call_of_one_that_was_made_anew_counts(book) -> None:
    book.forget(book.get_or_create("host:1").name)
    again = book.get_or_create("host:1")
    for turn in range(3):
        assert again.call_sync(lambda: "well") == "well"
        assert again.get_metrics()["successes_total"] == turn + 1
    assert again.get_metrics()["late_total"] == 0
