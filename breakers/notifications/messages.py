"""What a message says, in JSON for programs and in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings

from breakers.models import Delivery


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way; where it goes is a secret and stays out of every text."""

    id: UUID
    channel: str
    address: str = field(repr=False)
    signing_secret: str = field(repr=False)
    event: str
    message: Mapping[str, Any]

    @classmethod
    def of(cls, delivery: Delivery) -> Outgoing:
        rule = delivery.rule
        message = {**delivery.message, "id": str(delivery.pk), "link": absolute(delivery.message.get("link") or "")}
        environment = getattr(settings, "CIRCUIT_BREAKER_ENVIRONMENT", "")
        if environment:
            message["environment"] = environment
        return cls(delivery.pk, rule.channel, rule.address, rule.signing_secret, delivery.event, message)

    @property
    def title(self) -> str:
        """``[prod] bank-api: Open on 3 of 4 instances``"""
        where = f"[{self.message['environment']}] " if self.message.get("environment") else ""
        over = "Over: " if self.event == Delivery.Event.RESOLVED else ""
        name = f"{self.message['name']}: " if self.message.get("name") else ""
        return f"{where}{over}{name}{self.message.get('message', '')}"

    @property
    def body(self) -> str:
        """The facts, a line each; only those that are known."""
        returns = self.message.get("returns")
        lines = [
            ("Cause", self.message.get("cause")),
            ("Group", self.message.get("group")),
            ("Since", self.message.get("since")),
            ("Over since", self.message.get("over_since")),
            ("Came again", f"{returns} times before it was over" if returns else None),
            ("See", self.message.get("link")),
        ]
        return "\n".join(f"{word}: {fact}" for word, fact in lines if fact) or self.title


def absolute(link: str) -> str:
    """``link`` as seen from outside, where ``CIRCUIT_BREAKER_PUBLIC_URL`` says how that is."""
    base = getattr(settings, "CIRCUIT_BREAKER_PUBLIC_URL", "").rstrip("/")
    return f"{base}{link}" if link.startswith("/") else link
