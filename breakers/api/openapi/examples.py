"""Values that the document shows beside the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from breakers import exports
from breakers.api.serializers import DEFAULTS
from breakers.core.config import HttpConfig


class ByMedia(dict[str, Any]):
    """One example in several media types."""


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
PROBLEM: Final[dict[str, Any]] = {
    "error": {
        "code": "invalid",
        "message": "Invalid: failure_threshold.",
        "fields": {"failure_threshold": "must be an integer >= 0 and <= 2147483647, not '5'"},
    }
}
SCHEMA: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Circuit breakers", "version": "1.0.0"},
    "paths": {},
}
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
DOCUMENT_SENT: Final = ByMedia({"application/yaml": DOCUMENT, "application/json": yaml.safe_load(DOCUMENT)})
IMPORT: Final[dict[str, Any]] = {
    "dry_run": True,
    "writes": 1,
    "refused": False,
    "breakers": [
        {
            "name": "bank-api",
            "action": "edit",
            "version": 3,
            "differences": {"failure_threshold": [10, 5]},
            "problem": None,
            "warnings": [],
        }
    ],
}
FIELDS: Final[dict[str, Any]] = {**DEFAULTS, "name": "bank-api", **HttpConfig().as_dict()}
METRICS: Final[dict[str, Any]] = {
    "state": "open",
    "override": None,
    "requests_total": 91_204,
    "successes_total": 88_911,
    "failures_total": 1_207,
    "rejected_total": 1_086,
    "ignored_total": 0,
    "late_total": 0,
    "would_reject_total": 0,
    "timeouts_total": 41,
    "slow_total": 0,
    "state_changes_total": 12,
    "probes_total": 9,
    "consecutive_failures": 5,
    "window": {"calls": 0, "failures": 0, "slow": 0, "failure_rate": None, "slow_call_rate": None},
    "last_failure_time": 1772366407.3,
    "last_success_time": 1772366402.9,
    "opened_at": 1772366407.3,
    "retry_after": 41.8,
    "latency": {"counts": {"35": 88_911, "41": 1_207}, "p50": 0.021, "p95": 0.19, "p99": 0.84},
    "config": FIELDS,
    "config_version": 3,
}
INSTANCE: Final[dict[str, Any]] = {
    "instance": TRANSITION["instance"],
    "service": "trading_service",
    "host": "trading-7d9c",
    "pid": 1,
    "state": "open",
    "silent": False,
    "last_seen": "2026-03-01T12:00:24.902Z",
    "since": SINCE,
    "retry_at": "2026-03-01T12:01:07.318Z",
    "revision": 57,
    "applied": True,
    "refused": None,
    "config_version": 3,
    "failure_rate": None,
    "calls": 4_506,
    "failures": 61,
    "rejected": 112,
    "override": None,
    "override_origin": None,
}
BREAKER: Final[dict[str, Any]] = {
    **ROW,
    "description": "Payments to the bank; its owner is on call at night.",
    "managed": True,
    "config": FIELDS,
    "metrics": METRICS,
    "instance_rows": [INSTANCE],
    "recent": [TRANSITION],
}
OVERRIDDEN: Final[dict[str, Any]] = {
    "name": "bank-api",
    "override": {
        "override": "forced_open",
        "reason": "INC-2291",
        "by": "user:alice",
        "expires_at": "2026-03-01T12:15:00Z",
    },
    "state": "open",
    "version": 3,
    "applied": {"on": 0, "of": 19},
}
RELEASED: Final[dict[str, Any]] = {**OVERRIDDEN, "override": None}
CHANGE: Final[dict[str, Any]] = {
    "id": 812,
    "at": "2026-03-01T12:00:00Z",
    "name": "bank-api",
    "kind": "override_set",
    "actor": "user:alice",
    "reason": "INC-2291",
    "before": None,
    "after": OVERRIDDEN["override"],
    "version": 3,
    "revision": 57,
    "command": None,
    "instance": None,
    "request_id": "79f865eb5832471ba368d3d4ad0628fa",
}
CHANGES: Final[dict[str, Any]] = {"count": 1, "next": None, "previous": None, "results": [CHANGE]}
VERSION: Final[dict[str, Any]] = {
    "version": 3,
    "at": "2026-02-27T09:30:00Z",
    "kind": "edited",
    "actor": "user:alice",
    "reason": "too nervous",
    "group": "payments",
    "config": FIELDS,
}
VERSIONS: Final[dict[str, Any]] = {"count": 1, "next": None, "previous": None, "results": [VERSION]}
DASHBOARD: Final[dict[str, Any]] = {
    "summary": {
        "total": 1,
        "open": 1,
        "half_open": 0,
        "closed": 0,
        "forced_open": 0,
        "forced_closed": 0,
        "ready_to_probe": 0,
        "without_live_instances": 0,
        "instances": 20,
        "silent": 1,
        "requests": 91_204,
        "successes": 88_911,
        "failures": 1_207,
        "rejected": 1_086,
        "failure_rate": 0.0134,
        "worst": "bank-api",
        "last_change": SINCE,
        "verdict": "1 of 1 breaker is open: bank-api",
    },
    "breakers": [ROW],
}


def _file(table: exports.Table, line: Mapping[str, Any]) -> ByMedia:
    """A file of this one line, as an export writes it."""
    columns = tuple(table.columns)
    row = tuple(line[column] for column in columns)
    text = exports.csv_of([columns, row]).decode()
    return ByMedia({"text/csv": text, "application/json": [dict(zip(columns, row, strict=True))]})


HISTORY_FILE: Final = _file(exports.TRANSITIONS, TRANSITION)
CHANGES_FILE: Final = _file(exports.CHANGES, CHANGE)
