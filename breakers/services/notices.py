"""Alerts as they come and go for the rules that want to know, and the messages that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from breakers.models import Delivery, FiringAlert, Notice, NotificationRule

from .deliveries import DIGEST, deliveries_queue
from .texts import storable

MOST_SINGLE: Final = 10
"""Messages of one rule at one moment; more than that are one."""
_AT_ONCE: Final = 200


@transaction.atomic
def notices_advance(*, alerts: Sequence[FiringAlert], now: datetime) -> list[Delivery]:
    """Compares what fires with what fired, for each enabled rule; the messages that follow, already in the outbox.

    An alert is told once it has fired for ``after`` seconds, and over once it was absent for ``quiet`` seconds:
    however often it comes and goes in between, nobody is told twice. Two queries where nothing changed.
    """
    rules = {rule.pk: rule for rule in NotificationRule.objects.select_for_update().filter(enabled=True)}
    changes = _Changes(rules, alerts, now)
    for notice in Notice.objects.all():
        changes.go_on(notice)
    changes.begin_new()
    return changes.write()


class _Changes:
    """What one look at the alerts changes, written in a few queries however many they are."""

    def __init__(self, rules: Mapping[int, NotificationRule], alerts: Sequence[FiringAlert], now: datetime) -> None:
        self._rules, self._now = rules, now
        self._alerts = {(alert.name, alert.kind): _storable(alert) for alert in alerts}
        self._firing = {(r.pk, *key): a for r in rules.values() for key, a in self._alerts.items() if r.matches(a)}
        self._new: list[Notice] = []
        self._changed: list[Notice] = []
        self._over: list[int] = []
        self._told: dict[tuple[int, str], list[dict[str, Any]]] = {}

    def go_on(self, notice: Notice) -> None:
        rule = self._rules.get(notice.rule_id)
        alert = self._firing.pop((notice.rule_id, notice.breaker, notice.kind), None)
        if rule is None or (alert is None and (notice.breaker, notice.kind) in self._alerts):
            self._over.append(notice.pk)  # the rule wants it no more: nobody waits for its end, which this is not
        elif alert is None:
            self._is_gone(notice, rule)
        elif self._fires(notice, rule, alert):
            self._changed.append(notice)

    def begin_new(self) -> None:
        for (rule, breaker, kind), alert in self._firing.items():
            first_seen = min(alert.since or self._now, self._now)
            notice = Notice(rule_id=rule, breaker=breaker, kind=kind, facts=alert.facts(), first_seen_at=first_seen)
            self._fires(notice, self._rules[rule], alert)
            self._new.append(notice)

    def _fires(self, notice: Notice, rule: NotificationRule, alert: FiringAlert) -> bool:
        """Whether that changes the notice."""
        returned = notice.cleared_at is not None
        if returned:
            notice.cleared_at, notice.returns = None, notice.returns + 1
        if notice.told_at is not None or self._now - notice.first_seen_at < timedelta(seconds=rule.after):
            return returned
        notice.told_at, notice.facts = self._now, alert.facts()
        self._tell(rule, Delivery.Event.FIRING, notice.facts)
        return True

    def _is_gone(self, notice: Notice, rule: NotificationRule) -> None:
        if notice.told_at is None:
            self._over.append(notice.pk)
            return
        if notice.cleared_at is None:
            notice.cleared_at = self._now
            self._changed.append(notice)
        if self._now - notice.cleared_at < timedelta(seconds=rule.quiet):
            return
        self._over.append(notice.pk)
        if rule.tell_resolved:
            over = {"returns": notice.returns, "over_since": notice.cleared_at.isoformat()}
            self._tell(rule, Delivery.Event.RESOLVED, {**notice.facts, **over, "still": self._still(notice.breaker)})

    def _still(self, breaker: str) -> list[str]:
        """An end of one kind is not the end of all: an open breaker past its wait is no error, and yet not closed."""
        return [alert.message for (name, _), alert in self._alerts.items() if name == breaker]

    def _tell(self, rule: NotificationRule, event: str, facts: dict[str, Any]) -> None:
        self._told.setdefault((rule.pk, event), []).append(facts)

    def write(self) -> list[Delivery]:
        Notice.objects.bulk_create(self._new)
        Notice.objects.bulk_update(self._changed, ["told_at", "cleared_at", "returns", "facts"], batch_size=_AT_ONCE)
        for start in range(0, len(self._over), _AT_ONCE):
            Notice.objects.filter(pk__in=self._over[start : start + _AT_ONCE]).delete()
        told = [(key, facts) for key, each in self._told.items() for facts in _summed_up(each)]
        return deliveries_queue([(self._rules[rule], event, facts) for (rule, event), facts in told], self._now)


def _storable(alert: FiringAlert) -> FiringAlert:
    """With words of services that every database can hold."""
    cause = None if alert.cause is None else storable(alert.cause)
    return replace(alert, message=storable(alert.message), cause=cause)


def _summed_up(facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One message about all where they are many: nobody reads a thousand, and no chat takes them."""
    if len(facts) <= MOST_SINGLE:
        return list(facts)
    kinds = Counter(fact["kind"] for fact in facts)
    counted = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.most_common())
    return [
        {
            "level": min(fact["level"] for fact in facts),  # "error" is before "warning"
            "name": "",
            "group": "",
            "kind": DIGEST,
            "message": f"{len(facts)} alerts: {counted}",
            "cause": None,
            "since": min((fact["since"] for fact in facts if fact["since"]), default=None),
            "link": "/dashboard/alerts",
            "alerts": list(facts),
        }
    ]
