"""Who did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .texts import storable


@dataclass(frozen=True, slots=True)
class Actor:
    """As text it is what the audit keeps: ``user:alice``, ``key:deploy``, ``service:trading``,
    ``event:health_monitor``, ``system``."""

    kind: Literal["user", "key", "service", "event", "system"]
    name: str = ""

    def __str__(self) -> str:
        return storable(f"{self.kind}:{self.name}" if self.name else self.kind, 200)
