"""The only writers: keyword-only, typed, atomic, audited, published on commit."""

from .actors import Actor
from .configs import breaker_create, breaker_delete, breaker_edit
from .deliveries import deliveries_due, deliveries_prune, delivery_settle
from .folding import FOLD_AFTER, FORGET_AFTER, instances_fold, instances_forget
from .idempotency import answer_begin, answer_forget, answer_keep
from .imports import MOST_IMPORTED, ImportLine, ImportPlan, ImportRefused, configs_import, configs_plan
from .instances import instance_seen, instances_persist
from .keys import api_key_create, api_key_revoke, authenticate_key
from .known_keys import keys_remember
from .notices import notices_advance
from .notifications import (
    lease_return,
    lease_take,
    notification_rule_delete,
    notification_rule_save,
    notification_test,
)
from .operations import (
    breaker_reset,
    breakers_reset_all,
    override_release,
    override_set,
    overrides_expire,
    overrides_release,
    overrides_set,
)
from .outbox import events_due, events_prune, events_settle, events_waiting
from .recovery import applied_prune, recovery_apply
from .registration import breakers_register
from .transitions import history_prunable, history_prune, transitions_record
from .versions import breaker_copy, breaker_restore

__all__ = [
    "FOLD_AFTER",
    "FORGET_AFTER",
    "MOST_IMPORTED",
    "Actor",
    "ImportLine",
    "ImportPlan",
    "ImportRefused",
    "answer_begin",
    "answer_forget",
    "answer_keep",
    "api_key_create",
    "api_key_revoke",
    "applied_prune",
    "authenticate_key",
    "breaker_copy",
    "breaker_create",
    "breaker_delete",
    "breaker_edit",
    "breaker_reset",
    "breaker_restore",
    "breakers_register",
    "breakers_reset_all",
    "configs_import",
    "configs_plan",
    "deliveries_due",
    "deliveries_prune",
    "delivery_settle",
    "events_due",
    "events_prune",
    "events_settle",
    "events_waiting",
    "history_prunable",
    "history_prune",
    "instance_seen",
    "instances_fold",
    "instances_forget",
    "instances_persist",
    "keys_remember",
    "lease_return",
    "lease_take",
    "notices_advance",
    "notification_rule_delete",
    "notification_rule_save",
    "notification_test",
    "override_release",
    "override_set",
    "overrides_expire",
    "overrides_release",
    "overrides_set",
    "recovery_apply",
    "transitions_record",
]
