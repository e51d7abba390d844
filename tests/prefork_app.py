"""A WSGI application for a server that loads it once and forks: each request is one call that fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import breakers

breaker = breakers.get_circuit_breaker("preforked", breakers.CircuitBreakerConfig(failure_threshold=0))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the process that it was."""
    with suppress(ZeroDivisionError):
        breaker.call_sync(lambda: 1 / 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
