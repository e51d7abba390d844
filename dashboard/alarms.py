"""Alerts as a list that people can read: what has one cause is one line."""

from __future__ import annotations

from collections.abc import Iterable

from breakers.alerts import Alert

FOLDED = frozenset({"silent_instances", "config_not_applied"})
"""Kinds that come from an instance, which has many breakers."""


def folded(alerts: Iterable[Alert]) -> list[tuple[Alert, list[str]]]:
    """Each alert with the names of the other breakers of which the same is said; order kept."""
    lines: dict[tuple[str, ...], tuple[Alert, list[str]]] = {}
    for alert in alerts:
        said = (alert["kind"], alert["message"], (alert["since"] or "")[:19])
        key = said if alert["kind"] in FOLDED else (*said, alert["name"])
        if key in lines:
            lines[key][1].append(alert["name"])
        else:
            lines[key] = alert, []
    return list(lines.values())
