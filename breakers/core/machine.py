"""The decisions of one breaker, as plain synchronous code that is told the time.

No clock, lock, await, I/O or callback in here. A step leaves what it changed in :attr:`Machine.changes`, for the owner
to announce when the step is over. The owner also holds the lock; :class:`~breakers.core.gate.Gate` says which steps may
do without it.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nextafter
from typing import Literal, NamedTuple

from .changes import Change
from .config import CircuitBreakerConfig
from .counts import Counts
from .gate import LOCK_FREE, Gate
from .latency import BOUNDS, HIGHS, LOWS
from .states import CircuitBreakerState, Outcome, Override, Permit, Reason
from .windows import Tally, window_for

Origin = Literal["code", "fleet"]

# members looked up through their class cost 70 ns each
CLOSED, OPEN, HALF_OPEN = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, CircuitBreakerState.HALF_OPEN
FORCED_OPEN, FORCED_CLOSED = Override.FORCED_OPEN, Override.FORCED_CLOSED
FAILURE, NEUTRAL = Outcome.FAILURE, Outcome.NEUTRAL


class Rejection(NamedTuple):
    """What a rejected caller is told; see :class:`~breakers.core.errors.CircuitBreakerOpenError`."""

    state: CircuitBreakerState
    reason: str | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Forced:
    """An override in one of the two slots."""

    override: Override
    expires_at: float
    """Seconds on the breaker's clock; infinite: until released."""
    reason: str


def until(moment: float, now: float) -> float:
    """Seconds, not negative: who waits so long from ``now`` on is not a rounding too early."""
    left = max(0.0, moment - now)
    return left if now + left >= moment else nextafter(left, inf)


class Machine:
    """State, evidence and counts of one breaker. Times are seconds on whatever clock its owner reads."""

    __slots__ = (
        "back_off", "changes", "code", "config", "draw", "epoch", "expires_at", "failures", "fleet", "gate", "ignored",
        "last_failure", "last_success", "late", "latency", "leases", "open_gate", "open_wall", "opened_at", "probes",
        "random", "reason", "rejected", "revision", "since", "slow", "state", "state_changes", "streak",
        "successful_probes", "timeouts", "wall", "window", "would_reject",
    )  # fmt: skip

    def __init__(self, config: CircuitBreakerConfig, now: float, random: Callable[[], float] = random.random) -> None:
        self.config = config
        self.random = random
        self.state = CLOSED
        self.epoch = 0
        self.since = now
        self.reason: Reason | None = None
        self.streak = 0
        self.window = window_for(config)
        self.opened_at: float | None = None
        self.back_off = 0
        self.draw = 0.0
        self.leases: dict[Permit, None] = {}
        self.successful_probes = 0
        self.code: Forced | None = None
        self.fleet: Forced | None = None
        self.expires_at = inf
        self.changes: list[Change] = []
        self.failures = self.rejected = self.ignored = self.late = self.would_reject = 0
        self.timeouts = self.slow = self.state_changes = self.probes = 0
        self.latency: list[int] = []
        """Counted calls a bucket of :mod:`breakers.core.latency`; of no length until the first."""
        self.last_failure: float | None = None
        self.last_success: float | None = None
        self.revision = 0
        self.gate: Gate | None = None
        self.wall: float | None = None
        """As the gate, for rejections: until when OPEN rejects whatever comes."""
        self.open_gate: Gate | None
        self.open_wall: float | None
        self.rebuild()
        self.reopen()

    # -- the lock-free ways ------------------------------------------------------------------------------------------

    def shut(self) -> None:
        """A locked step begins."""
        if self.open_gate is not None:
            # to be learnt anew: the window may hold a failure when this step is done
            self.open_gate.low, self.open_gate.free = inf, -inf
        self.gate = self.wall = None

    def reopen(self) -> None:
        """A locked step ends."""
        self.gate, self.wall = self.open_gate, self.open_wall

    def rebuild(self) -> None:
        """State, epoch, override or config have changed."""
        self.revision += 1
        free = LOCK_FREE and self.override is None
        self.open_gate = (
            Gate(self.epoch, self.config, self.window, self.latency) if free and self.state is CLOSED else None
        )
        self.open_wall = self.due if free and self.state is OPEN else None

    # -- what it says ------------------------------------------------------------------------------------------------

    @property
    def override(self) -> Forced | None:
        """The override in force: the fleet's outranks the code's."""
        return self.fleet or self.code

    @property
    def forced_open(self) -> bool:
        forced = self.override
        return forced is not None and forced.override is FORCED_OPEN

    @property
    def wait(self) -> float:
        """Seconds that the present opening lasts, by the config in force and the draw made when it opened."""
        config = self.config
        try:
            backed_off = config.recovery_timeout * float(config.recovery_backoff) ** self.back_off
        except OverflowError:
            backed_off = inf
        ceiling = float(config.max_recovery_timeout)
        # jittered below the ceiling too: instances that have all reached it must not probe together
        return min(min(backed_off, ceiling) * (1 + config.recovery_jitter * self.draw), ceiling)

    @property
    def due(self) -> float:
        """When the next call becomes a probe. Meaningful in OPEN."""
        return self.since + self.wait

    @property
    def lease(self) -> float:
        """Seconds that a probe may hold its slot."""
        return self.config.recovery_timeout if self.config.timeout is None else self.config.timeout

    def retry_after(self, now: float) -> float:
        """For a rejected caller: seconds until a probe is due, or in HALF_OPEN until a slot is free at the latest."""
        if self.state is OPEN:
            return until(self.due, now)
        oldest = next(iter(self.leases))  # who is rejected finds every slot leased
        return until(oldest.started_at + self.lease, now)

    def tally(self, now: float) -> Tally | None:
        return None if self.window is None else self.window.tally(now)

    def counts(self) -> Counts:
        return Counts(
            successes=sum(self.latency) - self.failures,  # every counted call has a latency
            failures=self.failures,
            rejected=self.rejected,
            ignored=self.ignored,
            late=self.late,
            would_reject=self.would_reject,
            timeouts=self.timeouts,
            slow=self.slow,
            state_changes=self.state_changes,
            probes=self.probes,
        )

    def latencies(self) -> dict[int, int]:
        return {bucket: count for bucket, count in enumerate(self.latency) if count}

    # -- calls -------------------------------------------------------------------------------------------------------

    def acquire(self, now: float) -> Permit | Rejection:
        """A permit for one call, or why there is none. May turn OPEN into HALF_OPEN."""
        forced = self.override
        if self.forced_open:
            self.rejected += 1
            return Rejection(self.state, FORCED_OPEN.value, None)
        permit = self._judge_entry(now)
        if permit is not None:
            return permit
        if forced is None:
            self.rejected += 1
            return Rejection(self.state, self.reason, self.retry_after(now))
        self.would_reject += 1
        return Permit(self.epoch, now, shadow=True)

    def _judge_entry(self, now: float) -> Permit | None:
        if self.state is CLOSED:
            return Permit(self.epoch, now)
        if self.state is OPEN:
            if now < self.due:
                return None
            self._move(HALF_OPEN, Reason.RECOVERY_TIMEOUT, now)
        return self._probe(now)

    def _probe(self, now: float) -> Permit | None:
        lease = self.lease
        while self.leases and (oldest := next(iter(self.leases))).started_at + lease <= now:
            del self.leases[oldest]  # its lease ran out: another probe may have the slot
        if len(self.leases) >= self.config.half_open_max_calls:
            return None
        permit = Permit(self.epoch, now, probe=True)
        self.leases[permit] = None
        return permit

    def pass_success(self, gate: Gate, started_at: float, now: float) -> bool:
        """Counts a success that came through ``gate`` without the lock. False: that takes a locked step."""
        bucket, window, timed = bisect_left(BOUNDS, now - started_at), gate.count_window, gate.time_window
        # one stretch without a call or a loop, see Gate
        if self.gate is not gate or not gate.latency or now >= started_at + gate.slow_after:
            return False
        kept = timed if window is None else window
        settled = window is not None and window.calls == window.size and window.expires == inf
        if kept is not None:
            calls = kept.calls if window is not None and kept.calls == window.size else kept.calls + 1
            # the locked step judges; without a failure and a slow call in the window there is nothing to judge
            if (
                (kept.failures or kept.slow)
                and calls >= gate.minimum_calls
                and (kept.failures / calls >= gate.failure_rate or kept.slow / calls >= gate.slow_rate)
            ):
                return False
            if timed is not None:
                if now >= timed.until:
                    return False
                timed.newest.calls += 1
            elif window is not None:
                if window.newest + 1 >= window.expires:
                    return False
                window.newest += 1
            kept.calls = calls
        gate.latency[bucket] += 1
        self.streak = 0
        self.last_success = now
        # a tenth of margin: nothing in this bucket is slow, whatever the rounding
        if (kept is None or settled) and HIGHS[bucket] * 1.1 < gate.slow_after:
            gate.bucket = bucket
            gate.low = LOWS[bucket]
            gate.high = HIGHS[bucket]
            if gate.free < gate.high:
                gate.free = gate.high
        return True

    def pass_failure(self, gate: Gate, started_at: float, now: float) -> bool:
        """The same for a failure, which neither opens nor goes into a window."""
        bucket = bisect_left(BOUNDS, now - started_at)
        # one stretch without a call or a loop, see Gate
        if (
            self.gate is not gate
            or not gate.latency
            or gate.count_window is not None
            or gate.time_window is not None
            or now >= started_at + gate.slow_after
            or self.streak + 1 >= gate.streak_limit
        ):
            return False
        gate.latency[bucket] += 1
        self.failures += 1
        self.streak += 1
        self.last_failure = now
        return True

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        now: float,
        error: BaseException | None = None,
        timed_out: bool = False,
    ) -> None:
        """How the permitted call ended. The second time nothing happens; from an older epoch it is only late."""
        if permit.settled:
            return
        permit.settled = True
        if permit.epoch != self.epoch:
            self.late += 1
            return
        self.leases.pop(permit, None)
        self.probes += permit.probe
        if outcome is NEUTRAL:
            self.ignored += 1
            return
        failed, slow = outcome is FAILURE, self._is_slow(permit, now)
        self._count(permit, failed, slow, now)
        self.timeouts += timed_out
        if not permit.shadow:
            self._weigh(failed, slow, now, now - permit.started_at, error)

    def _is_slow(self, permit: Permit, now: float) -> bool:
        limit = self.config.slow_call_duration
        # not `now - started_at >= limit`: a call that took exactly the limit must not miss it by a rounding
        return limit is not None and now >= permit.started_at + limit

    def _count(self, permit: Permit, failed: bool, slow: bool, now: float) -> None:
        if not self.latency:
            self.latency.extend([0] * (len(BOUNDS) + 1))
        self.latency[bisect_left(BOUNDS, now - permit.started_at)] += 1
        self.slow += slow
        if failed:
            self.failures += 1
            self.last_failure = now
        else:
            self.last_success = now

    def _weigh(self, failed: bool, slow: bool, now: float, duration: float, error: BaseException | None) -> None:
        self.streak = self.streak + 1 if failed else 0
        if self.state is HALF_OPEN:
            self._weigh_probe(failed, slow, now, duration, error)
            return
        if self.window is not None:
            self.window.push(now, failed, slow)
        reason = self._tripped(now)
        if reason is not None:
            self._move(OPEN, reason, now, error=error)

    def _tripped(self, now: float) -> Reason | None:
        config = self.config
        if config.failure_threshold and self.streak >= config.failure_threshold:
            return Reason.CONSECUTIVE_FAILURES
        tally = self.tally(now)
        if tally is None or tally.calls < config.minimum_calls:
            return None
        # divided, not multiplied: 7 of 100 is 0.07 exactly as written in the config, 100 * 0.07 is more than 7
        if config.failure_rate_threshold is not None and tally.failures / tally.calls >= config.failure_rate_threshold:
            return Reason.FAILURE_RATE
        if config.slow_call_rate_threshold is not None and tally.slow / tally.calls >= config.slow_call_rate_threshold:
            return Reason.SLOW_CALL_RATE
        return None

    def _weigh_probe(self, failed: bool, slow: bool, now: float, duration: float, error: BaseException | None) -> None:
        if failed or slow:
            self.back_off += 1
            reason = Reason.PROBE_FAILED if failed else Reason.PROBE_SLOW
            self._move(OPEN, reason, now, duration=duration, error=error)
            return
        self.successful_probes += 1
        if self.successful_probes >= self.config.success_threshold:
            self._move(CLOSED, Reason.PROBES_SUCCEEDED, now)

    # -- orders ------------------------------------------------------------------------------------------------------

    def reset(self, now: float, reason: Reason = Reason.RESET) -> None:
        """CLOSED with nothing held against it, in a new epoch even if it was CLOSED. Lifts no override."""
        if self.state is not CLOSED:
            self._move(CLOSED, reason, now)
        else:
            self._clear_evidence()
            self._begin_epoch()

    def trip(self, now: float, note: str) -> None:
        """OPEN from CLOSED without evidence; for :mod:`breakers.testing`."""
        self._move(OPEN, Reason.CONSECUTIVE_FAILURES, now, note=note)

    def begin_probing(self, now: float, note: str) -> None:
        """HALF_OPEN from OPEN before its time; for :mod:`breakers.testing`."""
        self._move(HALF_OPEN, Reason.RECOVERY_TIMEOUT, now, note=note)

    def set_override(self, origin: Origin, forced: Forced | None, now: float) -> None:
        """Fills or empties one slot. When a ``forced_open`` that was in force leaves its slot, that is a reset."""
        held, before = getattr(self, origin), self.override
        setattr(self, origin, forced)
        self.expires_at = min((slot.expires_at for slot in (self.code, self.fleet) if slot is not None), default=inf)
        was_open = before is not None and before.override is FORCED_OPEN
        if was_open and held is before and not self.forced_open:
            self.reset(now, Reason.OVERRIDE_LIFTED)
        self.rebuild()

    def expire(self, now: float) -> None:
        """Lifts the overrides whose time has come, in the order in which it came."""
        while now >= self.expires_at:
            code_first = self.code is not None and self.code.expires_at == self.expires_at
            self.set_override("code" if code_first else "fleet", None, now)

    def configure(self, config: CircuitBreakerConfig) -> None:
        """A live edit: state, epoch, streak and window survive; nothing is judged before the next completion."""
        self.config = config
        self.window = window_for(config, self.window)
        self.rebuild()

    def disown(self, now: float) -> Change | None:
        """Nobody's gate may say any more that the registry knows this one. What ends its state for who watches the
        name, unless it is closed; here it goes on."""
        self.rebuild()
        if self.state is CLOSED:
            return None
        return self._change(CLOSED, Reason.RESET, now, self.epoch + 1, note="its process has forgotten the breaker")

    # -- steps -------------------------------------------------------------------------------------------------------

    def _change(
        self,
        to_state: CircuitBreakerState,
        reason: Reason,
        now: float,
        epoch: int,
        *,
        duration: float = 0.0,
        error: BaseException | None = None,
        note: str = "",
    ) -> Change:
        return Change(
            from_state=self.state,
            to_state=to_state,
            reason=reason,
            epoch=epoch,
            config=self.config,
            streak=self.streak,
            tally=self.tally(now),
            wait=self.wait,
            probes=self.successful_probes,
            duration=duration,
            error=error,
            note=note,
        )

    def _move(
        self,
        to_state: CircuitBreakerState,
        reason: Reason,
        now: float,
        *,
        duration: float = 0.0,
        error: BaseException | None = None,
        note: str = "",
    ) -> None:
        change = self._change(to_state, reason, now, self.epoch + 1, duration=duration, error=error, note=note)
        self.state, self.reason, self.since = to_state, reason, now
        self.state_changes += 1
        if to_state is OPEN:
            self.opened_at = now
            self.draw = 2 * self.random() - 1
        elif to_state is CLOSED:
            self._clear_evidence()
        self._begin_epoch()
        self.changes.append(change)

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self.leases.clear()
        self.successful_probes = 0
        self.rebuild()

    def _clear_evidence(self) -> None:
        self.streak = self.back_off = 0
        self.opened_at = None
        self.window = window_for(self.config)
