"""What is read of the database, as values: frozen, free of the ORM, safe to hand between threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.states import CircuitBreakerState, Override
from breakers.core.wire import DesiredBreaker, DesiredOverride

if TYPE_CHECKING:  # the tables are read into these values
    from .history import ConfigChange


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """What is wanted of one breaker. Datetimes aware; an override that had expired when this was read is ``None``."""

    name: str
    group: str
    description: str
    managed: bool
    version: int
    revision: int
    config: CircuitBreakerConfig
    http: HttpConfig
    override: Override | None
    override_reason: str
    override_by: str
    override_expires_at: datetime | None
    created_at: datetime
    override_since: datetime | None = None
    """When the override was ordered."""
    updated_at: datetime | None = None
    """When this revision of it was written."""

    def override_at(self, now: datetime) -> Override | None:
        """The override in force at ``now``: one that has expired since it was read is none."""
        expired = self.override_expires_at is not None and self.override_expires_at <= now
        return None if expired else self.override

    def desired(self, now: datetime) -> DesiredBreaker:
        """As a link is told it: without a config where instances keep the one of their code."""
        return DesiredBreaker(
            name=self.name,
            revision=self.revision,
            version=self.version,
            config=self.config.as_dict() if self.managed else None,
            http=self.http.as_dict() if self.managed else None,
            override=self._desired_override(now),
        )

    def _desired_override(self, now: datetime) -> DesiredOverride | None:
        override, until = self.override_at(now), self.override_expires_at
        if override is None:
            return None
        return DesiredOverride(override, self.override_reason, (until - now).total_seconds() if until else None)


@dataclass(frozen=True, slots=True)
class ResetRecord:
    """A reset command: applied once by each instance that was running at ``at``; ``instance`` ``None``: by all."""

    id: str
    name: str
    instance: str | None
    at: datetime
    revision: int


@dataclass(frozen=True, slots=True)
class DesiredState:
    """All that is wanted at ``revision``; read on from an earlier one: ``resets`` and ``changes`` since that."""

    revision: int
    breakers: Mapping[str, BreakerRecord]
    resets: tuple[ResetRecord, ...]
    unreadable: Mapping[str, DesiredBreaker] = field(default_factory=dict)
    """Rows whose config this version refuses: written by a newer one, over the same database."""
    changes: tuple[ConfigChange, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceIdentity:
    """One process of a service; ``started_at`` aware."""

    id: UUID
    service: str
    host: str
    pid: int
    library: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """An instance with what it had observed when it was last written: breaker to state, counts, latency."""

    id: UUID
    service: str
    host: str
    pid: int
    library: str
    started_at: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None
    observed: Mapping[str, Any]
    folded: bool = False
    """Whether what it observed stands in the sums of those who departed."""
    direct: bool = False
    """Whether it is linked by the database and writes its row itself."""
    report: Mapping[str, Any] | None = None
    forgotten: bool = False
    """Whether the sums hold what it counted before it was first seen, and its row does not say yet how much that is."""
    dropped: int = 0
    """Transitions that it could not keep until they were reported, as it last told."""
    dropped_at: datetime | None = None
    """When it last told of more of them."""

    @property
    def identity(self) -> InstanceIdentity:
        return InstanceIdentity(self.id, self.service, self.host, self.pid, self.library, self.started_at)


@dataclass(frozen=True, slots=True)
class DepartedRecord:
    """What the instances of one breaker that are long gone had counted, summed; and how the last of them left it."""

    breaker: str
    observed: Mapping[str, Any]
    instance: UUID | None
    gone_at: datetime | None


@dataclass(frozen=True, slots=True)
class LatestState:
    """The newest transition that is recorded of one instance of a breaker."""

    instance: UUID
    to_state: CircuitBreakerState
    from_state: CircuitBreakerState
    at: datetime
    epoch: int


@dataclass(frozen=True, slots=True)
class LastCause:
    cause: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that fires now; ``since`` aware where it is known."""

    level: str
    name: str
    group: str
    kind: str
    message: str
    cause: str | None
    since: datetime | None
    link: str

    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        since = self.since.isoformat() if self.since else None
        return {
            "level": self.level,
            "name": self.name,
            "group": self.group,
            "kind": self.kind,
            "message": self.message,
            "cause": self.cause,
            "since": since,
            "link": self.link,
        }
