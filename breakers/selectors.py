"""Reads of the database; nothing here writes. Everything but the two query sets comes back as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Max, OuterRef, QuerySet, Subquery, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from breakers.core.errors import ConfigError
from breakers.core.states import CircuitBreakerState
from breakers.core.wire import DesiredBreaker
from breakers.models import (
    ApiKey,
    BreakerConfig,
    BreakerRecord,
    ConfigChange,
    Departed,
    DepartedRecord,
    DesiredState,
    Instance,
    InstanceIdentity,
    InstanceRecord,
    LastCause,
    LatestState,
    ResetRecord,
    Revision,
    StateChange,
    TransitionTotal,
)
from breakers.outage import outage
from breakers.problems import NotFound

__all__ = [
    "RESET_LIFETIME",
    "SINCE_ROWS_AT_START",
    "BreakerRecord",
    "DepartedRecord",
    "DesiredState",
    "InstanceIdentity",
    "InstanceRecord",
    "LastCause",
    "LatestState",
    "ResetRecord",
    "breaker",
    "changes",
    "current_revision",
    "departed",
    "desired_state",
    "direct_heads",
    "everybody",
    "fleet_since",
    "folded",
    "good_keys",
    "history",
    "instance",
    "instances",
    "instances_observed",
    "last_causes",
    "latest_states",
    "newest",
    "recorded",
    "recorded_after",
    "recorded_sequence",
    "recorded_sequences",
    "revoked_keys",
    "transition_totals",
    "versions",
]

_REVISION: Final = f'SELECT "current" FROM "{Revision._meta.db_table}" WHERE "id" = 1'  # noqa: S608  # our own table
RESET_LIFETIME: Final = timedelta(seconds=60)
SINCE_ROWS: Final = 500
SINCE_FIRST: Final = 20
SINCE_ROWS_AT_START: Final = 20_000
"""A storm of 20 transitions a second of one breaker is then followed for a quarter of an hour: some 0.2 s, once."""
LATEST_ROWS: Final = 100
_SNAPSHOT_ATTEMPTS: Final = 5
_BADNESS: Final = {
    CircuitBreakerState.CLOSED.value: 0,
    CircuitBreakerState.HALF_OPEN.value: 1,
    CircuitBreakerState.OPEN.value: 2,
}


def current_revision() -> int:
    """Of the last committed write of desired state; one query by primary key.

    Asked before every answer, so without the ORM, which takes five times as long as the database; and without waiting
    for one that is known to be away.
    """
    return outage.ask(_current_revision)


def _current_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_REVISION)
        found = cursor.fetchone()
    return int(found[0]) if found else 0


def breaker(name: str) -> BreakerConfig:
    """Raises :class:`~breakers.problems.NotFound`."""
    found = BreakerConfig.objects.filter(name=name).first()
    if found is None:
        raise NotFound(name)
    return found


def desired_state(known: DesiredState | None = None) -> DesiredState:
    """All that is wanted, as it stood at one revision; with ``known``, an earlier answer, only what came since is read.

    A read that shares no statement with a writer needs no lock: if the revision is the same before and after, no write
    committed between. Under constant writes it waits for its turn, as a writer would.
    """
    for _ in range(_SNAPSHOT_ATTEMPTS):
        state = _read_state(current_revision(), known)
        if current_revision() == state.revision:
            return state
    with transaction.atomic():
        return _read_state(Revision.locked().current, known)


def _read_state(revision: int, known: DesiredState | None) -> DesiredState:
    now = timezone.now()
    if known is None:
        breakers, unreadable = _records(BreakerConfig.objects.all(), now)
        resets = changes(kind=ConfigChange.Kind.RESET, since=now - RESET_LIFETIME).order_by("revision")
        return DesiredState(revision, breakers, _commands(resets), unreadable)
    written = tuple(changes(above=known.revision).reverse())
    breakers, unreadable = _brought_up_to_date(known, written, now)
    young = [each for each in written if each.kind == ConfigChange.Kind.RESET and each.at >= now - RESET_LIFETIME]
    return DesiredState(revision, breakers, _commands(young), unreadable, written)


_Rows = tuple[Mapping[str, BreakerRecord], Mapping[str, DesiredBreaker]]
"""The readable ones and the others."""


def _brought_up_to_date(known: DesiredState, written: Iterable[ConfigChange], now: datetime) -> _Rows:
    """What was known without what was deleted and with what was written; all anew where that is not all there is."""
    if all(change.kind == ConfigChange.Kind.RESET for change in written):
        return known.breakers, known.unreadable
    breakers, unreadable = _records(BreakerConfig.objects.filter(revision__gt=known.revision), now)
    deleted = {change.breaker for change in written if change.kind == ConfigChange.Kind.DELETED}
    old = deleted | breakers.keys() | unreadable.keys()
    breakers = {**{name: record for name, record in known.breakers.items() if name not in old}, **breakers}
    unreadable = {**{name: row for name, row in known.unreadable.items() if name not in old}, **unreadable}
    if len(breakers) + len(unreadable) == BreakerConfig.objects.count():
        return breakers, unreadable
    return _records(BreakerConfig.objects.all(), now)  # somebody wrote past the services


def _records(rows: Iterable[BreakerConfig], now: datetime) -> _Rows:
    breakers: dict[str, BreakerRecord] = {}
    unreadable: dict[str, DesiredBreaker] = {}
    read = list(rows)
    since = _overridden_since([row.name for row in read if row.override])
    for row in read:
        try:
            breakers[row.name] = row.record(now, since.get(row.name))
        except ConfigError:  # one row must not hold up the others
            unreadable[row.name] = row.as_it_stands(now)
    return breakers, unreadable


def _overridden_since(names: Sequence[str]) -> dict[str, datetime]:
    """When the overrides that stand were ordered. One query, none without any."""
    orders = ConfigChange.objects.filter(breaker__in=names, kind=ConfigChange.Kind.OVERRIDE_SET).order_by()
    return dict(orders.values_list("breaker").annotate(Max("at"))) if names else {}


def _commands(resets: Iterable[ConfigChange]) -> tuple[ResetRecord, ...]:
    return tuple(row.reset_record() for row in resets)


def everybody() -> tuple[list[InstanceRecord], list[DepartedRecord]]:
    """:func:`instances_observed` and :func:`departed` of one moment: nobody is counted in both, or in neither.

    Where instances come and go all the time it waits for its turn, as a writer would.
    """
    for _ in range(_SNAPSHOT_ATTEMPTS):
        found = instances_observed(), departed()
        still = set(Instance.objects.filter(folded=False).values_list("pk", flat=True))
        if still == {record.id for record in found[0]}:
            return found
    with transaction.atomic():
        instances = [row.record() for row in Instance.objects.select_for_update().filter(folded=False).order_by("pk")]
        sums = [row.record() for row in Departed.objects.select_for_update().order_by("breaker")]
        return instances, sums


def instances_observed(since: datetime | None = None) -> list[InstanceRecord]:
    """Every instance that is not folded, with its last written totals; also those that are just gone.

    ``since``: only those that were seen then or later.
    """
    return [row.record() for row in Instance.objects.filter(folded=False, **_given({"last_seen_at__gte": since}))]


def departed() -> list[DepartedRecord]:
    """A breaker, what the instances had counted that are folded."""
    return [row.record() for row in Departed.objects.all()]


def folded(ids: Iterable[UUID]) -> set[UUID]:
    """Those of the instances whose counts stand in the sums of those who departed."""
    wanted = list(ids)
    return set(Instance.objects.filter(pk__in=wanted, folded=True).values_list("pk", flat=True)) if wanted else set()


def instance(identity: UUID) -> InstanceRecord | None:
    """As last written; ``None`` for one that was never seen, or was forgotten."""
    row = Instance.objects.filter(pk=identity).first()
    return None if row is None else row.record()


def direct_heads() -> dict[UUID, tuple[datetime, datetime | None]]:
    """The instances that are linked by the database itself: when each was last written, and whether it is gone."""
    rows = Instance.objects.filter(direct=True, folded=False).values_list("pk", "last_seen_at", "gone_at")
    return {pk: (last_seen, gone_at) for pk, last_seen, gone_at in rows}


def instances(ids: Iterable[UUID]) -> list[InstanceRecord]:
    """As last written."""
    return [row.record() for row in Instance.objects.filter(pk__in=list(ids))]


def hosts(ids: Iterable[UUID]) -> dict[UUID, tuple[str, int]]:
    """Host and pid of those of the instances that are not forgotten. One query at most."""
    wanted = list(ids)
    rows = Instance.objects.filter(pk__in=wanted).values_list("pk", "host", "pid") if wanted else ()
    return {pk: (host, pid) for pk, host, pid in rows}


def recorded_sequences(ids: Iterable[UUID]) -> dict[UUID, int]:
    """The highest sequence of each that has any. One query, by an index."""
    rows = StateChange.objects.order_by().filter(instance__in=list(ids)).values_list("instance")
    return dict(rows.annotate(highest=Max("sequence")))


def recorded_after(instance: UUID, sequence: int) -> list[StateChange]:
    """The transitions of one instance with a higher sequence, in order."""
    return list(StateChange.objects.filter(instance=instance, sequence__gt=sequence).order_by("sequence"))


def recorded_sequence(instance: UUID) -> int:
    """The highest sequence of this instance that stands in the database; 0 if none does."""
    found = StateChange.objects.filter(instance=instance).aggregate(highest=Max("sequence"))
    return found["highest"] or 0


def revoked_keys(ids: Iterable[int]) -> set[int]:
    """Those of the keys that no longer open anything."""
    return set(ApiKey.objects.filter(pk__in=list(ids)).exclude(revoked_at=None).values_list("pk", flat=True))


def good_keys(most: int) -> list[ApiKey]:
    """Keys that open something, those used last first."""
    return list(ApiKey.objects.filter(revoked_at=None).order_by(F("last_used_at").desc(nulls_last=True), "-pk")[:most])


def history(
    name: str | None = None,
    *,
    service: str | None = None,
    instance: UUID | None = None,
    from_state: str | None = None,
    to_state: str | None = None,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[StateChange]:
    """Transitions, newest first; ``since`` and ``until`` inclusive."""
    wanted = {
        "breaker": name,
        "service": service,
        "instance": instance,
        "from_state": from_state,
        "to_state": to_state,
        "reason": reason,
        "at__gte": since,
        "at__lte": until,
    }
    return StateChange.objects.filter(**_given(wanted)).order_by("-at", "-sequence", "-id")


def changes(
    name: str | None = None,
    *,
    kind: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    instance: UUID | None = None,
    above: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[ConfigChange]:
    """Config changes and operator actions, newest first.

    ``reason``: a part of it, in any case; ``instance``: that a reset was for; ``above``: a revision that is lower.
    """
    wanted = {
        "breaker": name,
        "kind": kind,
        "actor": actor,
        "reason__icontains": reason,
        "instance": instance,
        "revision__gt": above,
        "at__gte": since,
        "at__lte": until,
    }
    return ConfigChange.objects.filter(**_given(wanted)).order_by("-revision")


def versions(name: str) -> QuerySet[ConfigChange]:
    """One change for each version of the breaker of this name, newest first; ``after`` is its config.

    A name that was deleted and taken again begins anew: what stood before is not among its versions.
    """
    begins = (ConfigChange.Kind.CREATED, ConfigChange.Kind.REGISTERED)
    begun = ConfigChange.objects.filter(breaker=name, kind__in=begins).order_by("-revision").values("revision")[:1]
    kinds = (*begins, ConfigChange.Kind.EDITED)
    return changes(name).filter(kind__in=kinds, revision__gte=Subquery(begun))


def _given(wanted: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in wanted.items() if value is not None}


def latest_states() -> dict[str, list[LatestState]]:
    """Breaker to the newest transition of each of its instances that are not gone: those of gone ones are written down.

    Looks at the newest 100 transitions of each instance, by an index: what is older stands in its row long since. One
    query an instance.
    """
    found: dict[str, list[LatestState]] = {}
    for instance in Instance.objects.filter(gone_at=None).values_list("id", flat=True):
        for name, latest in _latest_of(instance).items():
            found.setdefault(name, []).append(latest)
    return found


def _latest_of(instance: UUID) -> dict[str, LatestState]:
    rows = StateChange.objects.filter(instance=instance).order_by("-sequence")
    found: dict[str, LatestState] = {}
    columns = rows.values_list("breaker", "to_state", "from_state", "at", "epoch")
    for name, to_state, from_state, at, epoch in columns[:LATEST_ROWS]:
        if name not in found:
            states = CircuitBreakerState(to_state), CircuitBreakerState(from_state)
            found[name] = LatestState(instance, *states, at, epoch)
    return found


def last_causes(to_state: CircuitBreakerState | None = None) -> dict[str, LastCause]:
    """Breaker to the cause of its newest transition, or of the newest to ``to_state``; of those that have a config.

    One query, that finds each breaker's place in the history by an index.
    """
    last = history(to_state=to_state).filter(breaker=OuterRef("name")).values("pk")[:1]
    keys = BreakerConfig.objects.order_by().values(last=Subquery(last))
    rows = StateChange.objects.filter(pk__in=keys)
    return {row.breaker: LastCause(row.cause, row.reason, row.at) for row in rows}


def newest(within: QuerySet[StateChange], *groups: str) -> QuerySet[StateChange]:
    """The newest transition of each group; the sequence decides between two of one instant."""
    order = [F("at").desc(), F("sequence").desc(), F("id").desc()]
    rank = Window(RowNumber(), partition_by=[F(group) for group in groups], order_by=order)
    return within.annotate(rank=rank).filter(rank=1)


def transition_totals() -> dict[tuple[str, str, str, str], int]:
    """(breaker, from, to, reason) to the number of transitions ever recorded, the pruned ones too. One query."""
    rows = TransitionTotal.objects.values_list("breaker", "from_state", "to_state", "reason", "total")
    return {(name, before, after, reason): total for name, before, after, reason, total in rows}


def recorded() -> tuple[dict[tuple[str, str, str, str], int], dict[UUID, int]]:
    """:func:`transition_totals`, and the highest sequence (0: none) of each instance that is linked by the database, of
    one moment: whoever reads on from these sequences counts nothing twice and leaves nothing out.

    Where transitions come all the time it waits for its turn, as a writer would.
    """
    for _ in range(_SNAPSHOT_ATTEMPTS):
        before, totals = _direct_sequences(), transition_totals()
        if _direct_sequences() == before:
            return totals, before
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return transition_totals(), _direct_sequences()


def _direct_sequences() -> dict[UUID, int]:
    present = list(direct_heads())
    return {**dict.fromkeys(present, 0), **recorded_sequences(present)}


def fleet_since(
    name: str, states: Mapping[UUID, CircuitBreakerState] | None = None, most: int = SINCE_ROWS
) -> datetime | None:
    """When the worst state of the instances last became what it is; ``None`` when the history does not say.

    ``states``: what each live instance is in now; others are then left out. Without it, every instance in the history
    counts, in the state of its newest transition. Walks back over at most ``most`` transitions, undoing each.
    """
    if states is None:
        now = {row.instance: row.to_state for row in newest(history(name), "instance")}
    else:
        now = {instance: state.value for instance, state in states.items()}
    worst = _worst(now)
    for instance, from_state, at in _walk_back(name, most):
        if instance in now:
            now[instance] = from_state
            if _worst(now) != worst:
                return at
    return None


def _walk_back(name: str, most: int) -> Iterator[tuple[UUID, str, datetime]]:
    """Mostly the newest few say it; a starting server asks for each breaker."""
    rows = history(name).values_list("instance", "from_state", "at")
    yield from rows[:SINCE_FIRST]
    yield from rows[SINCE_FIRST:SINCE_ROWS]
    if most > SINCE_ROWS:
        yield from rows[SINCE_ROWS:most]


def _worst(states: Mapping[UUID, str]) -> int:
    return max((_BADNESS[state] for state in states.values()), default=0)
