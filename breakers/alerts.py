"""What is firing now, derived from the fleet: nothing is stored, so nothing can be stale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypedDict

from breakers.fleet import Row, Troubles, fleet, iso

Level = Literal["error", "warning"]


class Alert(TypedDict):
    """``since`` ISO 8601 in UTC; ``link`` the page that shows more, relative to the server."""

    level: Level
    name: str
    kind: str
    message: str
    since: str | None
    cause: str | None
    link: str


def alerts() -> list[Alert]:
    """Errors first, then by name. O(breakers + instances)."""
    found = [alert for row in fleet.rows() for alert in _alerts(row, fleet.troubles(row["name"]))]
    return sorted(found, key=lambda alert: (alert["level"] != "error", alert["name"]))


def _alerts(row: Row, troubles: Troubles | None) -> Iterator[Alert]:
    yield from _of_state(row)
    yield from _of_override(row)
    if troubles is not None:
        yield from _of_instances(row, troubles)


def _of_state(row: Row) -> Iterator[Alert]:
    if row["state"] == "open" and row["ready_to_probe"]:
        yield _alert("warning", row, "ready_to_probe", "Ready to probe, waiting for a call", row["retry_at"])
    elif row["state"] == "open":
        yield _alert("error", row, "open", f"Open {_share(row, 'open')}", row["since"])
    elif row["state"] == "half_open":
        yield _alert("warning", row, "half_open", f"Half-open {_share(row, 'half_open')}", row["since"])


def _share(row: Row, state: Literal["open", "half_open"]) -> str:
    instances = row["instances"]
    live = instances["total"] - instances["silent"]
    return f"on {instances[state]} of {live} instances" if live else "when last heard of"


def _of_override(row: Row) -> Iterator[Alert]:
    override = row["override"]
    if override is not None and override["override"] == "forced_open":
        why = f": {override['reason']}" if override["reason"] else ""
        yield _alert("warning", row, "forced_open", f"Forced open by {override['by']}{why}", None)


def _of_instances(row: Row, troubles: Troubles) -> Iterator[Alert]:
    if troubles.silent:
        message = f"{troubles.silent} of {row['instances']['total']} instances silent"
        yield _alert("warning", row, "silent_instances", message, iso(troubles.silent_since))
    if troubles.behind:
        why = f": {'; '.join(troubles.refused)}" if troubles.refused else ""
        message = f"Config not applied on {troubles.behind} of {row['applied']['of']} instances{why}"
        yield _alert("warning", row, "config_not_applied", message, iso(troubles.behind_since))
    if troubles.openings:
        message = f"Flapping: opened {len(troubles.openings)} times in 10 min"
        yield _alert("warning", row, "flapping", message, iso(troubles.openings[0]))


def _alert(level: Level, row: Row, kind: str, message: str, since: str | None) -> Alert:
    name = row["name"]
    link = f"/dashboard/breakers/{name}"
    return Alert(level=level, name=name, kind=kind, message=message, since=since, cause=row["cause"], link=link)
