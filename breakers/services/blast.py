"""The question before most of a group stops calling: do you mean it?"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from django.utils import timezone

from breakers import fleet as observed
from breakers.core.states import Override
from breakers.models import BreakerConfig
from breakers.problems import NeedsConfirmation


def check_blast(rows: Iterable[BreakerConfig]) -> None:
    """Raises ``NeedsConfirmation`` where, with ``rows`` forced open, more than half of a group would be open.

    What opened by itself, on a live instance that this process knows of, counts as what is forced open; unless it is
    forced closed, which lets all through. A breaker without a group belongs to the whole fleet. A single breaker is no
    majority, and one that is forced open already changes nothing. One query for each group.
    """
    groups: dict[str, list[BreakerConfig]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    opened = {row["name"] for row in observed.fleet.rows() if row["instances"]["open"]}
    for group, wanted in groups.items():
        _check_group(group, wanted, opened)


def _check_group(group: str, wanted: list[BreakerConfig], opened: AbstractSet[str]) -> None:
    members = list(BreakerConfig.objects.filter(group=group) if group else BreakerConfig.objects.all())
    now = timezone.now()
    overrides = {row.name: row.override_at(now) for row in members}
    added = [row.name for row in wanted if overrides.get(row.name) is not Override.FORCED_OPEN]
    after = {name for name, override in overrides.items() if _rejects(override, opened=name in opened)}.union(added)
    if added and len(after) > 1 and 2 * len(after) > len(members):
        raise NeedsConfirmation(added[0], count=len(after), of=len(members), group=group)


def _rejects(override: Override | None, *, opened: bool) -> bool:
    return opened if override is None else override is Override.FORCED_OPEN
