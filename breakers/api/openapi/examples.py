"""Values that the document shows beside the schemas."""

from __future__ import annotations

from typing import Any, Final

from breakers.api.serializers import DEFAULTS
from breakers.core.config import HttpConfig

INSTANCES: Final = {"total": 20, "closed": 17, "half_open": 0, "open": 2, "silent": 1}
CAUSE: Final = "5 consecutive failures, last: ConnectionRefusedError: [Errno 111] Connection refused"
SINCE: Final = "2026-03-01T12:00:07.318Z"

HEALTH: Final[dict[str, Any]] = {
    "status": "healthy",
    "service": "circuit_breaker_service",
    "timestamp": "2026-03-01T12:00:00Z",
    "checks": {"database": "ok", "channel_layer": "ok"},
}
PROMETHEUS: Final = 'circuit_breaker_state{name="bank-api",state="open"} 1.0\n'
STATE: Final[dict[str, Any]] = {
    "name": "bank-api",
    "state": "open",
    "override": None,
    "is_open": True,
    "is_half_open": False,
    "is_closed": False,
    "since": SINCE,
    "instances": INSTANCES,
}
ROW: Final[dict[str, Any]] = {
    "name": "bank-api",
    "group": "payments",
    "state": "open",
    "override": None,
    "services": ["trading_service"],
    "instances": INSTANCES,
    "since": SINCE,
    "retry_at": "2026-03-01T12:01:07.318Z",
    "cause": CAUSE,
    "rates": {"calls": 12.4, "failures": 3.1, "rejected": 88.0},
    "failure_rate": 0.25,
    "p50": 0.021,
    "p95": 0.19,
    "p99": 0.84,
    "version": 3,
    "applied": {"on": 19, "of": 19},
    "limit": None,
    "trend": [0.0, 2.5, 25.0],
    "ready_to_probe": False,
}
ROWS: Final[dict[str, Any]] = {"count": 1, "next": None, "previous": None, "results": [ROW]}
ALERTS: Final[dict[str, Any]] = {
    "alerts": [
        {
            "level": "error",
            "name": "bank-api",
            "kind": "open",
            "message": "Open on 2 of 19 instances",
            "since": SINCE,
            "cause": CAUSE,
            "link": "/dashboard/breakers/bank-api",
        }
    ],
    "alert_count": 1,
}
TRANSITION: Final[dict[str, Any]] = {
    "id": 4711,
    "at": SINCE,
    "received_at": "2026-03-01T12:00:07.341Z",
    "name": "bank-api",
    "service": "trading_service",
    "instance": "0f6f3bd8-5f0c-4b07-9f62-0f6d6a3f1a52",
    "sequence": 12,
    "from_state": "closed",
    "to_state": "open",
    "reason": "consecutive_failures",
    "cause": CAUSE,
    "epoch": 7,
    "failures": 5,
    "calls": 5,
    "failure_rate": None,
}
HISTORY: Final[dict[str, Any]] = {"count": 1, "next": None, "previous": None, "results": [TRANSITION]}
CREATE: Final[dict[str, Any]] = {
    "name": "bank-api",
    "group": "payments",
    "failure_threshold": 5,
    "recovery_timeout": 60.0,
    "reason": "the bank moved",
}
PUT: Final[dict[str, Any]] = {"failure_threshold": 10, "failure_rate_threshold": 0.5, "reason": "too nervous"}
PATCH: Final[dict[str, Any]] = {"recovery_timeout": 15.0, "reason": "INC-2291"}
CONFIG: Final[dict[str, Any]] = {
    "name": "bank-api",
    "config": {**DEFAULTS, "name": "bank-api", **HttpConfig().as_dict()},
    "version": 4,
    "applied": {"on": 17, "of": 19},
    "warnings": [],
}
OVERRIDE: Final[dict[str, Any]] = {"override": "forced_open", "reason": "INC-2291", "expires_in": 900}
RESET: Final[dict[str, Any]] = {
    "status": "reset",
    "name": "bank-api",
    "new_state": "closed",
    "command": "7d8e2a8c-9a0f-4c38-b5f6-0a4f1d9a9d3e",
    "instances": {"targeted": 20, "confirmed": 0, "silent": 1},
}
DOCUMENT: Final = """\
format: 1
breakers:
  bank-api:
    version: 3
    group: payments
    config:
      failure_threshold: 5
"""
