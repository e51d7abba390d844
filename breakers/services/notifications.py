"""Rules of who is told, and the lease of who tells."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from breakers.core.errors import ConfigError
from breakers.models import Delivery, Lease, NotificationRule
from breakers.models.notifications import LEVELS
from breakers.problems import NotFound

from .actors import Actor
from .deliveries import deliveries_queue


@transaction.atomic
def notification_rule_save(*, rule: NotificationRule, by: Actor, now: datetime) -> NotificationRule:
    """Writes a rule, new or edited. Raises ``ConfigError`` for levels or groups that cannot be."""
    problems = {}
    if not rule.levels or set(rule.levels) - set(LEVELS):
        problems["levels"] = f"must be one or more of {', '.join(LEVELS)}"
    if not isinstance(rule.groups, list) or not all(isinstance(group, str) for group in rule.groups):
        problems["groups"] = "must be a list of names"
    if problems:
        raise ConfigError(problems)
    rule.changed_by, rule.changed_at = str(by), now
    rule.save()
    return rule


@transaction.atomic
def notification_rule_delete(*, name: str) -> None:
    """With what it has to tell and has told. Raises ``NotFound``."""
    if not NotificationRule.objects.filter(name=name).delete()[0]:
        raise NotFound(name)


def notification_test(*, rule: NotificationRule, by: Actor, now: datetime) -> Delivery:
    """A message that says that it is a test, delivered and recorded like any other."""
    text = f"A test of the rule {rule.name}, sent by {by}"
    (delivery,) = deliveries_queue(
        [(rule, Delivery.Event.TEST, {"message": text, "level": "warning", "name": ""})], now
    )
    return delivery


# --- leases -----------------------------------------------------------------------------------------------------


@transaction.atomic
def lease_take(*, name: str, holder: str, seconds: float, now: datetime) -> bool:
    """Whether ``holder`` has ``name`` for itself, for ``seconds`` from now at most; only one can."""
    until = now + timedelta(seconds=seconds)
    free = Q(holder=holder) | Q(until__lte=now)
    if Lease.objects.filter(free, name=name).update(holder=holder, until=until):
        return True
    return Lease.objects.get_or_create(name=name, defaults={"holder": holder, "until": until})[1]


def lease_return(*, name: str, holder: str) -> None:
    """Whoever comes next need not wait for its end."""
    Lease.objects.filter(name=name, holder=holder).delete()
