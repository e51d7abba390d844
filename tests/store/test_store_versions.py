"""Configs of other breakers, of earlier versions, and of documents: always as a new version, never over another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command

from breakers import documents, selectors, services
from breakers.core.config import HttpConfig
from breakers.core.errors import ConfigError
from breakers.core.wire import Registration
from breakers.models import BreakerConfig, ConfigChange
from breakers.problems import NotFound, UnknownVersion, VersionConflict
from breakers.services import Actor, ImportRefused

pytestmark = pytest.mark.django_db
Create = Callable[..., BreakerConfig]


def edit(alice: Actor, name: str = "data_service", **values: object) -> BreakerConfig:
    row = selectors.breaker(name)
    config = replace(row.config(), **values)
    return services.breaker_edit(name=name, config=config, http=row.http_config(), reason="", by=alice)


def kinds(name: str) -> list[tuple[str, str]]:
    return list(ConfigChange.objects.filter(breaker=name).order_by("revision").values_list("kind", "reason"))


# --- copy -------------------------------------------------------------------------------------------------------


def test_a_copy_is_a_new_breaker_of_the_same_group_with_the_same_config(create: Create, alice: Actor):
    given = create(group="core", failure_threshold=9)
    row = services.breaker_copy(source="data_service", target="other", by=alice)
    assert row.config() == replace(given.config(), name="other")
    assert (row.version, row.group, row.managed) == (1, "core", True)
    assert kinds("other") == [("created", "Copied from data_service, version 1")]


def test_a_copy_over_a_breaker_is_its_next_version_and_leaves_its_words(create: Create, alice: Actor):
    create(failure_threshold=9, group="core")
    create("other", group="edge", description="mine")
    row = services.breaker_copy(source="data_service", target="other", reason="alike", by=alice)
    assert (row.failure_threshold, row.version, row.group, row.description) == (9, 2, "edge", "mine")
    assert kinds("other")[1] == ("edited", "alike")


def test_a_copy_takes_the_http_config_too(alice: Actor, create: Create):
    row = create()
    services.breaker_edit(name="data_service", config=row.config(), http=HttpConfig(max_retries=4), reason="", by=alice)
    assert services.breaker_copy(source="data_service", target="other", by=alice).max_retries == 4


def test_a_copy_loses_the_race_for_its_target(create: Create, alice: Actor):
    create(failure_threshold=9)
    create("other")
    edit(alice, "other", success_threshold=7)
    with pytest.raises(VersionConflict) as lost:
        services.breaker_copy(source="data_service", target="other", by=alice, expected_version=1)
    assert lost.value.current_version == 2
    with pytest.raises(VersionConflict):
        services.breaker_copy(source="data_service", target="gone", by=alice, expected_version=1)
    assert not BreakerConfig.objects.filter(name="gone").exists()
    assert selectors.breaker("other").failure_threshold == 5


def test_nothing_is_copied_from_nowhere_or_to_no_name(create: Create, alice: Actor):
    with pytest.raises(NotFound):
        services.breaker_copy(source="nobody", target="other", by=alice)
    create()
    with pytest.raises(ConfigError) as wrong:
        services.breaker_copy(source="data_service", target="no name", by=alice)
    assert set(wrong.value.fields) == {"name"}


# --- restore ----------------------------------------------------------------------------------------------------


def test_an_older_version_comes_back_as_a_new_one(create: Create, alice: Actor):
    create(failure_threshold=7, group="core", description="first")
    edit(alice, failure_threshold=8)
    edit(alice, failure_threshold=9, recovery_timeout=10.0)
    row = services.breaker_restore(name="data_service", version=1, by=alice)
    assert (row.failure_threshold, row.recovery_timeout, row.version) == (7, 60.0, 4)
    assert (row.group, row.description) == ("core", "first")
    assert kinds("data_service")[-1] == ("edited", "Restored version 1")
    assert [change.version for change in selectors.versions("data_service")] == [4, 3, 2, 1]


def test_restoring_what_stands_writes_nothing(create: Create, alice: Actor):
    create()
    assert services.breaker_restore(name="data_service", version=1, by=alice).version == 1
    assert selectors.current_revision() == 1


def test_a_version_that_never_was_is_refused(create: Create, alice: Actor):
    create()
    with pytest.raises(UnknownVersion) as unknown:
        services.breaker_restore(name="data_service", version=2, by=alice)
    assert unknown.value.version == 2
    with pytest.raises(NotFound):
        services.breaker_restore(name="nobody", version=1, by=alice)


def test_versions_of_a_deleted_namesake_are_not_its_versions(create: Create, alice: Actor):
    create(failure_threshold=7)
    edit(alice, failure_threshold=8)
    services.breaker_delete(name="data_service", reason="", by=alice)
    create(failure_threshold=3)
    assert [change.after["failure_threshold"] for change in selectors.versions("data_service")] == [3]
    with pytest.raises(UnknownVersion):
        services.breaker_restore(name="data_service", version=2, by=alice)


def test_a_deleted_breaker_is_not_restored(create: Create, alice: Actor):
    create()
    services.breaker_delete(name="data_service", reason="", by=alice)
    with pytest.raises(NotFound):
        services.breaker_restore(name="data_service", version=1, by=alice)


def test_a_restore_loses_the_race(create: Create, alice: Actor):
    create()
    edit(alice, failure_threshold=8)
    edit(alice, failure_threshold=9)
    with pytest.raises(VersionConflict):
        services.breaker_restore(name="data_service", version=1, by=alice, expected_version=2)
    assert selectors.breaker("data_service").failure_threshold == 9


def test_a_registered_version_can_be_restored(alice: Actor):
    services.breakers_register(registrations=[Registration("data_service", {"failure_threshold": 4})], service="s")
    edit(alice, failure_threshold=8)
    assert services.breaker_restore(name="data_service", version=1, by=alice).failure_threshold == 4


def test_resets_and_overrides_are_no_versions(create: Create, alice: Actor):
    create()
    services.breaker_reset(name="data_service", reason="", by=alice)
    assert [change.kind for change in selectors.versions("data_service")] == ["created"]


# --- documents --------------------------------------------------------------------------------------------------


def exported(**how: bool) -> str:
    return documents.dump(selectors.desired_state().breakers.values(), **how)


def changed(text: str, name: str = "data_service", **config: object) -> str:
    document = yaml.safe_load(text)
    document["breakers"][name]["config"].update(config)
    return yaml.safe_dump(document)


def take(text: str, alice: Actor):
    return services.configs_import(entries=documents.parse(text), reason="imported", by=alice)


def test_an_export_is_written_breaker_by_breaker_and_yet_one_document(create: Create):
    assert yaml.safe_load(exported()) == {"format": 1, "breakers": {}}
    for number in range(3):
        create(f"b-{number}", group="ü: '#", description="two\nlines", failure_threshold=number + 1)
    document = yaml.safe_load(exported())
    assert list(document["breakers"]) == ["b-0", "b-1", "b-2"]
    at_once = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    assert exported() == at_once


def test_what_is_exported_comes_back_without_a_change(create: Create, alice: Actor):
    create(timeout=None, failure_rate_threshold=0.5, group="core", description="two\nlines: \u00fc # no comment")
    create("b", window_type="time", recovery_timeout=0.1)
    plan = take(exported(), alice)
    assert [line.action for line in plan.lines] == ["same", "same"]
    assert selectors.current_revision() == 2


def test_an_import_builds_an_empty_control_plane_anew(create: Create, alice: Actor):
    given = create(timeout=None, group="core", description="words", failure_threshold=9)
    text = exported()
    services.breaker_delete(name="data_service", reason="", by=alice)
    assert [line.action for line in take(text, alice).lines] == ["create"]
    row = selectors.breaker("data_service")
    assert row.settings() == given.settings()
    assert kinds("data_service")[-1] == ("created", "imported")


def test_a_plan_shows_the_difference_and_writes_nothing(create: Create):
    create()
    text = changed(exported(), failure_threshold=8, recovery_timeout=1)
    (line,) = services.configs_plan(entries=documents.parse(text)).lines
    assert (line.action, line.version) == ("edit", 1)
    assert line.differences == {"failure_threshold": (5, 8), "recovery_timeout": (60.0, 1.0)}
    assert "a probe every second" in line.warnings[0]
    assert selectors.current_revision() == 1


def test_an_import_edits_what_differs_and_leaves_what_it_does_not_name(create: Create, alice: Actor):
    create()
    create("b")
    text = changed(exported(), failure_threshold=8)
    create("later")
    plan = take(text, alice)
    assert {line.name: line.action for line in plan.lines} == {"data_service": "edit", "b": "same"}
    assert (plan.writes, plan.hindrances) == (1, {})
    assert {row.name: row.version for row in BreakerConfig.objects.all()} == {"data_service": 2, "b": 1, "later": 1}
    take(text, alice)  # once more: what it says stands already
    assert selectors.breaker("data_service").version == 2


def test_an_import_that_lost_a_race_writes_nothing_at_all(create: Create, alice: Actor):
    create()
    create("b")
    text = changed(changed(exported(), failure_threshold=8), "b", failure_threshold=8)
    edit(alice, "b", success_threshold=9)
    with pytest.raises(ImportRefused) as refused:
        take(text, alice)
    assert set(refused.value.plan.hindrances) == {"b"}
    assert "it is at version 2 now, the document was made of version 1" in str(refused.value)
    assert selectors.breaker("data_service").failure_threshold == 5
    assert selectors.breaker("b").success_threshold == 9


def test_a_document_without_versions_goes_over_whatever_stands(create: Create, alice: Actor):
    create()
    text = changed(exported(versions=False), failure_threshold=8)
    edit(alice, success_threshold=9)
    assert take(text, alice).writes == 1
    row = selectors.breaker("data_service")
    assert (row.failure_threshold, row.success_threshold) == (8, 3)


def test_absent_fields_keep_what_stands_and_take_the_default_where_nothing_does(create: Create, alice: Actor):
    create(failure_threshold=9, group="core")
    take("format: 1\nbreakers: {data_service: {config: {success_threshold: 2}}, new: {}}", alice)
    row, new = selectors.breaker("data_service"), selectors.breaker("new")
    assert (row.failure_threshold, row.success_threshold, row.group) == (9, 2, "core")
    assert (new.failure_threshold, new.version) == (5, 1)


def test_what_is_left_to_code_stays_so(alice: Actor):
    services.breakers_register(registrations=[Registration("data_service", {"failure_threshold": 4})], service="s")
    text = exported()
    assert [line.action for line in take(text, alice).lines] == ["same"]
    assert not selectors.breaker("data_service").managed
    services.breaker_delete(name="data_service", reason="", by=alice)
    assert [line.action for line in take(text, alice).lines] == ["left to code"]
    assert not BreakerConfig.objects.exists()


def test_a_rule_that_only_the_whole_breaks_is_a_hindrance(create: Create, alice: Actor):
    create()
    with pytest.raises(ImportRefused) as refused:
        take("format: 1\nbreakers: {data_service: {config: {window_size: 10}}}", alice)
    assert "minimum_calls must be at most window_size (10)" in refused.value.plan.hindrances["data_service"]
    assert selectors.current_revision() == 1


WRONG = [
    ("", {"document": "must be a mapping"}),
    ("[]", {"document": "must be a mapping"}),
    ("a: [", {"document": "is not YAML"}),
    ("breakers: {}", {"format": "must be 1"}),
    ("format: 2\nbreakers: {}", {"format": "must be 1"}),
    ("format: 1\nmore: 1", {"more": "no such key"}),
    ("format: 1\nbreakers: []", {"breakers": "must be a mapping"}),
    ("format: 1\nbreakers: {a b: {}}", {"breakers.a b": "must be 1 to 100"}),
    ("format: 1\nbreakers: {reset-all: {}}", {"breakers.reset-all": "must be 1 to 100"}),
    ("format: 1\nbreakers: {7: {}}", {"breakers.7": "must be 1 to 100"}),
    ("format: 1\nbreakers: {a: 1}", {"breakers.a": "must be a mapping"}),
    ("format: 1\nbreakers: {a: {x: 1}}", {"breakers.a.x": "no such key"}),
    ("format: 1\nbreakers: {a: {version: 0}}", {"breakers.a.version": "must be an integer >= 1"}),
    ("format: 1\nbreakers: {a: {version: true}}", {"breakers.a.version": "must be an integer >= 1"}),
    ("format: 1\nbreakers: {a: {managed: 1}}", {"breakers.a.managed": "must be true or false"}),
    ("format: 1\nbreakers: {a: {group: on}}", {"breakers.a.group": "must be text"}),
    ("format: 1\nbreakers: {a: {config: []}}", {"breakers.a.config": "must be a mapping"}),
    ("format: 1\nbreakers: {a: {config: {timeout: -1}}}", {"breakers.a.config.timeout": "must be a finite number"}),
    ("format: 1\nbreakers: {a: {config: {timeout: .nan}}}", {"breakers.a.config.timeout": "must be a finite number"}),
    ("format: 1\nbreakers: {a: {config: {timeot: 1}}}", {"breakers.a.config.timeot": "no such field"}),
    ("format: 1\nbreakers: {a: {}, a: {}}", {"document": "'a' stands there twice"}),
    ("format: 1\nbreakers: &x {a: {}}\nb: *x", {"document": "aliases are not read"}),
    ("format: 1\nbreakers: " + "[" * 5000, {"document": "is not YAML"}),
    ("format: 1\nbreakers: {a: 2026-99-99}", {"document": "is not YAML"}),
    ("format: 1\nbreakers: {a: !!python/object/apply:os.system [x]}", {"document": "is not YAML"}),
]


@pytest.mark.parametrize(("text", "problems"), WRONG)
def test_each_wrong_place_of_a_document_is_named(text, problems):
    with pytest.raises(ConfigError) as wrong:
        documents.parse(text)
    assert wrong.value.fields.keys() == problems.keys()
    for place, problem in problems.items():
        assert problem in wrong.value.fields[place]


def test_every_wrong_place_is_named_at_once():
    with pytest.raises(ConfigError) as wrong:
        documents.parse("breakers: {a: {config: {timeout: -1, max_retries: x}}, b c: {group: 1}}")
    assert wrong.value.fields.keys() == {
        "format", "breakers.a.config.timeout", "breakers.a.config.max_retries", "breakers.b c", "breakers.b c.group",
    }  # fmt: skip


# --- commands ---------------------------------------------------------------------------------------------------


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def test_export_and_import_by_command(create: Create, tmp_path: Path):
    create()
    file = tmp_path / "configs.yaml"
    file.write_text(changed(run("export_configs"), failure_threshold=8))
    dry = run("import_configs", str(file), "--dry-run")
    assert "~ data_service: edit" in dry
    assert "failure_threshold: 5 -> 8" in dry
    assert "1 of 1 breakers would be written." in dry
    assert selectors.breaker("data_service").version == 1
    assert "1 of 1 breakers written." in run("import_configs", str(file), "--reason", "INC-1")
    change = ConfigChange.objects.get(kind="edited")
    assert (change.actor, change.reason) == ("system", "INC-1")
    assert "version" not in yaml.safe_load(run("export_configs", "--without-versions"))["breakers"]["data_service"]


def test_a_lost_race_fails_the_command_dry_or_not(create: Create, alice: Actor, tmp_path: Path):
    create()
    file = tmp_path / "configs.yaml"
    file.write_text(changed(run("export_configs"), failure_threshold=8))
    edit(alice, success_threshold=9)
    for arguments in (["--dry-run"], []):
        with pytest.raises(CommandError):
            run("import_configs", str(file), *arguments)
    assert selectors.breaker("data_service").version == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(CommandError, match="No such file"):
        run("import_configs", str(tmp_path / "none.yaml"))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("format: 1\nbreakers: {a: {config: {timeout: -1}}}")
    with pytest.raises(CommandError, match=r"breakers\.a\.config\.timeout: must be"):
        run("import_configs", str(wrong))
