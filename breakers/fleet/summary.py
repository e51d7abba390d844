"""The whole fleet in one dict, and one breaker's metrics over all its instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from breakers.models import BreakerRecord

from .ledger import Ledger
from .observed import COUNT_NAMES, NO_COUNTS
from .rates import share
from .rows import histogram_of, retry_at_of, rounded, window_of
from .view import OPEN, SEVERITY, BreakerView, Row


class Summary(TypedDict):
    """Breakers by state (``open + half_open + closed == total``), instances, totals of calls, and the verdict."""

    total: int
    open: int
    half_open: int
    closed: int
    forced_open: int
    forced_closed: int
    ready_to_probe: int
    without_live_instances: int
    instances: int
    silent: int
    requests: int
    successes: int
    failures: int
    rejected: int
    failure_rate: float | None
    worst: str | None
    last_change: str | None
    verdict: str


def named(totals: Sequence[int]) -> dict[str, int]:
    """``NAME_total`` of counts in the order of ``COUNT_NAMES``, as a breaker's own metrics call them."""
    counts = dict(zip(COUNT_NAMES, totals, strict=True))
    requests = sum(counts[name] for name in ("successes", "failures", "ignored", "late", "rejected"))
    return {"requests_total": requests, **{f"{name}_total": count for name, count in counts.items()}}


@dataclass(frozen=True, slots=True)
class Tallied:
    """What a summary is derived from, as it stood at one moment."""

    rows: Sequence[Row]
    counts: tuple[int, ...]
    """In the order of ``COUNT_NAMES``, over the breakers of the rows and all instances that ever were."""
    instances: int
    silent: int

    @classmethod
    def of(cls, ledger: Ledger, rows: Sequence[Row]) -> Tallied:
        """O(breakers + instances)."""
        totals = [ledger.views[row["name"]].totals for row in rows]
        live = [facts.live for facts in ledger.instances.values() if facts.gone_at is None]
        return cls(rows, tuple(map(sum, zip(*totals, strict=True))) or NO_COUNTS, len(live), live.count(False))


def derive_summary(tallied: Tallied) -> Summary:
    rows, totals = tallied.rows, named(tallied.counts)
    successes, failures = totals["successes_total"], totals["failures_total"]
    worst = max(rows, key=_badness, default=None)
    return Summary(
        total=len(rows),
        open=_count(rows, "open"),
        half_open=_count(rows, "half_open"),
        closed=_count(rows, "closed"),
        forced_open=_forced(rows, "forced_open"),
        forced_closed=_forced(rows, "forced_closed"),
        ready_to_probe=sum(row["ready_to_probe"] for row in rows),
        without_live_instances=sum(row["applied"]["of"] == 0 for row in rows),
        instances=tallied.instances,
        silent=tallied.silent,
        requests=totals["requests_total"],
        successes=successes,
        failures=failures,
        rejected=totals["rejected_total"],
        failure_rate=share(failures, successes + failures),
        worst=worst["name"] if worst is not None and worst["state"] != "closed" else None,
        last_change=max((row["since"] for row in rows if row["since"] is not None), default=None),
        verdict=_verdict(rows),
    )


def _count(rows: Sequence[Row], state: str) -> int:
    return sum(row["state"] == state for row in rows)


def _forced(rows: Sequence[Row], override: str) -> int:
    return sum(row["override"] is not None and row["override"]["override"] == override for row in rows)


def _badness(row: Row) -> tuple[int, int, float, int]:
    """Worst first: by state, those that only wait for a call after those that reject, then by share and number."""
    instances = row["instances"]
    live = max(instances["total"] - instances["silent"], 1)
    bad = instances["open"] or instances["half_open"]
    return _SEVERITY[row["state"]], not row["ready_to_probe"], bad / live, bad


_SEVERITY = {state.value: severity for state, severity in SEVERITY.items()}


def _verdict(rows: Sequence[Row]) -> str:
    """One sentence without a time in it, so that it stays true until a row changes."""
    total, opened, probing = len(rows), _count(rows, "open"), _count(rows, "half_open")
    if not total:
        return "No breakers yet"
    if opened:
        return f"{opened} of {_breakers(total)} {_are(opened)} open"
    if probing:
        return f"{probing} of {_breakers(total)} {_are(probing)} half-open"
    if forced := _forced(rows, "forced_open"):
        return f"{forced} of {_breakers(total)} {_are(forced)} forced open"
    return "The breaker is closed" if total == 1 else f"All {total} breakers are closed"


def _breakers(count: int) -> str:
    return "1 breaker" if count == 1 else f"{count} breakers"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def derive_metrics(view: BreakerView, record: BreakerRecord, now: datetime) -> dict[str, Any]:
    """The keys of ``CircuitBreaker.get_metrics()`` over the fleet; percentiles from merged histograms."""
    live = view.live()
    override, retry_at, histogram = view.override(now), retry_at_of(live), histogram_of(view)
    observations = [observation for _, observation in view.members.values()]
    opened = [o.since for _, o in live if o.state is OPEN and o.since is not None]
    return {
        "state": view.state.value,
        "override": override and override["override"],
        **named(view.totals),
        "consecutive_failures": max((o.consecutive_failures for _, o in live), default=0),
        "window": _window(view, record),
        "last_failure_time": _newest([o.last_failure_time for o in observations]),
        "last_success_time": _newest([o.last_success_time for o in observations]),
        "opened_at": min(opened).timestamp() if opened else None,
        "retry_after": None if retry_at is None else max((retry_at - now).total_seconds(), 0.0),
        "latency": {
            "counts": histogram.to_counts(),
            **{key: rounded(histogram.quantile(q)) for key, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        },
        "config": record.config.as_dict(),
        "config_version": record.version,
    }


def _window(view: BreakerView, record: BreakerRecord) -> dict[str, float | None]:
    calls, failures, slow, _ = window_of(view.live())
    enough = calls >= record.config.minimum_calls
    return {
        "calls": calls,
        "failures": failures,
        "slow": slow,
        "failure_rate": share(failures, calls) if enough else None,
        "slow_call_rate": share(slow, calls) if enough else None,
    }


def _newest(moments: Sequence[float | None]) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)
