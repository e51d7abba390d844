"""Instances that are linked by the database itself: nobody tells us of them, so we read what they write.

Two cheap queries a look, and more only for who wrote something since. A look every two seconds shows their transitions
that soon, and the rest as they keep it, at most every five seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from breakers import selectors
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import Report, TransitionReport, WireError, decode_from_agent
from breakers.fleet import fleet
from breakers.models import InstanceRecord, StateChange
from breakers.services import FOLD_AFTER
from breakers.sharing import peers

from .screening import check_report

logger = logging.getLogger(__name__)

Head = tuple[datetime, datetime | None]


class Overhearing:
    """One thread calls :meth:`look`, every so often."""

    def __init__(self) -> None:
        self._heads: dict[UUID, Head] = {}
        self._told: dict[UUID, int] = {}  # up to which sequence its transitions are known
        self._known: dict[UUID, InstanceRecord] = {}  # without what it observed
        self._begun = False

    def look(self) -> None:
        """Tells the fleet what changed since the last look. Raises what the database raises: the next one repeats."""
        if not fleet.recalled:
            return
        heads = selectors.direct_heads()
        changed = selectors.instances(pk for pk, head in heads.items() if self._heads.get(pk) != head)
        self._know(changed)
        self._tell_transitions(heads)
        for record in changed:
            fleet.overhear(record, _report_of(record))
            self._heads[record.id] = record.last_seen_at, record.gone_at
        for gone in self._heads.keys() - heads.keys():  # folded
            del self._heads[gone], self._told[gone], self._known[gone]

    def _know(self, records: Iterable[InstanceRecord]) -> None:
        """At the first look as much of the history is known as the fleet recalled, and all of it of one that comes back
        after long."""
        new = [record for record in records if record.id not in self._known]
        young = timezone.now() - FOLD_AFTER
        recalled = {} if self._begun else fleet.recalled_sequences
        past = [record.id for record in new if record.first_seen_at < young and record.id not in recalled]
        sequences = {**selectors.recorded_sequences(past), **recalled}
        for record in new:
            self._known[record.id] = replace(record, observed={}, report=None)
            self._told[record.id] = sequences.get(record.id, 0)
        self._begun = True

    def _tell_transitions(self, present: Iterable[UUID]) -> None:
        for instance, newest in selectors.recorded_sequences(pk for pk in present if pk in self._known).items():
            if newest > self._told[instance]:
                changes = selectors.recorded_after(instance, self._told[instance])
                told = tuple(_told_by(change) for change in changes)
                fleet.overhear(self._known[instance], Report(id=0, now=timezone.now().timestamp(), transitions=told))
                peers.tell(changes)
                self._told[instance] = changes[-1].sequence


def _told_by(change: StateChange) -> TransitionReport:
    return TransitionReport(
        sequence=change.sequence,
        name=change.breaker,
        from_state=CircuitBreakerState(change.from_state),
        to_state=CircuitBreakerState(change.to_state),
        reason=change.reason,
        cause=change.cause,
        at=change.at.timestamp(),
        epoch=change.epoch,
        failures=change.failures,
        calls=change.calls,
        failure_rate=change.failure_rate,
    )


def _report_of(record: InstanceRecord) -> Report | None:
    """What its row says; ``None`` where that cannot be read: a newer library wrote it, or somebody else."""
    if record.report is None:
        return None
    try:
        report = decode_from_agent(json.dumps(record.report))
        if not isinstance(report, Report):
            raise WireError("it is no report")
        check_report(report)
    except WireError as error:
        logger.warning("What instance %s wrote of itself is passed over: %s", record.id, error)
        return None
    return report
