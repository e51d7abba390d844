"""The server's end of the links: ``/ws/agent`` and what runs beside it."""

from . import runtime
from .consumer import AgentConsumer

__all__ = ["AgentConsumer", "runtime"]
