"""Which request something is done for: the id that its answer, the audit and the log have in common."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

LONGEST: Final = 64
"""Letters of an id."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set by whoever takes requests in; empty where something happens by itself."""
