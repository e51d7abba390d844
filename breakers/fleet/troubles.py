"""What is wrong beside the state of a breaker: who is silent, who is behind, and what flaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .observed import InstanceFacts
from .view import BreakerView

PATIENCE = timedelta(seconds=10)
"""An instance that is linked confirms a change within a second or two; who needs longer is behind."""
FLAPPING_SPAN = timedelta(minutes=10)
FLAPPING_COUNT = 3


@dataclass(frozen=True, slots=True)
class Troubles:
    """Of one breaker; moments are the earliest of their kind, ``None`` where there is none."""

    silent: int
    silent_since: datetime | None
    behind: int
    behind_since: datetime | None
    refused: tuple[str, ...]
    """Why instances could not take the config, each reason once."""
    openings: tuple[datetime, ...]
    """Of the last 10 minutes, from CLOSED; none unless they are so many that the breaker flaps."""


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
        if facts.dropped_at is not None and now - facts.dropped_at <= FLAPPING_SPAN:
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
    openings = tuple(at for at in view.openings if now - at <= FLAPPING_SPAN)
    return Troubles(
        silent=len(silent),
        silent_since=min(silent, default=None),
        behind=len(late),
        behind_since=min(late, default=None),
        refused=_refusals(view, members),
        openings=openings if len(openings) >= FLAPPING_COUNT else (),
    )


def _behind_since(view: BreakerView, facts: InstanceFacts, now: datetime) -> datetime | None:
    record = view.record
    if record is None or not facts.live or facts.has_applied(view.name, record.revision):
        return None
    since = max(view.wanted_at or facts.heard, facts.reported_at or facts.heard)
    return since if now - since > PATIENCE or facts.refuses(view.name, record.revision) else None


def _refusals(view: BreakerView, members: list[InstanceFacts]) -> tuple[str, ...]:
    record = view.record
    if record is None:
        return ()
    refusing = [facts for facts in members if facts.live and facts.refuses(view.name, record.revision)]
    return tuple(dict.fromkeys(facts.refusals[view.name].error for facts in refusing))
