"""The only writers: each writes one audit row under a revision of its own, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from breakers import publish, selectors, services
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import ConfigError
from breakers.core.states import Override
from breakers.core.wire import Registration
from breakers.models import BreakerConfig, ConfigChange
from breakers.problems import AlreadyExists, NotFound, Problem, VersionConflict
from breakers.services import Actor

pytestmark = pytest.mark.django_db
Create = Callable[..., BreakerConfig]


def edit(alice: Actor, name: str = "data_service", *, expected_version: int | None = None, **values: object):
    row = selectors.breaker(name)
    return services.breaker_edit(
        name=name,
        config=replace(row.config(), **values),
        http=row.http_config(),
        reason="INC-7",
        by=alice,
        expected_version=expected_version,
    )


def newest() -> ConfigChange:
    return ConfigChange.objects.order_by("-revision")[0]


# --- create -----------------------------------------------------------------------------------------------------


def test_a_created_breaker_stands_at_version_one_under_the_next_revision(create: Create):
    before = selectors.current_revision()
    row = create(failure_threshold=7)
    assert (row.version, row.revision, row.managed) == (1, before + 1, True)
    assert selectors.current_revision() == before + 1
    change = ConfigChange.objects.get()
    assert (change.kind, change.actor, change.reason) == ("created", "user:alice", "because")
    assert (change.revision, change.version) == (row.revision, 1)
    assert change.before is None
    assert change.after["failure_threshold"] == 7
    assert change.after["failure_statuses"] == "429,500-599"


def test_what_was_created_is_read_back_whole(create: Create):
    wanted = {
        "failure_threshold": 0,
        "recovery_timeout": 5,
        "timeout": None,
        "window_type": "time",
        "window_size": 30,
        "failure_rate_threshold": 0.5,
        "slow_call_duration": 2,
        "slow_call_rate_threshold": 1.0,
        "recovery_backoff": 2,
        "recovery_jitter": 0.25,
    }
    create("a.b:c-d_e", group="core", **wanted)
    record = selectors.desired_state().breakers["a.b:c-d_e"]
    assert record.config == CircuitBreakerConfig(name="a.b:c-d_e", **wanted)
    assert record.http == HttpConfig()
    assert record.group == "core"


def test_a_taken_name_is_refused_with_the_name(create: Create):
    create()
    with pytest.raises(AlreadyExists) as caught:
        create()
    assert caught.value.name == "data_service"
    assert ConfigChange.objects.count() == 1


@pytest.mark.parametrize("name", ["", "a b", "reset-all", "..", "x" * 101, "ä"])
def test_a_wrong_name_is_a_config_error(create: Create, name: str):
    with pytest.raises(ConfigError) as caught:
        create(name)
    assert set(caught.value.fields) == {"name"}
    assert selectors.current_revision() == 0


def test_a_group_that_is_too_long_is_a_config_error(create: Create):
    with pytest.raises(ConfigError) as caught:
        create(group="x" * 101)
    assert set(caught.value.fields) == {"group"}


# --- edit -------------------------------------------------------------------------------------------------------


def test_an_edit_is_one_version_and_one_revision_on(create: Create, alice: Actor):
    created = create()
    edited = edit(alice, failure_threshold=9)
    assert (edited.version, edited.revision) == (2, created.revision + 1)
    assert (newest().kind, newest().reason, newest().version) == ("edited", "INC-7", 2)
    assert newest().differences() == {"failure_threshold": (5, 9)}
    assert ConfigChange.objects.count() == 2


def test_an_edit_that_changes_nothing_writes_nothing(create: Create, alice: Actor):
    row = create(recovery_timeout=10)
    assert repr(newest().after["recovery_timeout"]) == "10.0"
    same = edit(alice, recovery_timeout=10)  # the integer 10 where the column holds 10.0
    assert (same.version, same.revision, selectors.current_revision()) == (1, row.revision, row.revision)
    assert ConfigChange.objects.count() == 1


def test_an_edit_of_a_version_that_is_gone_changes_nothing_and_tells_the_present_one(create: Create, alice: Actor):
    create()
    edit(alice, failure_threshold=9, expected_version=1)
    with pytest.raises(VersionConflict) as caught:
        edit(alice, failure_threshold=10, expected_version=1)
    assert (caught.value.name, caught.value.current_version) == ("data_service", 2)
    assert selectors.breaker("data_service").failure_threshold == 9
    assert ConfigChange.objects.count() == 2


def test_group_and_description_stay_unless_given(create: Create, alice: Actor):
    row = create(group="core")
    arguments = {"name": row.name, "config": row.config(), "http": row.http_config(), "reason": "", "by": alice}
    assert services.breaker_edit(**arguments, description="quotes").group == "core"
    edited = services.breaker_edit(**arguments, group="")
    assert (edited.group, edited.description, edited.version) == ("", "quotes", 3)


def test_the_first_edit_of_a_registered_breaker_makes_it_managed(alice: Actor):
    services.breakers_register(registrations=[Registration("data_service", {"failure_threshold": 2})], service="x")
    assert selectors.desired_state().breakers["data_service"].desired(timezone.now()).config is None
    edit(alice, failure_threshold=3)
    desired = selectors.desired_state().breakers["data_service"].desired(timezone.now())
    assert (desired.version, desired.config["failure_threshold"]) == (2, 3)
    assert desired.http == HttpConfig().as_dict()


def test_text_that_no_database_takes_loses_only_what_offends(create: Create, alice: Actor):
    create()
    services.breaker_reset(name="data_service", reason="a\x00b\ud800c", by=alice)
    assert newest().reason == "ab?c"


# --- delete -----------------------------------------------------------------------------------------------------


def test_a_deleted_breaker_leaves_its_audit(create: Create, alice: Actor):
    create()
    services.breaker_delete(name="data_service", reason="retired", by=alice, expected_version=1)
    assert not BreakerConfig.objects.exists()
    assert (newest().kind, newest().after, newest().before["failure_threshold"]) == ("deleted", None, 5)
    assert selectors.current_revision() == newest().revision == 2


def test_a_deletion_of_a_version_that_is_gone_is_refused(create: Create, alice: Actor):
    create()
    with pytest.raises(VersionConflict):
        services.breaker_delete(name="data_service", reason="", by=alice, expected_version=3)
    assert BreakerConfig.objects.exists()


# --- registration -----------------------------------------------------------------------------------------------


def register(*registrations: Registration) -> list[str]:
    return services.breakers_register(registrations=registrations, service="trading_service")


def test_registration_records_the_config_of_the_code_and_leaves_instances_with_it():
    assert (
        register(Registration("a", {"failure_threshold": 2, "name": "a"}, {"max_retries": 0}), Registration("b", {}))
        == []
    )
    a, b = BreakerConfig.objects.order_by("name")
    assert (a.failure_threshold, a.max_retries, a.managed, a.version) == (2, 0, False, 1)
    assert (b.failure_threshold, b.max_retries) == (5, 2)
    assert sorted({a.revision, b.revision}) == [1, 2]
    changes = ConfigChange.objects.order_by("revision")
    assert [(c.kind, c.actor, c.revision) for c in changes] == [
        ("registered", "service:trading_service", 1),
        ("registered", "service:trading_service", 2),
    ]
    assert selectors.current_revision() == 2


def test_a_known_breaker_is_left_as_it_is(create: Create):
    create("a", failure_threshold=7)
    register(Registration("a", {"failure_threshold": 2}))
    assert selectors.breaker("a").failure_threshold == 7
    assert selectors.current_revision() == 1


def test_of_two_registrations_of_one_name_the_first_counts():
    register(Registration("a", {"failure_threshold": 2}), Registration("a", {"failure_threshold": 3}))
    assert selectors.breaker("a").failure_threshold == 2


def test_a_wrong_registration_is_refused_in_words_and_harms_no_other():
    wrong = [
        Registration("not a name", {}),
        Registration("nul\x00\ud800", {}),
        Registration("wrong", {"failure_threshold": -1, "timeout": "5"}),
        Registration("nan", {"timeout": float("nan")}),
    ]
    refused = register(*wrong, Registration("right", {}))
    assert [row.name for row in BreakerConfig.objects.all()] == ["right"]
    assert len(refused) == 4
    assert any("failure_threshold" in sentence and "timeout" in sentence for sentence in refused)


def test_fields_of_a_newer_library_are_passed_over():
    assert register(Registration("a", {"failure_threshold": 2, "sorcery": True}, {"alchemy": 1})) == []
    assert selectors.breaker("a").failure_threshold == 2


def test_registration_does_not_take_defaults_from_the_servers_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "77")
    register(Registration("a", {}))
    assert selectors.breaker("a").failure_threshold == 5


def test_nothing_is_registered_when_that_is_switched_off(settings):
    settings.CIRCUIT_BREAKER_AUTO_REGISTER = False
    register(Registration("a", {}))
    assert not BreakerConfig.objects.exists()


def test_registering_what_is_known_costs_one_query(create: Create, django_assert_num_queries):
    create("a")
    create("b")
    with django_assert_num_queries(1):
        register(Registration("a", {}), Registration("b", {}))


# --- resets -----------------------------------------------------------------------------------------------------


def test_a_reset_is_a_command_with_an_id(create: Create, alice: Actor):
    row, instance = create(), uuid4()
    command = services.breaker_reset(name="data_service", reason="fixed", by=alice, instance=instance)
    assert (command.name, command.instance, command.revision) == ("data_service", str(instance), row.revision + 1)
    assert (newest().kind, newest().command_id, newest().instance) == ("reset", UUID(command.id), instance)
    assert (newest().actor, newest().reason) == ("user:alice", "fixed")
    assert selectors.desired_state().resets == (command,)
    assert selectors.breaker("data_service").version == 1


def test_a_command_is_desired_for_sixty_seconds(create: Create, alice: Actor):
    create()
    for seconds in (70, 50):
        services.breaker_reset(name="data_service", reason=str(seconds), by=alice)
        ConfigChange.objects.filter(pk=newest().pk).update(at=timezone.now() - timedelta(seconds=seconds))
    assert [reset.revision for reset in selectors.desired_state().resets] == [newest().revision]


def test_reset_all_is_one_command_a_breaker(create: Create, alice: Actor):
    for name in "abc":
        create(name)
    commands = services.breakers_reset_all(names=None, reason="all", by=alice)
    assert [(c.name, c.revision) for c in commands] == [("a", 4), ("b", 5), ("c", 6)]
    assert len({c.id for c in commands}) == 3
    assert ConfigChange.objects.filter(kind="reset", reason="all", actor="user:alice").count() == 3
    assert selectors.current_revision() == 6


def test_reset_all_of_some_names_leaves_the_others(create: Create, alice: Actor):
    for name in "abc":
        create(name)
    commands = services.breakers_reset_all(names=["c", "a", "unknown"], reason="", by=alice)
    assert [c.name for c in commands] == ["a", "c"]
    assert services.breakers_reset_all(names=[], reason="", by=alice) == []
    assert selectors.current_revision() == 5


# --- overrides --------------------------------------------------------------------------------------------------


def force(alice: Actor, override: Override = Override.FORCED_OPEN, **arguments: object) -> BreakerConfig:
    given = {"name": "data_service", "reason": "INC-1", "expires_at": None, "by": alice, **arguments}
    return services.override_set(override=override, **given)


def test_an_override_is_desired_until_it_is_released(create: Create, alice: Actor):
    created = create()
    row = force(alice)
    assert (row.version, row.revision) == (1, created.revision + 1)
    record = selectors.desired_state().breakers["data_service"]
    assert (record.override, record.override_reason, record.override_by) == (
        Override.FORCED_OPEN,
        "INC-1",
        "user:alice",
    )
    assert newest().before is None
    assert newest().after == {"override": "forced_open", "reason": "INC-1", "by": "user:alice", "expires_at": None}
    released = services.override_release(name="data_service", reason="over", by=alice)
    assert (released.override_reason, released.override_by) == ("", "")
    record = selectors.desired_state().breakers["data_service"]
    assert (record.override, record.override_reason, record.override_by) == (None, "", "")
    assert (newest().kind, newest().before["override"], newest().after) == ("override_released", "forced_open", None)
    assert selectors.current_revision() == 3


def test_an_override_is_told_with_the_seconds_that_it_has_left(create: Create, alice: Actor):
    create()
    until = timezone.now() + timedelta(hours=1)
    row = force(alice, Override.FORCED_CLOSED, expires_at=until)
    desired = row.desired(until - timedelta(seconds=90))
    assert (desired.override.override, desired.override.expires_in) == (Override.FORCED_CLOSED, 90.0)
    assert desired.override.reason == "INC-1"
    assert row.desired(until).override is None
    record = row.record(until - timedelta(seconds=1))
    assert (record.override_at(until), record.desired(until).override) == (None, None)


def test_an_expired_override_reads_as_none(create: Create, alice: Actor):
    create()
    force(alice, expires_at=timezone.now() + timedelta(hours=1))
    record = selectors.desired_state().breakers["data_service"]
    assert record.override_at(timezone.now()) is Override.FORCED_OPEN
    assert record.override_at(timezone.now() + timedelta(hours=2)) is None
    BreakerConfig.objects.update(override_expires_at=timezone.now() - timedelta(seconds=1))
    record = selectors.desired_state().breakers["data_service"]
    assert (record.override, record.override_reason, record.override_expires_at) == (None, "", None)


def test_an_override_that_ends_in_the_past_is_refused(create: Create, alice: Actor):
    create()
    with pytest.raises(ConfigError) as caught:
        force(alice, expires_at=timezone.now())
    assert set(caught.value.fields) == {"expires_at"}
    assert selectors.current_revision() == 1


def test_releasing_what_is_not_overridden_writes_nothing(create: Create, alice: Actor):
    create()
    services.override_release(name="data_service", reason="", by=alice)
    assert ConfigChange.objects.count() == 1
    assert selectors.current_revision() == 1


# --- all of them ------------------------------------------------------------------------------------------------

ACTIONS = {
    "edit": lambda by, **more: edit(by, failure_threshold=9, **more),
    "delete": lambda by, **more: services.breaker_delete(name="data_service", reason="", by=by, **more),
    "reset": lambda by, **more: services.breaker_reset(name="data_service", reason="", by=by, **more),
    "override": lambda by, **more: force(by, **more),
    "release": lambda by, **more: services.override_release(name="data_service", reason="", by=by, **more),
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_an_unknown_name_is_told(alice: Actor, action: Callable[..., object]):
    with pytest.raises(NotFound) as caught:
        action(alice)
    assert caught.value.name == "data_service"
    assert isinstance(caught.value, Problem)
    assert selectors.current_revision() == 0


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_every_action_minds_the_version_that_was_seen(create: Create, alice: Actor, action: Callable[..., object]):
    create()
    if action is ACTIONS["release"]:
        force(alice)
    before = selectors.current_revision()
    with pytest.raises(VersionConflict):
        action(alice, expected_version=2)
    assert selectors.current_revision() == before
    action(alice, expected_version=1)
    assert selectors.current_revision() == before + 1
    assert ConfigChange.objects.filter(revision=before + 1, actor="user:alice").count() == 1


WRITES = {
    **ACTIONS,
    "create": lambda by: services.breaker_create(name="x", config=CircuitBreakerConfig(), http=HttpConfig(), by=by),
    "register": lambda by: register(Registration("x", {})),
    "reset_all": lambda by: services.breakers_reset_all(names=None, reason="", by=by),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_hint_goes_out_once_the_write_commits_and_not_before(
    create: Create, alice: Actor, write: Callable[..., object], django_capture_on_commit_callbacks
):
    create()
    force(alice)
    heard: list[int] = []
    unsubscribe = publish.subscribe(lambda: heard.append(selectors.current_revision()))
    try:
        with django_capture_on_commit_callbacks(execute=True):
            write(alice)
            assert heard == []
        assert heard == [3]
    finally:
        unsubscribe()


def test_a_write_that_fails_leaves_no_audit_no_revision_and_no_hint(
    create: Create, alice: Actor, django_capture_on_commit_callbacks
):
    create()

    @transaction.atomic
    def fail() -> None:
        edit(alice, failure_threshold=9)
        raise LookupError

    with django_capture_on_commit_callbacks() as callbacks, pytest.raises(LookupError):
        fail()
    assert callbacks == []
    assert (selectors.current_revision(), ConfigChange.objects.count()) == (1, 1)
    assert selectors.breaker("data_service").failure_threshold == 5
    assert edit(alice, failure_threshold=9).revision == 2


def test_revisions_are_taken_in_a_row_and_never_twice(create: Create, alice: Actor):
    create()
    force(alice)
    register(Registration("x", {}), Registration("y", {}))
    services.breakers_reset_all(names=None, reason="", by=alice)
    edit(alice, failure_threshold=1)
    revisions = list(ConfigChange.objects.order_by("revision").values_list("revision", flat=True))
    assert revisions == list(range(1, selectors.current_revision() + 1)) == list(range(1, 9))


def test_changes_are_newest_first_and_filtered(create: Create, alice: Actor):
    create()
    force(alice)
    register(Registration("x", {}))
    assert [change.revision for change in selectors.changes()] == [3, 2, 1]
    assert [change.revision for change in selectors.changes(above=1)] == [3, 2]
    assert [change.kind for change in selectors.changes("data_service")] == ["override_set", "created"]
    assert selectors.changes(kind="registered").get().breaker == "x"
    assert selectors.changes(actor="user:alice").count() == 2
    at = selectors.changes(kind="override_set").get().at
    assert (selectors.changes(since=at).count(), selectors.changes(until=at).count()) == (2, 2)
