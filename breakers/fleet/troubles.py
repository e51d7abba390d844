"""What is wrong beside the state of a breaker: who is silent, who is behind, and what flaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .observed import InstanceFacts
from .view import OPEN, BreakerView

PATIENCE = timedelta(seconds=10)
"""An instance that is linked confirms a change within a second or two; who needs longer is behind."""
DROPS_SPAN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Troubles:
    """Of one breaker; moments are the earliest of their kind, ``None`` where there is none."""

    silent: int
    silent_since: datetime | None
    behind: int
    behind_since: datetime | None
    refused: tuple[str, ...]
    """Why instances could not take the config, each reason once."""
    openings: int
    """From CLOSED within the last 10 minutes."""
    flapping_since: datetime | None
    opening_cause: str | None
    """Of the latest one."""
    ready_since: datetime | None
    """When the last wait of the open instances was over, or will be."""


@dataclass(frozen=True, slots=True)
class Drops:
    """``count`` transitions that instances of one service could not report, as told within the last 10 minutes."""

    service: str
    instances: int
    count: int
    since: datetime


def derive_drops(instances: Iterable[InstanceFacts], now: datetime) -> list[Drops]:
    """By service. O(instances)."""
    found: dict[str, list[InstanceFacts]] = {}
    for facts in instances:
        if facts.dropped_at is not None and now - facts.dropped_at <= DROPS_SPAN:
            found.setdefault(facts.identity.service, []).append(facts)
    return [_drops(service, found[service]) for service in sorted(found)]


def _drops(service: str, dropping: list[InstanceFacts]) -> Drops:
    since = min(facts.dropped_at for facts in dropping if facts.dropped_at is not None)
    return Drops(service, len(dropping), sum(facts.dropped for facts in dropping), since)


def derive_troubles(view: BreakerView, now: datetime) -> Troubles:
    """O(instances of the breaker)."""
    members = [facts for facts, _ in view.members.values()]
    silent = [facts.last_seen for facts in members if not facts.live]
    late = [since for facts in members if (since := _behind_since(view, facts, now)) is not None]
    return Troubles(
        silent=len(silent),
        silent_since=min(silent, default=None),
        behind=len(late),
        behind_since=min(late, default=None),
        refused=_refusals(view, members),
        openings=len(view.openings.recent(now)),
        flapping_since=view.openings.flapping_since(now),
        opening_cause=view.causes[OPEN.value][1] if OPEN.value in view.causes else None,
        ready_since=max((o.retry_at for f, o in view.members.values() if f.live and o.retry_at), default=None),
    )


def _behind_since(view: BreakerView, facts: InstanceFacts, now: datetime) -> datetime | None:
    """Since when its config is not what is wanted, told once it had time to take it. Who has no link is silent soon."""
    record = view.record
    if record is None or not (facts.live and facts.reachable) or facts.has_applied(view.name, record.revision):
        return None
    told = max(view.wanted_at or facts.heard, facts.reported_at or facts.heard)
    if now - told <= PATIENCE and not facts.refuses(view.name, record.revision):
        return None
    return max(record.updated_at or told, facts.first_seen)


def _refusals(view: BreakerView, members: list[InstanceFacts]) -> tuple[str, ...]:
    record = view.record
    if record is None:
        return ()
    refusing = [facts for facts in members if facts.live and facts.refuses(view.name, record.revision)]
    return tuple(dict.fromkeys(facts.refusals[view.name].error for facts in refusing))
