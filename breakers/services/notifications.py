"""Rules of who is told, alerts as they come and go for them, and the messages that follow, in an outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from breakers.core.errors import ConfigError
from breakers.models import Delivery, FiringAlert, Lease, Notice, NotificationRule
from breakers.models.notifications import LEVELS
from breakers.problems import NotFound

from .actors import Actor
from .texts import storable

MOST_ATTEMPTS: Final = 8
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=5)
LONGEST_PROBLEM: Final = 300
Key = tuple[int, str, str]


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
    return _queue(rule, Delivery.Event.TEST, {"message": text, "level": "warning", "name": ""}, now)


# --- alerts come and go -----------------------------------------------------------------------------------------


@transaction.atomic
def notices_advance(*, alerts: Sequence[FiringAlert], now: datetime) -> list[Delivery]:
    """Compares what fires with what fired, for each enabled rule; the messages that follow, already in the outbox.

    An alert is told once it has fired for ``after`` seconds, and over once it was absent for ``quiet`` seconds:
    however often it comes and goes in between, nobody is told twice. Two queries where nothing changed.
    """
    rules = {rule.pk: rule for rule in NotificationRule.objects.filter(enabled=True)}
    firing = {(r.pk, a.name, a.kind): a for r in rules.values() for a in alerts if r.matches(a)}
    notices = {(n.rule_id, n.breaker, n.kind): n for n in Notice.objects.all()}
    for key in firing.keys() - notices.keys():
        notices[key] = _noticed(key, firing[key], now)
    sent = [_advance(notice, rules.get(key[0]), firing.get(key), now) for key, notice in notices.items()]
    return [delivery for delivery in sent if delivery is not None]


def _noticed(key: Key, alert: FiringAlert, now: datetime) -> Notice:
    rule, breaker, kind = key
    first_seen = min(alert.since or now, now)
    return Notice.objects.create(
        rule_id=rule, breaker=breaker, kind=kind, facts=alert.facts(), first_seen_at=first_seen
    )


def _advance(
    notice: Notice, rule: NotificationRule | None, alert: FiringAlert | None, now: datetime
) -> Delivery | None:
    if rule is None:  # switched off: nobody waits for its end
        notice.delete()
        return None
    return _fires(notice, rule, alert, now) if alert is not None else _is_gone(notice, rule, now)


def _fires(notice: Notice, rule: NotificationRule, alert: FiringAlert, now: datetime) -> Delivery | None:
    if notice.cleared_at is not None:
        notice.cleared_at, notice.returns = None, notice.returns + 1
        notice.save(update_fields=["cleared_at", "returns"])
    if notice.told_at is not None or now - notice.first_seen_at < timedelta(seconds=rule.after):
        return None
    notice.told_at, notice.facts = now, alert.facts()
    notice.save(update_fields=["told_at", "facts"])
    return _queue(rule, Delivery.Event.FIRING, notice.facts, now)


def _is_gone(notice: Notice, rule: NotificationRule, now: datetime) -> Delivery | None:
    if notice.told_at is None:
        notice.delete()
        return None
    if notice.cleared_at is None:
        notice.cleared_at = now
        notice.save(update_fields=["cleared_at"])
    if now - notice.cleared_at < timedelta(seconds=rule.quiet):
        return None
    facts = {**notice.facts, "returns": notice.returns, "over_since": notice.cleared_at.isoformat()}
    notice.delete()
    return _queue(rule, Delivery.Event.RESOLVED, facts, now) if rule.tell_resolved else None


def _queue(rule: NotificationRule, event: str, facts: Mapping[str, Any], now: datetime) -> Delivery:
    return Delivery.objects.create(
        rule=rule,
        event=event,
        breaker=facts.get("name", ""),
        kind=facts.get("kind", ""),
        message={**facts, "event": event, "rule": rule.name, "at": now.isoformat()},
        created_at=now,
        due_at=now,
    )


# --- messages ---------------------------------------------------------------------------------------------------


def deliveries_due(*, now: datetime, most: int) -> list[Delivery]:
    """The next messages to send, each with its rule, oldest first. One query by an index."""
    due = Delivery.objects.filter(status=Delivery.Status.PENDING, due_at__lte=now)
    return list(due.select_related("rule").order_by("due_at")[:most])


@transaction.atomic
def delivery_settle(*, delivery: UUID, problem: str | None, now: datetime) -> Delivery | None:
    """Records how an attempt ended; a failed one is due again, later each time, until it is given up.

    ``None`` where the message is gone, with its rule.
    """
    row = Delivery.objects.select_for_update().filter(pk=delivery).first()
    if row is None:
        return None
    row.attempts += 1
    row.problem = storable(problem or "", LONGEST_PROBLEM)
    if problem is None:
        row.status, row.delivered_at = Delivery.Status.DELIVERED, now
    elif row.attempts >= MOST_ATTEMPTS:
        row.status = Delivery.Status.GIVEN_UP
    else:
        row.due_at = now + min(FIRST_WAIT * 2 ** (row.attempts - 1), LONGEST_WAIT)
    row.save()
    return row


def deliveries_prune(*, before: datetime) -> int:
    """Deletes what was delivered or given up before ``before``."""
    settled = Delivery.objects.exclude(status=Delivery.Status.PENDING)
    return settled.filter(created_at__lt=before).delete()[0]


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
