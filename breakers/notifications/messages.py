"""What a message says, in JSON for programs and in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from breakers.models import Delivery

LONGEST_TITLE: Final = 200
MOST_LINES: Final = 20
"""Of a message about many alerts, for people; programs get them all."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way; where it goes is a secret and stays out of every text."""

    id: UUID
    rule: int
    channel: str
    address: str = field(repr=False)
    signing_secret: str = field(repr=False)
    event: str
    message: Mapping[str, Any]

    @classmethod
    def of(cls, delivery: Delivery) -> Outgoing:
        rule = delivery.rule
        message = {**_linked(delivery.message), "id": str(delivery.pk)}
        if "alerts" in message:
            message["alerts"] = [_linked(alert) for alert in message["alerts"]]
        environment = getattr(settings, "CIRCUIT_BREAKER_ENVIRONMENT", "")
        if environment:
            message["environment"] = environment
        return cls(delivery.pk, rule.pk, rule.channel, rule.address, rule.signing_secret, delivery.event, message)

    @property
    def title(self) -> str:
        """``[prod] bank-api: Open on 3 of 4 instances``, on one line whatever services and people wrote."""
        where = f"[{self.message['environment']}] " if self.message.get("environment") else ""
        over = "Over: " if self.event == Delivery.Event.RESOLVED else ""
        return _line(f"{where}{over}{_named(self.message)}")[:LONGEST_TITLE]

    @property
    def body(self) -> str:
        """The facts, a line each; only those that are known."""
        lines = [*self._each(), *self._facts()]
        return "\n".join(lines) or self.title

    def _each(self) -> Iterator[str]:
        alerts: Sequence[Mapping[str, Any]] = self.message.get("alerts") or ()
        for alert in alerts[:MOST_LINES]:
            yield _line(_named(alert))
        if len(alerts) > MOST_LINES:
            yield f"and {len(alerts) - MOST_LINES} more"

    def _facts(self) -> Iterator[str]:
        returns, still = self.message.get("returns"), self.message.get("still")
        facts = [
            ("Cause", self.message.get("cause")),
            ("Group", self.message.get("group")),
            ("Since", self.message.get("since")),
            ("Over since", self.message.get("over_since")),
            ("Came again", f"{returns} times before it was over" if returns else None),
            ("Still", "; ".join(still) if still else None),
            ("See", self.message.get("link")),
        ]
        return (_line(f"{word}: {fact}") for word, fact in facts if fact)


def _named(alert: Mapping[str, Any]) -> str:
    name = f"{alert['name']}: " if alert.get("name") else ""
    return f"{name}{alert.get('message', '')}"


def _line(text: str) -> str:
    """Nobody who chooses a reason or an error writes lines, or headers of a mail, of his own."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _linked(alert: Mapping[str, Any]) -> dict[str, Any]:
    return {**alert, "link": absolute(alert.get("link") or "")}


def absolute(link: str) -> str:
    """``link`` as seen from outside, where ``CIRCUIT_BREAKER_PUBLIC_URL`` says how that is."""
    base = getattr(settings, "CIRCUIT_BREAKER_PUBLIC_URL", "").rstrip("/")
    return f"{base}{link}" if link.startswith("/") else link
