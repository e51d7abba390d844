"""Rule 8: an override outranks the machine and never overwrites it; code's and the fleet's are two slots."""

from __future__ import annotations

import pytest

from breakers.core.errors import CircuitBreakerOpenError, ConfigError
from breakers.core.states import CircuitBreakerState, Outcome, Override, Reason

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN


def override(breaker) -> Override | None:
    return breaker.get_metrics()["override"]


def test_forced_open_rejects_all_and_leaves_the_state_alone(make) -> None:
    breaker = make()
    breaker.force_open(reason="INC-2291")
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.call_sync(pytest.fail)
    assert (caught.value.state, caught.value.reason, caught.value.retry_after) == (CLOSED, "forced_open", None)
    assert breaker.state is CLOSED
    assert breaker.snapshot().override_reason == "INC-2291"
    assert breaker.get_metrics()["rejected_total"] == 1


def test_forced_open_rejects_also_when_a_probe_is_due(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open()
    clock.advance(60.0)
    with pytest.raises(CircuitBreakerOpenError):
        breaker.acquire()
    assert breaker.state is OPEN
    assert breaker.get_metrics()["retry_after"] is None


def test_lifting_forced_open_is_a_reset(make, calls, heard) -> None:
    breaker = make(failure_threshold=1)
    breaker.on_transition(heard.append)
    calls.fail(breaker)
    in_flight = breaker.snapshot().epoch
    breaker.force_open()
    breaker.release()
    assert (breaker.state, override(breaker)) == (CLOSED, None)
    assert heard[-1].reason is Reason.OVERRIDE_LIFTED
    assert breaker.snapshot().epoch == in_flight + 1


def test_lifting_forced_open_from_a_closed_circuit_voids_calls_in_flight_and_is_no_transition(make, heard) -> None:
    breaker = make(failure_threshold=1)
    breaker.on_transition(heard.append)
    permit = breaker.acquire()
    breaker.force_open()
    breaker.release()
    breaker.settle(permit, Outcome.FAILURE)
    assert (breaker.state, breaker.get_metrics()["late_total"], heard) == (CLOSED, 1, [])


def test_an_override_ends_at_its_expiry_by_the_breakers_clock(make, calls, clock) -> None:
    breaker = make()
    breaker.force_open(expires_in=900.0)
    clock.advance(899.0)
    assert override(breaker) is Override.FORCED_OPEN
    assert breaker.snapshot().override_expires_in == 1.0
    clock.advance(1.0)
    assert override(breaker) is None
    calls.succeed(breaker)


def test_the_call_that_comes_after_the_expiry_is_let_in(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open(expires_in=5.0)
    clock.advance(5.0)
    calls.succeed(breaker)
    assert breaker.state is CLOSED


def test_the_state_seen_after_the_expiry_is_that_of_the_reset(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open(expires_in=5.0)
    clock.advance(5.0)
    assert breaker.state is CLOSED


def test_forcing_open_again_moves_the_expiry_and_resets_nothing(make, clock) -> None:
    breaker = make()
    breaker.force_open(expires_in=5.0)
    epoch = breaker.snapshot().epoch
    breaker.force_open(expires_in=50.0)
    clock.advance(49.0)
    assert override(breaker) is Override.FORCED_OPEN
    assert breaker.snapshot().epoch == epoch


def test_forcing_closed_instead_lifts_forced_open(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open()
    breaker.force_closed()
    assert breaker.state is CLOSED


def test_forced_closed_admits_all_while_the_machine_goes_on_judging(make, calls) -> None:
    breaker = make(failure_threshold=2)
    breaker.force_closed()
    calls.fail(breaker, 2)
    assert breaker.state is OPEN
    calls.fail(breaker)
    calls.succeed(breaker)
    view = breaker.get_metrics()
    assert (view["would_reject_total"], view["rejected_total"]) == (2, 0)
    assert (view["failures_total"], view["successes_total"]) == (3, 1)
    assert view["consecutive_failures"] == 2  # a call that would have been rejected is no evidence
    assert view["requests_total"] == 4


def test_in_a_closed_circuit_forced_closed_makes_no_difference(make, calls) -> None:
    breaker = make(failure_threshold=0, failure_rate_threshold=1.0)
    breaker.force_closed()
    permit = breaker.acquire()
    assert (permit.probe, permit.shadow) == (False, False)
    breaker.settle(permit, Outcome.FAILURE)
    calls.succeed(breaker, 3)
    view = breaker.get_metrics()
    assert (view["would_reject_total"], view["probes_total"], view["window"]["calls"]) == (0, 0, 4)


def test_due_calls_of_forced_closed_are_the_machines_probes(make, calls, clock) -> None:
    breaker = make(failure_threshold=1, success_threshold=2)
    breaker.force_closed()
    calls.fail(breaker)
    clock.advance(60.0)
    probe = breaker.acquire()
    shadow = breaker.acquire()
    assert (breaker.state, probe.probe, shadow.shadow) == (HALF_OPEN, True, True)
    breaker.settle(shadow, Outcome.FAILURE)
    assert breaker.state is HALF_OPEN
    breaker.settle(probe, Outcome.SUCCESS)
    calls.succeed(breaker)
    assert breaker.state is CLOSED


def test_a_shadow_call_of_an_older_epoch_is_late(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    breaker.force_closed()
    calls.fail(breaker)
    shadow = breaker.acquire()
    clock.advance(60.0)
    breaker.acquire()
    breaker.settle(shadow, Outcome.SUCCESS)
    view = breaker.get_metrics()
    assert (view["late_total"], view["successes_total"]) == (1, 0)


def test_lifting_forced_closed_returns_to_what_the_machine_says(make, calls) -> None:
    breaker = make(failure_threshold=1)
    breaker.force_closed(expires_in=100.0)
    calls.fail(breaker)
    breaker.release()
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.acquire()
    assert caught.value.reason == "consecutive_failures"


def test_the_fleet_outranks_code_and_neither_clears_the_other(make, calls) -> None:
    breaker = make()
    breaker.force_closed(reason="code")
    breaker.set_fleet_override(Override.FORCED_OPEN, reason="fleet")
    seen = breaker.snapshot()
    assert (seen.override, seen.override_origin, seen.override_reason) == (Override.FORCED_OPEN, "fleet", "fleet")
    breaker.release()
    assert override(breaker) is Override.FORCED_OPEN
    breaker.force_closed()
    breaker.set_fleet_override(None)
    seen = breaker.snapshot()
    assert (seen.override, seen.override_origin) == (Override.FORCED_CLOSED, "code")
    calls.succeed(breaker)


def test_outranking_forced_open_is_not_lifting_it(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open()
    breaker.set_fleet_override(Override.FORCED_CLOSED)
    assert breaker.state is OPEN
    breaker.release()  # was not in force
    assert breaker.state is OPEN
    breaker.set_fleet_override(None)
    assert (breaker.state, override(breaker)) == (OPEN, None)


def test_lifting_one_of_two_forced_open_lifts_nothing(make, calls) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.force_open()
    breaker.set_fleet_override(Override.FORCED_OPEN)
    breaker.set_fleet_override(None)
    assert (breaker.state, override(breaker)) == (OPEN, Override.FORCED_OPEN)


def test_two_overrides_expire_in_the_order_of_their_times(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.set_fleet_override(Override.FORCED_CLOSED, expires_in=5.0)
    breaker.force_open(expires_in=10.0)
    clock.advance(30.0)  # nobody looked in between; at 5 s code's came into force, at 10 s it was lifted
    assert (breaker.state, override(breaker)) == (CLOSED, None)


def test_code_under_a_longer_fleet_override_expires_unnoticed(make, calls, clock) -> None:
    breaker = make(failure_threshold=1)
    calls.fail(breaker)
    breaker.set_fleet_override(Override.FORCED_CLOSED, expires_in=10.0)
    breaker.force_open(expires_in=5.0)
    clock.advance(30.0)
    assert (breaker.state, override(breaker)) == (OPEN, None)


def test_releasing_what_is_not_forced_changes_nothing(make) -> None:
    breaker = make()
    epoch = breaker.snapshot().epoch
    breaker.release()
    assert breaker.snapshot().epoch == epoch


@pytest.mark.parametrize("wrong", [0, -1.0, float("inf"), float("nan"), True, "5", 10**400])
def test_a_wrong_expiry_is_refused(make, wrong) -> None:
    breaker = make()
    for force in (breaker.force_open, breaker.force_closed):
        with pytest.raises(ConfigError) as caught:
            force(expires_in=wrong)
        assert list(caught.value.fields) == ["expires_in"]
    assert override(breaker) is None


@pytest.mark.parametrize("wrong", [None, 5, b"INC-2291"])
def test_a_reason_that_is_no_text_is_refused(make, wrong) -> None:
    breaker = make()
    with pytest.raises(ConfigError) as caught:
        breaker.force_open(expires_in=0, reason=wrong)
    assert list(caught.value.fields) == ["expires_in", "reason"]
    assert override(breaker) is None
