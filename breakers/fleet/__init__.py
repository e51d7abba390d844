"""Observed state in memory: reports in, rows out. :data:`fleet` is the process's one :class:`Fleet`."""

from __future__ import annotations

from .events import Event, Progress
from .fleet import Fleet
from .summary import Summary
from .view import Row

__all__ = ["Event", "Fleet", "Progress", "Row", "Summary", "fleet"]

fleet = Fleet()
