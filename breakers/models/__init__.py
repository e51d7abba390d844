"""The tables, and the values that are read of them. Written by ``breakers.services`` only."""

from .breaker import BreakerConfig, Revision
from .events import AppliedEvent, OutgoingEvent
from .history import ConfigChange, StateChange, TransitionTotal
from .idempotency import KeptAnswer
from .instances import Departed, Instance
from .keys import SCOPES, ApiKey
from .notifications import Delivery, Lease, Notice, NotificationRule
from .records import (
    BreakerRecord,
    DepartedRecord,
    DesiredState,
    FiringAlert,
    InstanceIdentity,
    InstanceRecord,
    LastCause,
    LatestState,
    ResetRecord,
)

__all__ = [
    "SCOPES",
    "ApiKey",
    "AppliedEvent",
    "BreakerConfig",
    "BreakerRecord",
    "ConfigChange",
    "Delivery",
    "Departed",
    "DepartedRecord",
    "DesiredState",
    "FiringAlert",
    "Instance",
    "InstanceIdentity",
    "InstanceRecord",
    "KeptAnswer",
    "LastCause",
    "LatestState",
    "Lease",
    "Notice",
    "NotificationRule",
    "OutgoingEvent",
    "ResetRecord",
    "Revision",
    "StateChange",
    "TransitionTotal",
]
