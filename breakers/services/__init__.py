"""The only writers: keyword-only, typed, atomic, audited, published on commit."""

from .actors import Actor
from .configs import breaker_create, breaker_delete, breaker_edit
from .instances import instance_seen, instances_persist
from .keys import api_key_create, api_key_revoke, authenticate_key
from .operations import breaker_reset, breakers_reset_all, override_release, override_set
from .registration import breakers_register
from .transitions import history_prune, transitions_record

__all__ = [
    "Actor",
    "api_key_create",
    "api_key_revoke",
    "authenticate_key",
    "breaker_create",
    "breaker_delete",
    "breaker_edit",
    "breaker_reset",
    "breakers_register",
    "breakers_reset_all",
    "history_prune",
    "instance_seen",
    "instances_persist",
    "override_release",
    "override_set",
    "transitions_record",
]
