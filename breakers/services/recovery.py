"""What events from outside ask for: each once, however often it comes."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q

from breakers.models import AppliedEvent, BreakerConfig

from .actors import Actor
from .operations import breakers_reset_all


@transaction.atomic
def recovery_apply(*, event_id: str, service: str, source: str) -> list[str] | None:
    """Resets the breakers that are named ``service`` or stand in the group of that name, and says which.

    ``None`` where this event was applied before, by whichever server. The audit has the event for a reason.
    """
    if not AppliedEvent.objects.get_or_create(event_id=event_id)[1]:
        return None
    meant = BreakerConfig.objects.filter(Q(name=service) | Q(group=service))
    names = list(meant.values_list("name", flat=True))
    reason = f"{service} has recovered, says event {event_id}"
    return [reset.name for reset in breakers_reset_all(names=names, reason=reason, by=Actor("event", source))]


def applied_prune(*, before: datetime) -> int:
    """Forgets the events that were applied before ``before``: one that came again now would be applied again."""
    return AppliedEvent.objects.filter(applied_at__lt=before).delete()[0]
