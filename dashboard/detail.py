"""One breaker, whole: facts against limits, instances, the config in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, CircuitBreakerConfig, Field, HttpConfig
from breakers.fleet import Row
from breakers.models import BreakerRecord

from . import words
from .verdict import WORDS, Kind

LABELS = {
    "failure_threshold": "Failures in a row that open",
    "recovery_timeout": "Wait in open",
    "success_threshold": "Probes in a row that close",
    "timeout": "Limit of a call",
    "window_type": "Window of",
    "window_size": "Window size",
    "minimum_calls": "Rates need at least",
    "failure_rate_threshold": "Failure rate limit",
    "slow_call_duration": "A call is slow from",
    "slow_call_rate_threshold": "Slow call limit",
    "half_open_max_calls": "Probes at once",
    "recovery_backoff": "Wait grows by",
    "max_recovery_timeout": "Longest wait",
    "recovery_jitter": "Jitter of the wait",
    "failure_statuses": "Failure statuses",
    "max_retries": "Retries",
    "retry_statuses": "Retried statuses",
    "retry_backoff": "First wait to retry",
    "max_retry_wait": "Longest wait to retry",
    "retry_non_idempotent": "Retry POST and PATCH",
}
_RATES = {"failure_rate_threshold", "slow_call_rate_threshold", "recovery_jitter"}
_OFF = {"failure_threshold": 0}


@dataclass(frozen=True, slots=True)
class Setting:
    label: str
    value: str
    default: bool


def settings_of(record: BreakerRecord) -> tuple[list[Setting], list[Setting]]:
    """The config's settings, and the HTTP ones; each says whether it is the default of the table."""
    config, http = record.config.as_dict(), record.http.as_dict()
    return _settings(BREAKER_FIELDS, config, TABLE_DEFAULTS), _settings(HTTP_FIELDS, http, HttpConfig().as_dict())


def _settings(fields: Mapping[str, Field], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Setting]:
    return [
        Setting(LABELS[name], _shown(name, field, values[name]), values[name] == defaults[name])
        for name, field in fields.items()
        if name in LABELS
    ]


def _shown(name: str, field: Field, value: Any) -> str:  # any value of a config
    if value is None or _OFF.get(name) == value:
        return "off"
    if name in _RATES:
        return words.limit(value)
    if field.kind == "duration":
        return f"{value:g} s"
    if field.kind == "flag":
        return "yes" if value else "no"
    return {"count": "calls", "time": "seconds"}.get(value, f"{value:,}" if isinstance(value, int) else f"{value}")


def versions(rows: Sequence[Mapping[str, Any]], version: int) -> tuple[str, str]:
    """``("19 on v17", "1 on v16")``: who runs the config in force, and who does not."""
    counts = Counter(row["config_version"] for row in rows if not row["silent"])
    others = [f"{words.plural(n, 'instance')} on {_version(v)}" for v, n in counts.items() if v != version]
    return f"{counts[version]:,} on v{version}", ", ".join(others)


def _version(version: int | None) -> str:
    return "the config of its code" if version is None else f"v{version}"


@dataclass(frozen=True, slots=True)
class InstanceCells:
    """One instance of the breaker, as its table shows it."""

    id: str
    service: str
    host: str
    kind: Kind
    word: str
    rate: str
    calls: str
    rejected: str
    config: str
    problem: str
    since: str
    age: str
    last_seen: str
    heard: str


def instance_cells(row: Mapping[str, Any], now: datetime) -> InstanceCells:
    kind = Kind.NO_DATA if row["silent"] else Kind(row["override"] or row["state"])
    word = f"Silent, last {WORDS[Kind(row['state'])].lower()}" if row["silent"] else WORDS[kind]
    return InstanceCells(
        id=row["instance"],
        service=row["service"],
        host=f"{row['host']}:{row['pid']}",
        kind=kind,
        word=word,
        rate=words.NOTHING if row["failure_rate"] is None else words.percent(row["failure_rate"]),
        calls=f"{row['calls']:,}",
        rejected=f"{row['rejected']:,}",
        config="code" if row["config_version"] is None else f"v{row['config_version']}",
        problem=row["refused"] or ("" if row["applied"] or row["silent"] else "not applied yet"),
        since=row["since"] or "",
        age=words.duration(words.elapsed(row["since"], now)),
        last_seen=row["last_seen"] or "",
        heard=words.ago(words.elapsed(row["last_seen"], now)),
    )


def next_probe(row: Row, now: datetime) -> str:
    """When an open breaker lets the next call through."""
    at = words.moment(row["retry_at"])
    if row["ready_to_probe"]:
        return "with the next call"
    return words.NOTHING if at is None else words.duration(max(0.0, (at - now).total_seconds()))


def slow_calls(window: Mapping[str, Any], config: CircuitBreakerConfig) -> dict[str, Any] | None:
    """The share of slow calls of the live windows against its limit; ``None`` where that rule is off."""
    limit, rate = config.slow_call_rate_threshold, window["slow_call_rate"]
    if limit is None:
        return None
    return {
        "rate": "few calls" if rate is None else words.percent(rate),
        "limit": f"limit {words.limit(limit)}, slow from {config.slow_call_duration:g} s",
        "over": rate is not None and rate >= limit,
    }


def latency(seconds: float | None) -> str:
    """``85 ms``, ``1.2 s``."""
    if seconds is None:
        return words.NOTHING
    return f"{words.tenths(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
