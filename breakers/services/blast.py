"""The question before most of a group stops calling: do you mean it?"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from breakers.core.states import Override
from breakers.models import BreakerConfig
from breakers.problems import NeedsConfirmation


def check_blast(rows: Iterable[BreakerConfig]) -> None:
    """Raises ``NeedsConfirmation`` where forcing ``rows`` open leaves more than half of a group forced open.

    A breaker without a group belongs to the whole fleet. What is open by itself does not count: it looks for its own
    way back, and each process knows of it what it was told. A single breaker is no majority, and one that is forced
    open already changes nothing. One query for each group.
    """
    groups: dict[str, list[BreakerConfig]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    for group, wanted in groups.items():
        _check_group(group, wanted)


def _check_group(group: str, wanted: list[BreakerConfig]) -> None:
    members = list(BreakerConfig.objects.filter(group=group) if group else BreakerConfig.objects.all())
    now = timezone.now()
    before = {row.name for row in members if row.override_at(now) is Override.FORCED_OPEN}
    added = [row.name for row in wanted if row.name not in before]
    after = before.union(added)
    if added and len(after) > 1 and 2 * len(after) > len(members):
        raise NeedsConfirmation(added[0], count=len(after), of=len(members), group=group)
