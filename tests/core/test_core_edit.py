"""Section 1.4: a live edit keeps the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState, Outcome

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


def edit(breaker, **changes) -> None:
    breaker.configure(replace(breaker.config, **changes))


def window(breaker) -> tuple[int, int]:
    view = breaker.get_metrics()["window"]
    return view["calls"], view["failures"]


def test_state_epoch_streak_and_window_survive(make, calls) -> None:
    breaker = make(failure_threshold=10, failure_rate_threshold=1.0)
    calls.succeed(breaker)
    calls.fail(breaker, 3)
    before = breaker.snapshot()
    edit(breaker, failure_threshold=20, timeout=5.0, failure_rate_threshold=0.9)
    after = breaker.snapshot()
    assert (after.state, after.epoch, after.consecutive_failures, after.window) == (
        before.state, before.epoch, 3, before.window,
    )  # fmt: skip


def test_a_changed_threshold_is_judged_at_the_next_completion(make, calls) -> None:
    breaker = make(failure_threshold=10)
    calls.fail(breaker, 5)
    edit(breaker, failure_threshold=3)
    assert breaker.state is CLOSED
    calls.fail(breaker)
    assert breaker.state is OPEN


def test_a_success_after_the_edit_judges_a_changed_rate_too(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, minimum_calls=4)
    calls.succeed(breaker)
    calls.fail(breaker, 3)
    edit(breaker, failure_rate_threshold=0.5)
    assert breaker.state is CLOSED
    calls.succeed(breaker)
    assert breaker.state is OPEN


def test_calls_in_flight_across_an_edit_still_count(make) -> None:
    breaker = make(failure_threshold=1)
    permit = breaker.acquire()
    edit(breaker, timeout=5.0)
    breaker.settle(permit, Outcome.FAILURE)
    assert breaker.state is OPEN


def test_a_healthy_call_in_flight_across_an_edit_counts_by_the_new_config(make, clock) -> None:
    breaker = make()

    def edited_meanwhile() -> None:
        edit(breaker, slow_call_duration=1.0, slow_call_rate_threshold=0.5)
        clock.advance(2.0)

    breaker.call_sync(edited_meanwhile)
    view = breaker.get_metrics()
    assert (view["successes_total"], view["slow_total"], view["window"]["calls"]) == (1, 1, 1)


def test_open_for_30_seconds_with_the_wait_edited_to_10_admits_the_next_call(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=60.0)
    calls.fail(breaker)
    clock.advance(30.0)
    edit(breaker, recovery_timeout=10.0)
    assert breaker.state is OPEN
    calls.succeed(breaker)
    assert breaker.state is HALF_OPEN


def test_open_for_30_seconds_with_the_wait_edited_to_120_waits_90_more(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, recovery_timeout=60.0)
    calls.fail(breaker)
    clock.advance(30.0)
    edit(breaker, recovery_timeout=120.0)
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.acquire()
    assert caught.value.retry_after == 90.0


def test_a_count_window_that_shrinks_keeps_its_newest_outcomes(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, window_size=10, minimum_calls=1)
    calls.succeed(breaker)
    calls.fail(breaker, 5)
    calls.succeed(breaker, 3)
    edit(breaker, window_size=4)
    assert window(breaker) == (4, 1)


def test_a_count_window_that_grows_keeps_what_it_has_and_waits_for_more(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, window_size=3, minimum_calls=1)
    calls.succeed(breaker, 5)
    calls.fail(breaker, 2)
    edit(breaker, window_size=5)
    assert window(breaker) == (3, 2)
    calls.succeed(breaker, 3)
    assert window(breaker) == (5, 2)
    calls.succeed(breaker)
    assert window(breaker) == (5, 1)


def test_a_time_window_that_is_resized_keeps_what_the_new_size_covers(make, calls, clock) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, window_type="time", window_size=60, minimum_calls=1)
    calls.succeed(breaker)
    calls.fail(breaker)
    clock.advance(20.0)
    calls.succeed(breaker)
    edit(breaker, window_size=30)
    assert window(breaker) == (3, 1)
    clock.advance(10.0)
    assert window(breaker) == (1, 0)
    edit(breaker, window_size=1000)
    assert window(breaker) == (1, 0)


def test_only_a_change_of_type_empties_the_window(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0, minimum_calls=1)
    calls.succeed(breaker)
    calls.fail(breaker)
    edit(breaker, slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=50)
    assert window(breaker) == (2, 1)
    edit(breaker, window_type="time")
    assert window(breaker) == (0, 0)


def test_a_window_is_kept_only_while_a_rate_rule_is_set(make, calls) -> None:
    breaker = make(failure_rate_threshold=1.0)
    calls.succeed(breaker)
    edit(breaker, failure_rate_threshold=None)
    assert breaker.snapshot().window is None
    calls.succeed(breaker)
    edit(breaker, failure_rate_threshold=1.0)
    assert window(breaker) == (0, 0)
    calls.succeed(breaker)
    assert window(breaker) == (1, 0)


def test_more_probes_are_usable_at_once(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    clock.advance(60.0)
    breaker.acquire()
    edit(breaker, half_open_max_calls=2)
    breaker.acquire()
    with pytest.raises(CircuitBreakerOpenError):
        breaker.acquire()


def test_a_lower_success_threshold_is_judged_at_the_next_probe(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=5)
    calls.fail(breaker)
    clock.advance(60.0)
    calls.succeed(breaker, 2)
    edit(breaker, success_threshold=1)
    assert breaker.state is HALF_OPEN
    calls.succeed(breaker)
    assert breaker.state is CLOSED


def test_an_edit_keeps_the_name(make) -> None:
    breaker = make()
    breaker.configure(CircuitBreakerConfig(name="another", failure_threshold=9))
    assert (breaker.name, breaker.config.name, breaker.config.failure_threshold) == ("api", "api", 9)


def test_what_is_no_config_is_refused(make) -> None:
    breaker = make()
    with pytest.raises(TypeError):
        breaker.configure({"failure_threshold": 3})


def test_the_fleets_config_outranks_what_code_says_later(make) -> None:
    breaker = make(failure_threshold=5)
    breaker.apply_fleet_config(CircuitBreakerConfig(failure_threshold=2), 7)
    assert (breaker.config.failure_threshold, breaker.config.name, breaker.config_version) == (2, "api", 7)
    edit(breaker, failure_threshold=9)
    assert (breaker.config.failure_threshold, breaker.code_config.failure_threshold) == (2, 9)
    assert breaker.get_metrics()["config_version"] == 7
    breaker.apply_fleet_config(None, None)
    assert (breaker.config.failure_threshold, breaker.config_version) == (9, None)


def test_the_http_config_is_the_fleets_once_an_http_breaker_exists(make) -> None:
    breaker = make()
    fleet, code = HttpConfig(max_retries=9), HttpConfig(max_retries=1)
    breaker.apply_fleet_http(fleet)
    assert breaker.http_config is None
    breaker.set_http(code)
    assert (breaker.http_config, breaker.code_http_config) == (fleet, code)
    breaker.apply_fleet_http(None)
    assert breaker.http_config is code


def test_every_change_moves_the_number_that_reporters_look_at(make, calls) -> None:
    breaker = make(failure_threshold=1)
    breaker.force_closed()
    steps = [
        lambda: calls.succeed(breaker),
        lambda: calls.fail(breaker),
        lambda: calls.succeed(breaker),
        lambda: edit(breaker, failure_threshold=3),
        lambda: breaker.apply_fleet_http(HttpConfig()),
        lambda: breaker.set_http(HttpConfig()),
        breaker.release,
        breaker.reset,
        lambda: calls.succeed(breaker),
    ]
    numbers = [breaker.snapshot().changes]
    for step in steps:
        step()
        numbers.append(breaker.snapshot().changes)
    assert numbers == sorted(set(numbers))
    assert breaker.snapshot().changes == numbers[-1]
