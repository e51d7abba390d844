"""The tables, and the values that are read of them. Written by ``breakers.services`` only."""

from .breaker import BreakerConfig, Revision
from .history import ConfigChange, StateChange
from .instances import Instance
from .keys import SCOPES, ApiKey
from .records import (
    BreakerRecord,
    DesiredState,
    InstanceIdentity,
    InstanceRecord,
    LastCause,
    LatestState,
    ResetRecord,
)

__all__ = [
    "SCOPES",
    "ApiKey",
    "BreakerConfig",
    "BreakerRecord",
    "ConfigChange",
    "DesiredState",
    "Instance",
    "InstanceIdentity",
    "InstanceRecord",
    "LastCause",
    "LatestState",
    "ResetRecord",
    "Revision",
    "StateChange",
]
