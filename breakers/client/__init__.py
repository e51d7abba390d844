"""What a service uses besides the machine: HTTP breakers, the link, and the control plane's client."""

from breakers.client.errors import ServiceError
from breakers.client.service import CircuitBreakerServiceClient, circuit_breaker_client

__all__ = ["CircuitBreakerServiceClient", "ServiceError", "circuit_breaker_client"]
