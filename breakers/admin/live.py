"""What the fleet says of a breaker, for people: state with word, shape and colour, never colour alone."""

from __future__ import annotations

from datetime import datetime

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from breakers.core.states import CircuitBreakerState, Override
from breakers.fleet import Row, fleet
from breakers.models import BreakerConfig

WORDS = {
    CircuitBreakerState.CLOSED.value: "Closed",
    CircuitBreakerState.OPEN.value: "Open",
    CircuitBreakerState.HALF_OPEN.value: "Half-open",
    Override.FORCED_OPEN.value: "Forced open",
    Override.FORCED_CLOSED.value: "Forced closed",
}


def badge(word: str, share: str = "") -> SafeString:
    text = f"{WORDS.get(word, word)} {share}".strip()
    return format_html('<span class="breaker-badge" data-state="{}">{}</span>', word, text)


def row_of(breaker: BreakerConfig) -> Row | None:
    """The fleet's row; ``None`` before the fleet has heard of the breaker."""
    return fleet.row(breaker.name)


@admin.display(description="state")
def state(breaker: BreakerConfig) -> SafeString:
    row = row_of(breaker)
    if row is None:
        return badge("unknown")
    counts = row["instances"]
    alike = {"open": counts["open"], "half_open": counts["half_open"], "closed": counts["closed"]}[row["state"]]
    live = counts["total"] - counts["silent"]
    return badge(row["state"], f"{alike}/{live}" if live and row["state"] != "closed" else "")


@admin.display(description="instances")
def instances(breaker: BreakerConfig) -> str:
    row = row_of(breaker)
    if row is None or not row["instances"]["total"]:
        return "none linked"
    counts = row["instances"]
    parts = [f"{counts[word]} {words}" for word, words in _COUNTED if counts[word]]  # type: ignore[literal-required]  # its own keys
    return ", ".join(parts)


_COUNTED = (("open", "open"), ("half_open", "half-open"), ("closed", "closed"), ("silent", "silent"))


@admin.display(description="in this state since")
def since(breaker: BreakerConfig) -> str:
    row = row_of(breaker)
    if row is None or row["since"] is None:
        return "not known"
    return f"{datetime.fromisoformat(row['since']):%Y-%m-%d %H:%M:%S} UTC"


@admin.display(description="cause")
def cause(breaker: BreakerConfig) -> str:
    row = row_of(breaker)
    return (row["cause"] if row else None) or "none recorded"


@admin.display(description="failure rate")
def failure_rate(breaker: BreakerConfig) -> str:
    row = row_of(breaker)
    if row is None or row["failure_rate"] is None:
        return "too few calls"
    return f"{row['failure_rate']:.1%}"


@admin.display(description="config applied")
def applied(breaker: BreakerConfig) -> str:
    row = row_of(breaker)
    if row is None or not row["applied"]["of"]:
        return "no live instance"
    return f"on {row['applied']['on']} of {row['applied']['of']} live instances"


@admin.display(description="limits")
def limits(breaker: BreakerConfig) -> str:
    """What opens it, in words."""
    found = []
    if breaker.failure_threshold:
        found.append(f"{breaker.failure_threshold} in a row")
    if breaker.failure_rate_threshold:
        found.append(f"{breaker.failure_rate_threshold:.0%} failed")
    if breaker.slow_call_rate_threshold:
        found.append(f"{breaker.slow_call_rate_threshold:.0%} slow")
    return ", ".join(found) or "never opens"


@admin.display(description="override")
def override(breaker: BreakerConfig) -> SafeString | str:
    forced = breaker.override_at(timezone.now())
    if forced is None:
        return "none"
    until = breaker.override_expires_at
    return format_html("{} {}", badge(forced.value), f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until released")


@admin.display(description="config of")
def origin(breaker: BreakerConfig) -> str:
    return "the database" if breaker.managed else "the services' code, until the first edit here"
