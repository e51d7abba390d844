"""What a breaker has counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Cumulative since the breaker was made; nothing sets them back."""

    successes: int
    failures: int
    rejected: int
    ignored: int
    late: int
    would_reject: int
    timeouts: int
    slow: int
    state_changes: int
    probes: int
    """Settled probes: what was requested in HALF_OPEN. Rejections were requested in OPEN, the rest in CLOSED."""

    @property
    def requests(self) -> int:
        return self.successes + self.failures + self.rejected + self.ignored + self.late
