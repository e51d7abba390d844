"""Facts an instance told: one :class:`Observation` a breaker, one :class:`InstanceFacts` a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from operator import sub
from typing import Any, NamedTuple

from breakers.core.latency import BOUNDS
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import BreakerStatus, Counts, OverrideStatus, Refusal, WindowCounts
from breakers.models import InstanceIdentity, InstanceRecord

COUNT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Counts))
NO_COUNTS: tuple[int, ...] = (0,) * len(COUNT_NAMES)
_BUCKETS = frozenset(map(str, range(len(BOUNDS) + 1)))
HERE = ""
"""In place of the id of a server: this one."""
SAME_MOMENT = timedelta(seconds=0.25)
"""Moments that an instance tells as "seconds ago" are the same when they differ by less: the way takes its time."""


def counts_of(counts: Counts) -> tuple[int, ...]:
    """In the order of :data:`COUNT_NAMES`; written out, as it runs for each breaker of each report."""
    return (
        counts.successes, counts.failures, counts.rejected, counts.ignored, counts.late,
        counts.would_reject, counts.timeouts, counts.slow, counts.state_changes, counts.probes,
    )  # fmt: skip


class Move(NamedTuple):
    """A step that an instance told of: into which state, in which epoch, when, and why."""

    epoch: int
    state: CircuitBreakerState
    since: datetime
    cause: str


@dataclass(slots=True)
class Observation:
    """One breaker on one instance. Counts and latency only ever rise, in whatever order they come."""

    state: CircuitBreakerState = CircuitBreakerState.CLOSED
    epoch: int = 0
    since: datetime | None = None
    retry_at: datetime | None = None
    override: OverrideStatus | None = None
    config_version: int | None = None
    consecutive_failures: int = 0
    counts: tuple[int, ...] = NO_COUNTS
    window: WindowCounts | None = None
    latency: dict[str, int] = field(default_factory=dict)
    last_failure_time: float | None = None
    last_success_time: float | None = None
    link: int = 0
    """The connection in which it was last told; 0: from the database."""
    base: tuple[int, ...] = NO_COUNTS
    base_latency: dict[str, int] = field(default_factory=dict)
    """What of its counts stands in the sums of those who departed, for good: it was folded, forgotten, and returned."""
    placed: CircuitBreakerState | None = None
    """The state as which its breaker's view counts it; ``None`` while its instance is not live."""
    kept: bool = False
    """Whether it was read from the database."""
    moves: tuple[Move, ...] = ()
    """The latest, oldest first, where other servers are to be told of them."""
    returned: tuple[tuple[int, ...], Mapping[str, int]] | None = None
    """Counts and latency that stood in the sums of those who departed when it came back."""
    forgotten_in: int | None = None
    """The epoch in which the process forgot the breaker; one that it made anew has a later one."""

    @property
    def forgotten(self) -> bool:
        """The process has the breaker no more: its counts stay, but it is none of the breaker's instances."""
        return self.forgotten_in is not None and self.forgotten_in >= self.epoch

    def forget_in(self, epoch: int | None) -> None:
        """In whatever order it is told."""
        if epoch is not None:
            self.forgotten_in = epoch if self.forgotten_in is None else max(epoch, self.forgotten_in)

    def raise_counts(self, told: tuple[int, ...]) -> tuple[int, ...] | None:
        """What ``told`` adds, field by field; ``None`` when nothing."""
        if told == self.counts:
            return None
        added = tuple(map(sub, told, self.counts))  # both in C: this runs for each breaker of each report
        if min(added) < 0:
            told = tuple(map(max, told, self.counts))
            added = tuple(map(sub, told, self.counts))
        self.counts = told
        return added

    def raise_latency(self, told: Mapping[str, int], totals: dict[str, int]) -> None:
        """Takes over the buckets that rose, and adds what they rose by to ``totals``."""
        mine = self.latency
        for bucket, count in told.items():
            before = mine.get(bucket, 0)
            if count > before and (bucket in totals or is_bucket(bucket)):
                mine[bucket] = count
                totals[bucket] = totals.get(bucket, 0) + count - before

    def begin_at(self, counts: tuple[int, ...], latency: Mapping[str, int]) -> None:
        """What it tells first has been summed long ago: only what is more than that counts."""
        self.base = self.counts = counts
        self.base_latency, self.latency = dict(latency), dict(latency)

    def knows(self, state: CircuitBreakerState, epoch: int) -> bool:
        """Whether a state is no news: older than the one that is known, or the same."""
        return epoch < self.epoch or (epoch == self.epoch and state is self.state and self.since is not None)

    def move(self, state: CircuitBreakerState, epoch: int, since: datetime) -> bool:
        """Takes over a state; ``since`` of one that is already known stays. True when it changed."""
        if self.knows(state, epoch):
            return False
        self.state, self.epoch, self.since = state, epoch, since
        self.retry_at = None
        return True

    def take(self, status: BreakerStatus, at: datetime) -> bool:
        """The rest of a status, after the state; true when ``retry_at`` is another moment than before."""
        before = self.retry_at
        wait = status.retry_in
        retry_at = None if wait is None or self.state is not CircuitBreakerState.OPEN else later(at, wait)
        if not self._waits_alike(retry_at, at):
            self.retry_at = retry_at
        self.override, self.window = status.override, status.window
        self.config_version, self.consecutive_failures = status.config_version, status.consecutive_failures
        self.last_failure_time, self.last_success_time = status.last_failure_time, status.last_success_time
        return self.retry_at is not None and self.retry_at is not before

    def _waits_alike(self, told: datetime | None, now: datetime) -> bool:
        """Whether a wait that is told is the one that is known. One that is over is told as over now, however long."""
        if told is None or self.retry_at is None:
            return False
        return abs(told - self.retry_at) <= SAME_MOMENT or self.retry_at <= told <= now

    def as_json(self) -> dict[str, Any]:
        """What the database keeps of it: its counts are what it adds to the fleet's."""
        kept = {
            "state": self.state.value,
            "epoch": self.epoch,
            "since": None if self.since is None else self.since.isoformat(),
            "retry_at": None if self.retry_at is None else self.retry_at.isoformat(),
            "counts": dict(zip(COUNT_NAMES, map(int.__sub__, self.counts, self.base), strict=True)),
            "latency": {bucket: count - self.base_latency.get(bucket, 0) for bucket, count in self.latency.items()},
        }
        if self.forgotten:
            kept["forgotten_in"] = self.forgotten_in
        if any(self.base):
            base = {"counts": dict(zip(COUNT_NAMES, self.base, strict=True)), "latency": self.base_latency}
            return {**kept, "base": base}
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Observation:
        """The reverse of :meth:`as_json`; what is absent takes its default."""
        since, retry_at, base = kept.get("since"), kept.get("retry_at"), kept.get("base") or {}
        found = cls(
            state=CircuitBreakerState(kept.get("state", "closed")),
            epoch=kept.get("epoch", 0),
            since=None if since is None else datetime.fromisoformat(since),
            retry_at=None if retry_at is None else datetime.fromisoformat(retry_at),
            kept=True,
            forgotten_in=kept.get("forgotten_in"),
        )
        found.begin_at(_counts_in(base), _latency_in(base))
        found.counts = tuple(map(int.__add__, found.base, _counts_in(kept)))
        for bucket, count in _latency_in(kept).items():
            found.latency[bucket] = found.latency.get(bucket, 0) + count
        return found


def _counts_in(kept: Mapping[str, Any]) -> tuple[int, ...]:
    counts = kept.get("counts") or {}
    return tuple(int(counts.get(name, 0)) for name in COUNT_NAMES)


def _latency_in(kept: Mapping[str, Any]) -> dict[str, int]:
    return {str(bucket): int(count) for bucket, count in (kept.get("latency") or {}).items()}


def is_bucket(text: str) -> bool:
    """Whether ``text`` is an index of a latency bucket, written as the library writes it."""
    return (
        text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= len(BOUNDS) and str(int(text)) == text
    )


def later(at: datetime, seconds: float) -> datetime:
    """``at`` plus ``seconds``, within what a calendar can hold: instances may tell nonsense."""
    return at + timedelta(seconds=min(max(seconds, -1e9), 1e9))


@dataclass(slots=True)
class InstanceFacts:
    """One process. Live until 15 s after it was last heard, gone after 300 s or with its goodbye."""

    identity: InstanceIdentity
    first_seen: datetime
    heard: datetime
    """When it last gave a sign; after a start of the server, that start at the earliest."""
    last_seen: datetime
    live: bool = True
    gone_at: datetime | None = None
    links: int = 0
    """Sockets open now: a new one may come before the old one is seen to be lost."""
    link: int = 0
    """Connections so far."""
    reported_at: datetime | None = None
    """First report of this connection."""
    revision: int = 0
    skew: float | None = None
    """Seconds by which its clock is ahead of ours, less the time that its last report was under way."""
    dropped: int = 0
    """Transitions that it could not keep until they were reported, since it began."""
    dropped_at: datetime | None = None
    """When it last told of more of them."""
    breakers: dict[str, Observation] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    unpersisted: bool = False
    direct: bool = False
    """It is linked by the database and writes its row itself: what is here was read there."""
    forgotten: bool = False
    """Its row was deleted long after it was gone: the sums hold what it had told until then. So its first report, which
    says how much that is, is where it begins; until that stands in its new row, the row says that it was forgotten."""
    home: str | None = None
    """Who speaks for it: this server (``HERE``), another one by its id, or nobody but the database."""
    away: bool = False
    """Linked to its home, which is another server."""
    followed: bool = False
    """A server has written of it since this one began: where no home speaks for it, the database does."""
    told: float = 0.0
    """When it made its newest report that is known, by its own clock."""
    confirmed: dict[str, datetime] = field(default_factory=dict)
    """Reset commands that it has applied, and when that became known."""
    unshared: bool = False
    """Whether the other servers have still to be told of it, soon."""
    counted: bool = False
    """Whether they have still to be told of what it counted, which can wait a little."""

    @property
    def linked(self) -> bool:
        """To whichever server."""
        return self.links > 0 or self.away

    @property
    def reachable(self) -> bool:
        """Whether there is a way by which it can be told what is wanted."""
        return self.linked or self.direct

    def has_applied(self, name: str, revision: int) -> bool:
        """Whether it confirmed ``revision`` of the breaker."""
        return self.revision >= revision and not self.refuses(name, revision)

    def refuses(self, name: str, revision: int) -> bool:
        """Whether it said that it could not take the breaker's latest config."""
        refusal = self.refusals.get(name)
        return refusal is not None and refusal.revision >= revision

    def snapshot(self) -> InstanceRecord:
        """What of it goes to the database, so that its totals outlive this process."""
        identity = self.identity
        return InstanceRecord(
            id=identity.id,
            service=identity.service,
            host=identity.host,
            pid=identity.pid,
            library=identity.library,
            started_at=identity.started_at,
            first_seen_at=self.first_seen,
            last_seen_at=self.last_seen,
            gone_at=self.gone_at,
            observed={name: observation.as_json() for name, observation in self.breakers.items()},
            direct=self.direct,
            forgotten=self.forgotten,
            dropped=self.dropped,
            dropped_at=self.dropped_at,
        )
