"""The only writers: keyword-only, typed, atomic, audited, published on commit."""

from .actors import Actor
from .blast import check_blast
from .configs import breaker_create, breaker_delete, breaker_edit
from .imports import ImportLine, ImportPlan, ImportRefused, configs_import, configs_plan
from .instances import instance_seen, instances_persist
from .keys import api_key_create, api_key_revoke, authenticate_key
from .operations import breaker_reset, breakers_reset_all, override_release, override_set, overrides_expire
from .registration import breakers_register
from .transitions import history_prune, transitions_record
from .versions import breaker_copy, breaker_restore

__all__ = [
    "Actor",
    "ImportLine",
    "ImportPlan",
    "ImportRefused",
    "api_key_create",
    "api_key_revoke",
    "authenticate_key",
    "breaker_copy",
    "breaker_create",
    "breaker_delete",
    "breaker_edit",
    "breaker_reset",
    "breaker_restore",
    "breakers_register",
    "breakers_reset_all",
    "check_blast",
    "configs_import",
    "configs_plan",
    "history_prune",
    "instance_seen",
    "instances_persist",
    "override_release",
    "override_set",
    "overrides_expire",
    "transitions_record",
]
