"""One instance as servers pass it to each other: plain values, whole, so that they may come in any order, and often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import OverrideStatus, Refusal, WindowCounts
from breakers.models import InstanceIdentity

from .observed import NO_COUNTS, InstanceFacts, Move, Observation

MOVES_PASSED = timedelta(seconds=20)
"""Others read once a second: what is older they know, or will never need as steps."""
RESETS_PASSED = timedelta(minutes=10)


class PassedBreaker(NamedTuple):
    """An :class:`Observation`; moments are epoch seconds by the clock of the server that was told."""

    state: str
    epoch: int
    since: float | None
    retry_at: float | None
    override: Sequence[Any] | None
    config_version: int | None
    consecutive_failures: int
    counts: Sequence[int]
    window: Sequence[int] | None
    latency: Mapping[str, int]
    last_failure_time: float | None
    last_success_time: float | None
    moves: Sequence[Sequence[Any]]
    base: Sequence[Any] | None
    """Counts and latency that are in the fleet's sums for good, see :attr:`Observation.base`."""
    returned: Sequence[Any] | None
    """And those that were in them when it came back: who does not know the instance has them in its totals."""
    forgotten_in: int | None = None


class PassedInstance(NamedTuple):
    """:class:`InstanceFacts`, as the server that it linked to holds them."""

    id: str
    service: str
    host: str
    pid: int
    library: str
    started_at: float
    first_seen: float
    heard: float
    gone_at: float | None
    linked: bool
    told: float
    revision: int
    skew: float | None
    dropped: int
    dropped_at: float | None
    refusals: Sequence[Sequence[Any]]
    confirmed: Sequence[str]
    breakers: Mapping[str, Sequence[Any]]

    @property
    def identity(self) -> InstanceIdentity:
        started_at = moment(self.started_at)
        return InstanceIdentity(UUID(self.id), self.service, self.host, self.pid, self.library, started_at)


def passed_instance(facts: InstanceFacts, now: datetime) -> PassedInstance:
    """O(breakers)."""
    identity, recent = facts.identity, now - MOVES_PASSED
    return PassedInstance(
        id=str(identity.id),
        service=identity.service,
        host=identity.host,
        pid=identity.pid,
        library=identity.library,
        started_at=identity.started_at.timestamp(),
        first_seen=facts.first_seen.timestamp(),
        heard=facts.heard.timestamp(),
        gone_at=_seconds(facts.gone_at),
        linked=facts.links > 0 and facts.gone_at is None,
        told=facts.told,
        revision=facts.revision,
        skew=facts.skew,
        dropped=facts.dropped,
        dropped_at=_seconds(facts.dropped_at),
        refusals=[(refusal.name, refusal.revision, refusal.error) for refusal in facts.refusals.values()],
        confirmed=[command for command, at in facts.confirmed.items() if now - at <= RESETS_PASSED],
        breakers={name: _passed_breaker(each, recent) for name, each in facts.breakers.items()},
    )


def _passed_breaker(observation: Observation, recent: datetime) -> PassedBreaker:
    override, window = observation.override, observation.window
    return PassedBreaker(
        state=observation.state.value,
        epoch=observation.epoch,
        since=_seconds(observation.since),
        retry_at=_seconds(observation.retry_at),
        override=_passed_override(override),
        config_version=observation.config_version,
        consecutive_failures=observation.consecutive_failures,
        counts=observation.counts,
        window=None if window is None else (window.calls, window.failures, window.slow),
        latency=dict(observation.latency),
        last_failure_time=observation.last_failure_time,
        last_success_time=observation.last_success_time,
        moves=[
            (move.epoch, move.state.value, move.since.timestamp(), move.cause)
            for move in observation.moves
            if move.since >= recent
        ],
        base=(observation.base, observation.base_latency) if any(observation.base) else None,
        returned=observation.returned,
        forgotten_in=observation.forgotten_in,
    )


def _passed_override(override: OverrideStatus | None) -> Sequence[Any] | None:
    if override is None:
        return None
    return override.override.value, override.origin, override.reason, override.expires_in


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def override_of(told: Sequence[Any] | None) -> OverrideStatus | None:
    if told is None:
        return None
    override, origin, reason, expires_in = told
    return OverrideStatus(Override(override), origin, reason, expires_in)


def window_of(told: Sequence[int] | None) -> WindowCounts | None:
    return None if told is None else WindowCounts(*told)


def refusals_of(told: Sequence[Sequence[Any]]) -> dict[str, Refusal]:
    return {name: Refusal(name, revision, error) for name, revision, error in told}


def base_of(told: Sequence[Any] | None) -> tuple[tuple[int, ...], dict[str, int]]:
    return (NO_COUNTS, {}) if told is None else (tuple(told[0]), dict(told[1]))


def moves_of(told: Sequence[Sequence[Any]]) -> list[Move]:
    return [Move(epoch, CircuitBreakerState(state), moment(since), cause) for epoch, state, since, cause in told]
