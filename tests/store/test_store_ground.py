"""What stands below the services: constraints, migrations, commands, checks, hints."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import get_channel_layer
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from breakers import checks, publish, selectors, services
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, HttpConfig
from breakers.core.errors import ConfigError
from breakers.models import BreakerConfig, ConfigChange, Revision, StateChange
from breakers.services import authenticate_key
from tests.servers import ROOT, ServerProcess

Create = Callable[..., BreakerConfig]

_GRANTED = """
SELECT auth_group.name, codename FROM auth_group
JOIN auth_group_permissions ON group_id = auth_group.id
JOIN auth_permission ON permission_id = auth_permission.id
"""

# --- the database itself ----------------------------------------------------------------------------------------

WRONG = [
    {"failure_threshold": -1},
    {"failure_threshold": 2147483648},
    {"recovery_timeout": 0},
    {"recovery_timeout": math.inf},
    {"timeout": 0},
    {"timeout": math.inf},
    {"success_threshold": 0},
    {"window_type": "other"},
    {"window_size": 0},
    {"minimum_calls": 0},
    {"minimum_calls": 101},
    {"failure_rate_threshold": 0},
    {"failure_rate_threshold": 1.01},
    {"slow_call_rate_threshold": 0.5},
    {"slow_call_duration": -1},
    {"half_open_max_calls": 0},
    {"recovery_backoff": 0.9},
    {"recovery_backoff": math.inf},
    {"max_recovery_timeout": 0},
    {"recovery_jitter": -0.1},
    {"recovery_jitter": 1.1},
    {"max_retries": -1},
    {"retry_backoff": 0},
    {"max_retry_wait": 0},
    {"override": "closed"},
    {"version": 0},
    {"name": ""},
    {"name": "reset-all"},
]
RIGHT = [
    {"failure_threshold": 0},
    {"failure_threshold": 2147483647},
    {"timeout": None},
    {"window_type": "time", "minimum_calls": 101},
    {"failure_rate_threshold": 1},
    {"slow_call_duration": 1, "slow_call_rate_threshold": 1},
    {"recovery_jitter": 0},
    {"recovery_backoff": 1},
    {"recovery_timeout": 1.7e308},
]


@pytest.mark.django_db
@pytest.mark.parametrize("values", WRONG, ids=str)
def test_the_database_refuses_what_the_library_refuses(create: Create, values: dict[str, object]):
    create()
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        BreakerConfig.objects.update(**values)


@pytest.mark.django_db
@pytest.mark.parametrize("values", RIGHT, ids=str)
def test_the_database_takes_what_the_library_takes(create: Create, values: dict[str, object]):
    create()
    assert BreakerConfig.objects.update(**values) == 1
    assert selectors.breaker("data_service").config()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "field", [name for name, field in BREAKER_FIELDS.items() if field.kind in ("duration", "number")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_never_reaches_the_database(create: Create, field: str, value: float):
    row = create()
    setattr(row, field, value)
    with pytest.raises(ConfigError) as caught, transaction.atomic():
        row.save_as_next_revision(Revision.locked())
    assert set(caught.value.fields) == {field}
    assert selectors.current_revision() == 1


def test_every_field_of_the_library_is_a_column_with_its_default_and_its_words():
    row = BreakerConfig(name="default")
    assert row.config().as_dict() == dict(TABLE_DEFAULTS)
    assert row.http_config() == HttpConfig()
    for name, field in {**BREAKER_FIELDS, **HTTP_FIELDS}.items():
        assert BreakerConfig._meta.get_field(name).help_text == field.help


def test_defaults_of_the_columns_do_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "77")
    assert BreakerConfig().failure_threshold == 5


def of_the_migrations(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """From a database of its own: a test with real transactions empties the one of the suite."""
    server = ServerProcess(folder)
    server.prepare()
    with closing(sqlite3.connect(server.database)) as database:
        return database.execute(query).fetchall()


def test_there_is_one_revision_row_and_it_came_with_the_migrations(ground: None, tmp_path: Path):
    assert of_the_migrations(tmp_path, "SELECT id FROM breakers_revision") == [(1,)]
    with pytest.raises(IntegrityError), transaction.atomic():
        Revision.objects.create(pk=2)


@pytest.mark.django_db
def test_a_revision_is_used_once(create: Create):
    create()
    change = ConfigChange.objects.get()
    change.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        change.save()


@pytest.mark.django_db
def test_a_transition_is_there_once(identity, transition):
    services.transitions_record(batch=[(identity(), transition(1))])
    row = StateChange.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()


def test_models_and_migrations_agree(db: None):
    call_command("makemigrations", "breakers", check=True, dry_run=True, stdout=StringIO())


def test_the_groups_come_with_the_migrations(tmp_path: Path):
    view = {"view_breakerconfig", "view_statechange", "view_configchange", "view_instance"}
    act = {"reset_breaker", "override_breaker"}
    write = {"add_breakerconfig", "change_breakerconfig", "delete_breakerconfig"}
    found: dict[str, set[str]] = {}
    for group, permission in of_the_migrations(tmp_path, _GRANTED):
        found.setdefault(group, set()).add(permission)
    assert found == {"viewer": view, "operator": view | act, "editor": view | act | write}


# --- commands ---------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_new_key_is_alone_on_standard_output():
    secret = run("create_api_key", "trading_service", "--scopes", "agent, read")
    assert secret == secret.strip() + "\n"
    key = authenticate_key(secret.strip())
    assert (key.name, key.scopes, key.created_by) == ("trading_service", ["agent", "read"], "system")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["taken", "--scopes", "read"], "There is already a key named 'taken'"),
        (["k", "--scopes", "read,root"], "Scopes must be one or more of agent, read, operate."),
        (["k", "--scopes", ""], "Scopes must be one or more of"),
        (["", "--scopes", "read"], "Name must be"),
        (["k"], "--scopes"),
    ],
)
def test_a_key_that_cannot_be_made_is_a_sentence(key, arguments: list[str], words: str):
    key("read", name="taken")
    with pytest.raises(CommandError, match=r"^.+$") as caught:
        run("create_api_key", *arguments)
    assert words in str(caught.value)


@pytest.mark.django_db
def test_pruning_by_command_counts_what_it_deleted(identity, transition, settings):
    settings.CIRCUIT_BREAKER_HISTORY_DAYS = 7
    one = identity()
    services.transitions_record(batch=[(one, transition(n)) for n in (1, 2, 3)])
    for number, days in ((1, 40), (2, 8), (3, 6)):
        StateChange.objects.filter(sequence=number).update(at=timezone.now() - timedelta(days=days))
    assert run("prune_history", "--dry-run") == "2 transitions would be deleted, older than 7 days.\n"
    assert StateChange.objects.count() == 3
    assert run("prune_history", "--days", "30") == "1 transition deleted, older than 30 days.\n"
    assert run("prune_history") == "1 transition deleted, older than 7 days.\n"
    assert StateChange.objects.get().sequence == 3


@pytest.mark.django_db
@pytest.mark.parametrize("days", ["0", "-1", "36501", "x"])
def test_pruning_a_wrong_number_of_days_is_a_sentence(days: str):
    with pytest.raises(CommandError, match="days"):
        run("prune_history", "--days", days)


LOCKED_AFTER_THE_FIRST_PART = """
import sqlite3, uuid
from datetime import timedelta
from django.core.management import execute_from_command_line
from django.db import connection
from django.utils import timezone
from breakers.models import StateChange
from breakers.services import transitions

def old(number):
    at, one = timezone.now() - timedelta(days=30), uuid.UUID(int=1)
    states = {"from_state": "closed", "to_state": "open", "epoch": 1, "failures": 5, "calls": 5}
    return StateChange(breaker="x", service="s", instance=one, sequence=number, reason="failures", at=at, **states)

StateChange.objects.bulk_create(map(old, range(1, 27)))
transitions._PRUNED_AT_ONCE = 10
other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)

def lock(execute, sql, *rest):
    done = execute(sql, *rest)
    if sql.startswith("DELETE"):
        other.execute("BEGIN IMMEDIATE")
    return done

connection.cursor().execute("PRAGMA busy_timeout = 1")
with connection.execute_wrapper(lock):
    execute_from_command_line(["manage.py", "prune_history", "--days", "7"])
"""


def test_pruning_a_database_that_stays_locked_ends_with_a_sentence_after_whole_parts(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.prepare()
    done = subprocess.run(
        [sys.executable, "-c", f"import django\ndjango.setup()\n{LOCKED_AFTER_THE_FIRST_PART}"],
        cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "CommandError: The database does not answer: database is locked. "
        "What was deleted until then stays deleted; run it again for the rest.\n"
    )
    with closing(sqlite3.connect(server.database)) as database:
        assert database.execute("SELECT count(*) FROM breakers_statechange").fetchone() == (16,)


# --- checks -----------------------------------------------------------------------------------------------------


def test_public_reading_on_a_reachable_host_is_a_warning(settings):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    settings.ALLOWED_HOSTS = ["localhost", "breakers.example.com"]
    (warning,) = checks.public_read(None)
    assert (warning.id, "breakers.example.com" in warning.msg) == ("breakers.W001", True)


@pytest.mark.parametrize(
    "values",
    [
        {"CIRCUIT_BREAKER_PUBLIC_READ": False},
        {"DEBUG": True},
        {"ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"]},
    ],
)
def test_public_reading_where_nobody_reaches_it_is_no_warning(settings, values: dict[str, object]):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    settings.ALLOWED_HOSTS = ["*"]
    for name, value in values.items():
        setattr(settings, name, value)
    assert checks.public_read(None) == []


def test_a_history_of_no_days_is_an_error(settings):
    assert checks.history_days(None) == []
    settings.CIRCUIT_BREAKER_HISTORY_DAYS = 0
    assert [message.id for message in checks.history_days(None)] == ["breakers.E001"]


def test_sqlite_without_immediate_transactions_is_an_error(settings, monkeypatch: pytest.MonkeyPatch):
    database = settings.DATABASES["default"]
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(database, "OPTIONS", {"transaction_mode": "IMMEDIATE"})
    assert checks.immediate_transactions(None) == []
    monkeypatch.setitem(database, "OPTIONS", {})
    assert [message.id for message in checks.immediate_transactions(None)] == ["breakers.E002"]
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.postgresql")
    assert checks.immediate_transactions(None) == []


def test_our_checks_run_among_djangos():
    assert set(checks.ALL) <= set(registry.get_checks())


# --- hints ------------------------------------------------------------------------------------------------------


def test_a_subscriber_that_fails_keeps_nobody_from_waking(caplog: pytest.LogCaptureFixture):
    heard: list[str] = []

    def fail() -> None:
        heard.append("first")
        raise LookupError

    ends = [publish.subscribe(fail), publish.subscribe(lambda: heard.append("second"))]
    publish.wake()
    for end in ends:
        end()
        end()  # twice is harmless
    publish.wake()
    assert heard == ["first", "second"]
    assert "A subscriber to revisions failed" in caplog.text


async def test_a_message_of_another_process_wakes_this_one():
    woken = asyncio.Event()
    end = publish.subscribe(woken.set)
    listening = asyncio.create_task(publish.listen())
    try:
        async with asyncio.timeout(60):
            while not get_channel_layer().groups.get(publish.GROUP):
                await asyncio.sleep(0)
            await publish.send(7)
            await woken.wait()
    finally:
        listening.cancel()
        end()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert not get_channel_layer().groups.get(publish.GROUP)


@pytest.mark.django_db
def test_the_actor_reads_as_the_audit_writes_it(create: Create):
    create()
    services.breaker_reset(name="data_service", reason="", by=services.Actor("system"), instance=uuid4())
    assert ConfigChange.objects.order_by("-revision")[0].actor == "system"
    assert str(services.Actor("service", "x" * 300)) == "service:" + "x" * 192
