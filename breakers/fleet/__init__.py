"""Observed state in memory: reports in, rows out. :data:`fleet` is the process's one :class:`Fleet`."""

from __future__ import annotations

from .events import Event, Progress, iso
from .fleet import Fleet
from .picture import Counted, Picture
from .rates import Volume
from .summary import Summary
from .troubles import Drops, Troubles
from .view import Row

__all__ = [
    "Counted",
    "Drops",
    "Event",
    "Fleet",
    "Picture",
    "Progress",
    "Row",
    "Summary",
    "Troubles",
    "Volume",
    "fleet",
    "iso",
]

fleet = Fleet()
