"""What is firing now, derived from the fleet: nothing is stored, so nothing can be stale."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypedDict

from breakers.fleet import MOST_OPENINGS, PATIENCE, SILENT_AFTER, Drops, Row, Troubles, fleet, iso

HALF_OPEN_LONG = timedelta(minutes=5)
EXPIRY_NEAR = timedelta(minutes=5)
Level = Literal["error", "warning"]


class Alert(TypedDict):
    """``since`` ISO 8601 in UTC; ``cause`` a sentence, where one is known; ``link`` the page, relative to the server.

    ``name`` is the breaker's; of ``reports_dropped`` the service's.
    """

    level: Level
    name: str
    kind: str
    message: str
    since: str | None
    cause: str | None
    link: str


def alerts() -> list[Alert]:
    """Errors first, then by name. O(breakers + instances)."""
    now = fleet.now()
    found = [alert for row in fleet.rows() for alert in _alerts(row, fleet.troubles(row["name"]), now)]
    found += gaps()
    return sorted(found, key=lambda alert: (alert["level"] != "error", alert["name"]))


def gaps() -> list[Alert]:
    """Those of kind ``reports_dropped``, by service. O(instances)."""
    return list(map(_of_drops, fleet.drops()))


def _alerts(row: Row, troubles: Troubles | None, now: datetime) -> Iterator[Alert]:
    yield from _of_state(row, troubles, now)
    yield from _of_override(row, now)
    if troubles is not None:
        yield from _of_instances(row, troubles)


def _of_state(row: Row, troubles: Troubles | None, now: datetime) -> Iterator[Alert]:
    if row["state"] == "open" and row["ready_to_probe"]:
        since = iso(troubles.ready_since) if troubles else None
        yield _alert("warning", row, "ready_to_probe", "Ready to probe, waiting for a call", since, row["cause"])
    elif row["state"] == "open":
        yield _alert("error", row, "open", f"Open {_share(row, 'open')}", row["since"], row["cause"])
    elif row["state"] == "half_open":
        message = f"{_half_open(row, now)} {_share(row, 'half_open')}"
        yield _alert("warning", row, "half_open", message, row["since"], row["cause"])


def _share(row: Row, state: Literal["open", "half_open"]) -> str:
    instances = row["instances"]
    live = instances["total"] - instances["silent"]
    return f"on {instances[state]} of {live} instances" if live else "when last heard of"


def _half_open(row: Row, now: datetime) -> str:
    """One kind of alert, whose words change: probes that neither close nor re-open are worth a second look."""
    return "Half-open for long, too few probes come," if _age(row["since"], now) >= HALF_OPEN_LONG else "Half-open"


def _age(moment: str | None, now: datetime) -> timedelta:
    return timedelta(0) if moment is None else now - datetime.fromisoformat(moment)


def _of_override(row: Row, now: datetime) -> Iterator[Alert]:
    override, record = row["override"], fleet.record(row["name"])
    if override is None:
        return
    what = override["override"].replace("_", " ").capitalize()
    reason = override["reason"]
    why = f": {reason}" if reason else ""
    if override["override"] == "forced_open":
        since = iso(record.override_since) if record else None
        yield _alert("warning", row, "forced_open", f"{what} by {override['by']}{why}", since, reason)
    if override["expires_at"] is not None and -_age(override["expires_at"], now) <= EXPIRY_NEAR:
        ends = datetime.fromisoformat(override["expires_at"])
        message = f"{what} by {override['by']} ends at {ends:%H:%M:%S} UTC{why}"
        ordered = record.override_since if record else None
        near = max(ends - EXPIRY_NEAR, ordered or ends - EXPIRY_NEAR)  # a short one is about to end from the start
        yield _alert("warning", row, "override_expiring", message, iso(near), reason)


def _of_drops(drops: Drops) -> Alert:
    what = "1 transition" if drops.count == 1 else f"{drops.count:,} transitions"
    whose = "1 instance" if drops.instances == 1 else f"{drops.instances:,} instances"
    were = "was" if drops.count == 1 else "were"
    return Alert(
        level="warning",
        name=drops.service,
        kind="reports_dropped",
        message=f"{what} of {whose} {were} never reported: the history has gaps",
        since=iso(drops.since),
        cause="The queue of an instance was full before the control plane had taken them",
        link="/dashboard/instances",
    )


def _of_instances(row: Row, troubles: Troubles) -> Iterator[Alert]:
    if troubles.silent:
        message = f"{troubles.silent} of {row['instances']['total']} instances silent"
        cause = f"No heartbeat for {SILENT_AFTER.total_seconds():g} s"
        yield _alert("warning", row, "silent_instances", message, iso(troubles.silent_since), cause)
    if troubles.behind:
        refused = "; ".join(troubles.refused)
        why = f": {refused}" if refused else ""
        message = f"Config not applied on {troubles.behind} of {row['applied']['of']} instances{why}"
        cause = refused or f"Not confirmed for {PATIENCE.total_seconds():g} s"
        yield _alert("warning", row, "config_not_applied", message, iso(troubles.behind_since), cause)
    if troubles.flapping_since is not None:
        some = "at least " if troubles.openings == MOST_OPENINGS else ""
        message = f"Flapping: opened {some}{troubles.openings} times in 10 min"
        yield _alert("warning", row, "flapping", message, iso(troubles.flapping_since), troubles.opening_cause)


def _alert(level: Level, row: Row, kind: str, message: str, since: str | None, cause: str | None) -> Alert:
    name = row["name"]
    link = f"/dashboard/breakers/{name}"
    return Alert(level=level, name=name, kind=kind, message=message, since=since, cause=cause or None, link=link)
