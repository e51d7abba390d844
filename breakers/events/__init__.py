"""The shared stream of events, for as long as the server runs; without ``REDIS_URL`` nothing at all."""

from .bus import Standing, bus

__all__ = ["Standing", "bus"]
