"""Circuit breakers for asyncio services, and one control plane for the whole fleet.

The names below are the library; it needs no Django. ``breakers`` is also the Django app of the control plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakers.client.http import HttpCircuitBreaker, get_http_circuit_breaker
from breakers.client.link import connect, get_circuit_breaker
from breakers.client.middleware import aiohttp_middleware
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import CircuitBreakerError, CircuitBreakerOpenError, ConfigError
from breakers.core.registry import CircuitBreakerRegistry, registry
from breakers.core.states import CircuitBreakerState, Override, Transition

if TYPE_CHECKING:
    from breakers.database_link import DatabaseLink

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerError",
    "CircuitBreakerOpenError",
    "CircuitBreakerRegistry",
    "CircuitBreakerState",
    "ConfigError",
    "HttpCircuitBreaker",
    "HttpConfig",
    "Override",
    "Transition",
    "aiohttp_middleware",
    "connect",
    "connect_database",
    "get_circuit_breaker",
    "get_http_circuit_breaker",
    "registry",
]


def connect_database(service: str | None = None) -> DatabaseLink:
    """Links a process that has Django configured, and ``breakers`` in ``INSTALLED_APPS``, to the fleet by its database.

    No server is needed; otherwise as :func:`connect`. Needs the ``django`` extra.
    """
    from breakers.database_link import connect_database as connect_it

    return connect_it(service)
