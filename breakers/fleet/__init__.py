"""Observed state in memory: reports in, rows out. :data:`fleet` is the process's one, merged with those of others."""

from __future__ import annotations

from .events import Event, Progress, iso
from .fleet import Edition, Fleet
from .ledger import SILENT_AFTER
from .merged import MergedFleet
from .openings import MOST_OPENINGS
from .passing import PassedInstance
from .picture import Counted, Picture
from .rates import Volume
from .summary import Summary
from .troubles import PATIENCE, Drops, Troubles
from .view import Row

__all__ = [
    "MOST_OPENINGS",
    "PATIENCE",
    "SILENT_AFTER",
    "Counted",
    "Drops",
    "Edition",
    "Event",
    "Fleet",
    "MergedFleet",
    "PassedInstance",
    "Picture",
    "Progress",
    "Row",
    "Summary",
    "Troubles",
    "Volume",
    "fleet",
    "iso",
]

fleet = MergedFleet()
