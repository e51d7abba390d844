"""The machine against a naive model of the contract: after every step the whole view must be the same."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import floor
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import CircuitBreakerState, Outcome, Override, Permit, Reason, Transition
from breakers.testing import FakeClock

CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN

TRIPPED, CLOSING = {(CLOSED, OPEN)}, {(OPEN, CLOSED), (HALF_OPEN, CLOSED)}
LEGAL = {
    Reason.CONSECUTIVE_FAILURES: TRIPPED,
    Reason.FAILURE_RATE: TRIPPED,
    Reason.SLOW_CALL_RATE: TRIPPED,
    Reason.RECOVERY_TIMEOUT: {(OPEN, HALF_OPEN)},
    Reason.PROBE_FAILED: {(HALF_OPEN, OPEN)},
    Reason.PROBE_SLOW: {(HALF_OPEN, OPEN)},
    Reason.PROBES_SUCCEEDED: {(HALF_OPEN, CLOSED)},
    Reason.RESET: CLOSING,
    Reason.OVERRIDE_LIFTED: CLOSING,
}

# quarters of a second are exact in binary: the model may add and subtract as it likes
seconds = st.integers(1, 80).map(lambda quarters: quarters / 4)
rates = st.none() | st.sampled_from([0.01, 0.25, 0.5, 1.0])


@st.composite
def configs(draw: st.DrawFn) -> CircuitBreakerConfig:
    window_type, window_size = draw(st.sampled_from(["count", "time"])), draw(st.integers(1, 12))
    slow = draw(st.none() | seconds)
    return CircuitBreakerConfig(
        name="law",
        failure_threshold=draw(st.integers(0, 4)),
        recovery_timeout=draw(seconds),
        success_threshold=draw(st.integers(1, 3)),
        timeout=draw(st.none() | seconds),
        window_type=window_type,
        window_size=window_size,
        minimum_calls=draw(st.integers(1, min(window_size, 4))),
        failure_rate_threshold=draw(rates),
        slow_call_duration=slow,
        slow_call_rate_threshold=None if slow is None else draw(rates),
        half_open_max_calls=draw(st.integers(1, 3)),
        recovery_backoff=draw(st.sampled_from([1.0, 2.0])),
        max_recovery_timeout=draw(st.sampled_from([10.0, 40.0, 3600.0])),
    )


class Model:
    """The contract, read aloud: nothing is kept that can be worked out from what happened."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state, self.epoch, self.since, self.reopened = CLOSED, 0, 0.0, 0
        self.streak, self.good_probes = 0, 0
        self.window: list[tuple[float, bool, bool]] = []
        self.slots: list[tuple[int, float]] = []
        self.forced: dict[str, tuple[Override, float]] = {}
        self.permits: dict[int, dict[str, Any]] = {}
        self.totals = dict.fromkeys(
            [
                "successes",
                "failures",
                "rejected",
                "ignored",
                "late",
                "would_reject",
                "timeouts",
                "slow",
                "state_changes",
                "probes",
            ],
            0,
        )
        self.transitions: list[tuple[CircuitBreakerState, CircuitBreakerState, Reason, int]] = []

    def keeps_window(self) -> bool:
        return self.config.failure_rate_threshold is not None or self.config.slow_call_rate_threshold is not None

    def lease(self) -> float:
        return self.config.recovery_timeout if self.config.timeout is None else self.config.timeout

    def due(self) -> float:
        wait = self.config.recovery_timeout * self.config.recovery_backoff**self.reopened
        return self.since + min(wait, self.config.max_recovery_timeout)

    def override(self) -> Override | None:
        return (self.forced.get("fleet") or self.forced.get("code") or (None,))[0]

    def in_window(self, now: float) -> list[tuple[float, bool, bool]]:
        if not self.keeps_window():
            return []
        if self.config.window_type == "count":
            return self.window[-self.config.window_size :]
        buckets = self.config.window_size if self.config.window_size >= 10 else 10 * self.config.window_size
        width = self.config.window_size / buckets
        return [call for call in self.window if floor(call[0] / width) > floor(now / width) - buckets]

    def move(self, state: CircuitBreakerState, reason: Reason, now: float) -> None:
        self.transitions.append((self.state, state, reason, self.epoch + 1))
        self.state, self.since = state, now
        self.totals["state_changes"] += 1
        if state is CLOSED:
            self.streak, self.reopened, self.window = 0, 0, []
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.epoch += 1
        self.slots, self.good_probes = [], 0

    def acquire(self, number: int, now: float) -> bool:
        if self.override() is Override.FORCED_OPEN:
            self.totals["rejected"] += 1
            return False
        if self.state is OPEN and now >= self.due():
            self.move(HALF_OPEN, Reason.RECOVERY_TIMEOUT, now)
        permit = {"epoch": self.epoch, "at": now, "probe": False, "shadow": False, "settled": False}
        if self.state is HALF_OPEN:
            self.slots = [slot for slot in self.slots if now < slot[1] + self.lease()]
            if len(self.slots) < self.config.half_open_max_calls:
                self.slots.append((number, now))
                permit["probe"] = True
        if self.state is not CLOSED and not permit["probe"]:
            if self.override() is None:
                self.totals["rejected"] += 1
                return False
            self.totals["would_reject"] += 1
            permit["shadow"] = True
        self.permits[number] = permit
        return True

    def settle(self, number: int, outcome: Outcome, now: float, timed_out: bool) -> None:
        permit = self.permits[number]
        if permit["settled"]:
            return
        permit["settled"] = True
        if permit["epoch"] != self.epoch:
            self.totals["late"] += 1
            return
        self.slots = [slot for slot in self.slots if slot[0] != number]
        self.totals["probes"] += permit["probe"]
        if outcome is Outcome.NEUTRAL:
            self.totals["ignored"] += 1
            return
        failed = outcome is Outcome.FAILURE
        limit = self.config.slow_call_duration
        slow = limit is not None and now - permit["at"] >= limit
        self.totals["failures" if failed else "successes"] += 1
        self.totals["slow"] += slow
        self.totals["timeouts"] += timed_out
        if not permit["shadow"]:
            self.streak = self.streak + 1 if failed else 0
            self.weigh(failed, slow, now)

    def weigh(self, failed: bool, slow: bool, now: float) -> None:
        config = self.config
        if self.state is HALF_OPEN:
            self.good_probes += 1
            if failed or slow:
                self.reopened += 1
                self.move(OPEN, Reason.PROBE_FAILED if failed else Reason.PROBE_SLOW, now)
            elif self.good_probes >= config.success_threshold:
                self.move(CLOSED, Reason.PROBES_SUCCEEDED, now)
            return
        self.window = [*self.window, (now, failed, slow)] if self.keeps_window() else []
        window = self.window = self.in_window(now)
        if config.failure_threshold and self.streak >= config.failure_threshold:
            self.move(OPEN, Reason.CONSECUTIVE_FAILURES, now)
        elif len(window) >= config.minimum_calls:
            failures, slows = sum(call[1] for call in window), sum(call[2] for call in window)
            if config.failure_rate_threshold and failures / len(window) >= config.failure_rate_threshold:
                self.move(OPEN, Reason.FAILURE_RATE, now)
            elif config.slow_call_rate_threshold and slows / len(window) >= config.slow_call_rate_threshold:
                self.move(OPEN, Reason.SLOW_CALL_RATE, now)

    def reset(self, reason: Reason, now: float) -> None:
        if self.state is not CLOSED:
            self.move(CLOSED, reason, now)
        else:
            self.streak, self.reopened, self.window = 0, 0, []
            self.begin_epoch()

    def force(self, slot: str, forced: tuple[Override, float] | None, now: float) -> None:
        outranked = slot == "code" and "fleet" in self.forced
        was_open = not outranked and self.forced.get(slot, (None,))[0] is Override.FORCED_OPEN
        self.forced.pop(slot, None)
        if forced is not None:
            self.forced[slot] = forced
        if was_open and self.override() is not Override.FORCED_OPEN:
            self.reset(Reason.OVERRIDE_LIFTED, now)

    def expire(self, now: float) -> None:
        for slot in sorted(self.forced, key=lambda slot: (self.forced[slot][1], slot)):
            if self.forced[slot][1] <= now:
                self.force(slot, None, now)

    def edit(self, config: CircuitBreakerConfig, now: float) -> None:
        self.window = self.in_window(now)
        if config.window_type != self.config.window_type:
            self.window = []
        self.config = config
        self.window = self.in_window(now)


class MachineLaws(RuleBasedStateMachine):
    permits = Bundle("permits")

    @initialize(config=configs())
    def begin(self, config: CircuitBreakerConfig) -> None:
        self.clock = FakeClock(0.0)
        self.breaker = CircuitBreaker(config, clock=self.clock)
        self.model = Model(config)
        self.given: list[Permit] = []
        self.lapsed: set[int] = set()
        self.asked = 0
        self.heard: list[Transition] = []
        self.breaker.on_transition(self.heard.append)

    @rule(target=permits)
    def acquire(self) -> int:
        """A permit's number, or -1 for a rejection."""
        number = len(self.given)
        self.asked += 1
        if self.model.acquire(number, self.clock.now):
            self.given.append(self.breaker.acquire())
            self.a_probe_is_one_of_few(self.given[number])
            return number
        with pytest.raises(CircuitBreakerOpenError) as caught:
            self.breaker.acquire()
        assert (caught.value.retry_after is None) == (self.model.override() is Override.FORCED_OPEN)
        return -1

    def a_probe_is_one_of_few(self, permit: Permit) -> None:
        """Read off the permits themselves, without the model."""
        seen = self.breaker.snapshot()
        if permit.probe:
            assert seen.state is HALF_OPEN
            holding = set(range(len(self.given))) - self.lapsed - self.past_their_lease()
            probing = [self.given[number] for number in holding if self.given[number].probe]
            assert (
                len([p for p in probing if not p.settled and p.epoch == seen.epoch]) <= seen.config.half_open_max_calls
            )
        elif seen.state is not CLOSED:
            assert permit.shadow
            assert seen.override is Override.FORCED_CLOSED

    def past_their_lease(self) -> set[int]:
        config, now = self.breaker.config, self.clock.now
        lease = config.recovery_timeout if config.timeout is None else config.timeout
        return {number for number, permit in enumerate(self.given) if now >= permit.started_at + lease}

    @rule(number=permits, outcome=st.sampled_from(Outcome), timed_out=st.booleans())
    def settle(self, number: int, outcome: Outcome, timed_out: bool) -> None:
        if number >= 0:
            timed_out = timed_out and outcome is Outcome.FAILURE
            self.breaker.settle(self.given[number], outcome, timed_out=timed_out)
            self.model.settle(number, outcome, self.clock.now, timed_out)

    @rule(took=st.none() | seconds, fails=st.booleans(), times=st.integers(1, 6))
    def call(self, took: float | None, fails: bool, times: int) -> None:
        """The whole way of a call, which in a closed circuit takes no lock."""

        def work() -> None:
            self.clock.advance(took or 0.0)
            if fails:
                raise ConnectionError

        for _ in range(times):
            number = len(self.given)
            self.given.append(Permit(-1, 0.0))  # numbers are given once
            self.given[number].settled = True
            self.asked += 1
            admitted = self.model.acquire(number, self.clock.now)
            with suppress(ConnectionError, CircuitBreakerOpenError):
                self.breaker.call_sync(work)
            if admitted:
                self.model.expire(self.clock.now)
                self.model.settle(number, Outcome.FAILURE if fails else Outcome.SUCCESS, self.clock.now, False)

    @precondition(lambda self: any(not permit.settled for permit in self.given))
    @rule(outcome=st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]), newest=st.booleans())
    def settle_one_in_flight(self, outcome: Outcome, newest: bool) -> None:
        in_flight = [number for number, permit in enumerate(self.given) if not permit.settled]
        self.settle(in_flight[-1 if newest else 0], outcome, False)

    @precondition(lambda self: any(permit.settled for permit in self.given))
    @rule(outcome=st.sampled_from(Outcome))
    def settling_twice_changes_nothing(self, outcome: Outcome) -> None:
        before = self.breaker.snapshot()
        for permit in self.given:
            if permit.settled:
                self.breaker.settle(permit, outcome)
        assert self.breaker.snapshot() == before

    @precondition(lambda self: any(not p.settled and p.epoch != self.model.epoch for p in self.given))
    @rule(outcome=st.sampled_from(Outcome))
    def a_late_result_is_only_counted_as_late(self, outcome: Outcome) -> None:
        before = self.breaker.snapshot()
        number = next(n for n, p in enumerate(self.given) if not p.settled and p.epoch != self.model.epoch)
        self.breaker.settle(self.given[number], outcome, timed_out=outcome is Outcome.FAILURE)
        self.model.settle(number, outcome, self.clock.now, False)
        counts = replace(before.counts, late=before.counts.late + 1)
        assert self.breaker.snapshot() == replace(before, counts=counts, changes=before.changes + 1)

    @rule(passed=seconds | st.just(0.25))
    def time_passes(self, passed: float) -> None:
        self.clock.advance(passed)
        self.breaker.get_state()
        self.model.expire(self.clock.now)

    @precondition(lambda self: self.model.state is OPEN and not self.model.forced)
    @rule()
    def until_just_before_a_probe_is_due(self) -> None:
        if self.clock.now < self.model.due():
            self.clock.now = self.model.due() - 0.125
            self.acquire()
            self.clock.now = self.model.due()

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.model.reset(Reason.RESET, self.clock.now)

    @rule(
        slot=st.sampled_from(["code", "fleet"]),
        override=st.none() | st.sampled_from(Override),
        expires_in=st.none() | seconds,
    )
    def force(self, slot: str, override: Override | None, expires_in: float | None) -> None:
        if slot == "fleet":
            self.breaker.set_fleet_override(override, expires_in=None if override is None else expires_in)
        elif override is None:
            self.breaker.release()
        else:
            forced = {Override.FORCED_OPEN: self.breaker.force_open, Override.FORCED_CLOSED: self.breaker.force_closed}
            forced[override](expires_in=expires_in, reason="drill")
        until = float("inf") if expires_in is None else self.clock.now + expires_in
        self.model.force(slot, None if override is None else (override, until), self.clock.now)

    @rule(config=configs(), same_type=st.booleans())
    def edit(self, config: CircuitBreakerConfig, same_type: bool) -> None:
        if same_type and self.model.config.window_type == "count":
            config = replace(config, window_type="count", minimum_calls=min(config.minimum_calls, config.window_size))
        elif config.window_type == "time" and self.model.config.window_type == "time":
            # another width of buckets files calls anew: that is an example of its own
            config = replace(config, window_size=self.model.config.window_size)
        self.lapsed |= self.past_their_lease()  # a longer lease gives no slot back
        before = self.breaker.snapshot()
        self.breaker.configure(config)
        self.model.edit(config, self.clock.now)
        after = self.breaker.snapshot()
        assert (after.state, after.epoch, after.consecutive_failures, after.counts) == (
            before.state, before.epoch, before.consecutive_failures, before.counts,
        )  # fmt: skip

    @invariant()
    def the_whole_view_is_the_models(self) -> None:
        if not hasattr(self, "breaker"):
            return
        model, seen = self.model, self.breaker.snapshot()
        now = self.clock.now
        window = model.in_window(now)
        assert {name: getattr(seen.counts, name) for name in model.totals} == model.totals
        assert (seen.state, seen.epoch, seen.consecutive_failures) == (model.state, model.epoch, model.streak)
        assert seen.override is model.override()
        assert (seen.window is not None) == model.keeps_window()
        if seen.window is not None:
            assert (seen.window.calls, seen.window.failures, seen.window.slow) == (
                len(window), sum(call[1] for call in window), sum(call[2] for call in window),
            )  # fmt: skip
        assert sum(seen.latency.values()) == seen.counts.successes + seen.counts.failures
        forced_open = model.override() is Override.FORCED_OPEN
        expected = max(0.0, model.due() - now) if model.state is OPEN and not forced_open else None
        assert seen.retry_after == expected

    @invariant()
    def every_call_is_counted_once_when_it_ends(self) -> None:
        if hasattr(self, "breaker"):
            in_flight = sum(not permit.settled for permit in self.given)
            assert self.breaker.snapshot().counts.requests == self.asked - in_flight

    @invariant()
    def transitions_are_legal_and_chained(self) -> None:
        if not hasattr(self, "breaker"):
            return
        heard = [(t.from_state, t.to_state, t.reason, t.epoch) for t in self.heard]
        assert heard == self.model.transitions
        assert all(
            later.from_state is earlier.to_state for earlier, later in zip(self.heard, self.heard[1:], strict=False)
        )
        assert all((t.from_state, t.to_state) in LEGAL[t.reason] for t in self.heard)

    def teardown(self) -> None:
        """Never stuck: one patient caller gets through, whatever has happened."""
        if not hasattr(self, "breaker"):
            return
        self.breaker.set_fleet_override(None)
        self.breaker.release()
        for _ in range(20):
            wait = 0.0
            try:
                self.breaker.settle(self.breaker.acquire(), Outcome.SUCCESS)
            except CircuitBreakerOpenError as error:
                wait = error.retry_after
            self.clock.advance(wait)
            if self.breaker.state is CLOSED:
                return
        raise AssertionError("a patient caller never got through")


MachineLaws.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachineLaws = MachineLaws.TestCase
