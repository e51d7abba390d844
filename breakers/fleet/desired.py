"""What is wanted, as last read of the database: configs, overrides, and the resets that are still young."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from breakers.core.wire import Desired, DesiredBreaker, ResetCommand
from breakers.models import BreakerRecord, DesiredState, ResetRecord
from breakers.selectors import RESET_LIFETIME

RESET_MEMORY = timedelta(minutes=10)
"""Progress can be asked for this long."""


@dataclass(slots=True)
class Reset:
    """A reset command with who it is for and who has confirmed it."""

    record: ResetRecord
    targets: frozenset[UUID]
    confirmed: set[UUID] = field(default_factory=set)


class Wanted:
    """Desired state at one revision, with what is needed to tell an instance only what changed."""

    def __init__(self) -> None:
        self.revision = -1
        self.read: DesiredState | None = None
        """What was last read, to read on from; ``records`` may hold more."""
        self.oldest = 0
        """Deletions before this revision are not known here."""
        self.records: Mapping[str, BreakerRecord] = {}
        self.deleted: dict[str, int] = {}
        self.resets: dict[str, Reset] = {}
        self._resets_of: dict[str, list[Reset]] = {}
        """The same by breaker, in the order of their revisions: of a thousand at once an instance looks at its own."""

    @property
    def loaded(self) -> bool:
        return self.revision >= 0

    def replace(self, state: DesiredState) -> set[str]:
        """Takes over a newer state; the names that changed, came or went. What cannot be read stays as it was."""
        self.read = replace(state, resets=(), changes=())
        before = self.records
        after = {**{name: before[name] for name in state.unreadable if name in before}, **state.breakers}
        gone = before.keys() - after.keys()
        if not self.loaded:
            self.oldest = state.revision
        self.deleted = {n: r for n, r in self.deleted.items() if n not in after} | dict.fromkeys(gone, state.revision)
        self.revision, self.records = state.revision, after
        return gone | {name for name, record in after.items() if _differs(before.get(name), record)}

    def desired(self, names: Iterable[str] | None, now: datetime) -> tuple[DesiredBreaker, ...]:
        """The rows of ``names`` that exist; of all with ``None``."""
        wanted = self.records if names is None else names
        return tuple(self.records[name].desired(now) for name in wanted if name in self.records)

    def since(self, revision: int, now: datetime) -> Desired | None:
        """The rows that changed after ``revision``; ``None`` when deletions may be missing here: send the whole."""
        if not self.loaded or revision < self.oldest:
            return None
        changed = [record.desired(now) for record in self.records.values() if record.revision > revision]
        deleted = [DesiredBreaker(name=n, revision=r, deleted=True) for n, r in self.deleted.items() if r > revision]
        return Desired(revision=self.revision, since=revision, breakers=(*changed, *deleted))

    def commands(
        self, instance: UUID, names: Iterable[str], since: int, first_seen: datetime, now: datetime
    ) -> tuple[ResetCommand, ...]:
        """The resets that the instance has still to apply: younger than 60 s, given while it was running."""
        mine = [reset for name in self._resets_of.keys() & set(names) for reset in self._resets_of[name]]
        mine.sort(key=lambda reset: reset.record.revision)
        return tuple(
            ResetCommand(id=r.id, name=r.name, age=max((now - r.at).total_seconds(), 0.0), instance=r.instance)
            for r in (reset.record for reset in mine if instance not in reset.confirmed)
            if r.revision > since and r.instance in (None, str(instance))
            if r.at >= first_seen and now - r.at < RESET_LIFETIME
        )

    def command(self, record: ResetRecord, targets: frozenset[UUID]) -> None:
        """A reset was given; it is for ``targets``."""
        self.resets[record.id] = reset = Reset(record, targets)
        self._resets_of.setdefault(record.name, []).append(reset)

    def forget_old_resets(self, now: datetime) -> None:
        for command in [c for c, reset in self.resets.items() if now - reset.record.at > RESET_MEMORY]:
            reset = self.resets.pop(command)
            mine = self._resets_of[reset.record.name]
            mine.remove(reset)
            if not mine:
                del self._resets_of[reset.record.name]


def _differs(before: BreakerRecord | None, after: BreakerRecord) -> bool:
    return before is not after and before != after
