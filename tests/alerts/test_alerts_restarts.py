"""Who is told of what while servers end and begin: nothing is lost, nothing is told twice, nobody is told of an end
that is none."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.engines import Postgres
from tests.receiver import Receiver
from tests.redis_server import RedisServer
from tests.servers import ServerProcess, eventually

from .conftest import OnCall, Start, open_to_readers, rules

CHANGED_MEANWHILE = """
from django.utils import timezone
from breakers import services
from breakers.models import NotificationRule
services.notification_rule_delete(name="deleted")
moved = NotificationRule.objects.get(name="moved")
moved.address += "-elsewhere"
services.notification_rule_save(rule=moved, by=services.Actor("system"), now=timezone.now())
"""
MIGRATED = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("create_api_key", "tests", scopes="agent,read,operate")
"""
FIRING, OVER = ("firing", "open"), ("resolved", "open")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    made = open_to_readers(ServerProcess(tmp_path))
    made.prepare()
    yield made
    made.stop()


def an_hour_earlier(server: ServerProcess, name: str) -> None:
    """What the breaker did happened then."""
    with closing(sqlite3.connect(server.database, timeout=10)) as database, database:
        query = "UPDATE breakers_statechange SET at = datetime(at, '-1 hour') WHERE breaker = ?"
        assert database.execute(query, (name,)).rowcount


def test_a_restart_amid_alerts(server: ServerProcess, receiver: Receiver, start_service: Start) -> None:
    """One breaker stays open, one closes while the server is down, one no longer flaps; one rule goes, one moves."""
    server.start()
    stays, deleted, moved = rules(server, receiver, "stays", "deleted", "moved")
    service = start_service(server)
    service.ask("breaker", name="lasting", failure_threshold=1, recovery_timeout=3600.0)
    service.ask("breaker", name="passing", failure_threshold=1, success_threshold=1, recovery_timeout=0.1)
    service.ask("breaker", name="calming", failure_threshold=1)
    service.ask("storm", name="calming", transitions=6)
    for name in ("lasting", "passing"):
        service.ask("call", name=name, times=1)
    for each in (stays, deleted, moved):
        each.hears("lasting", "open")
        each.hears("passing", "ready_to_probe")
        each.hears("calming", "flapping")
    server.stop()
    server.python(CHANGED_MEANWHILE)
    an_hour_earlier(server, "calming")
    assert service.ask("call", name="passing", times=1, ok=True) == {"succeeded": 1}
    before = len(deleted.told())
    server.start()
    elsewhere = OnCall(receiver, "moved-elsewhere")
    for each in (stays, elsewhere):
        each.hears_the_end("passing", "ready_to_probe")
        each.hears_the_end("calming", "flapping")
    assert stays.told("lasting") == moved.told("lasting") == [FIRING]
    assert elsewhere.told("lasting") == []
    service.linked()
    server.request("POST", "/circuit-breakers/lasting/reset")
    for each in (stays, elsewhere):
        each.hears_the_end("lasting", "open")
    assert stays.told("lasting") == [FIRING, OVER]
    assert len(deleted.told()) == before


def test_reports_dropped_by_a_service_that_stormed_while_no_server_was_there(
    server: ServerProcess, receiver: Receiver, start_service: Start
) -> None:
    service = start_service(None)
    service.ask("breaker", name="stormy", failure_threshold=1)
    service.ask("connect", service="stormy_service", url=server.url, token=server.token)
    service.ask("storm", name="stormy", transitions=10_004)
    eventually(lambda: not service.ask("storming"))
    (on_call,) = rules(server, receiver, "of-gaps")
    server.start()
    told = on_call.hears("stormy_service", "reports_dropped")
    assert told["message"] == "4 transitions of 1 instance were never reported: the history has gaps"
    assert told["link"] == f"{server.url}/dashboard/instances"
    assert "4 transitions of 1 instance were never reported" in on_call.looks_at(told)
    service.kill()  # what it has still to tell is another matter


def test_two_servers_on_one_postgresql_send_each_message_once(
    tmp_path: Path, receiver: Receiver, start_service: Start
) -> None:
    """Also where the one that sends is killed: the other goes on, and repeats nothing."""
    with ExitStack() as stack:
        redis, postgres = stack.enter_context(RedisServer(tmp_path)), stack.enter_context(Postgres())
        shared = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "DJANGO_SECRET_KEY": secrets.token_hex(32),
        }
        first, second = (open_to_readers(_server(tmp_path / name, shared, stack)) for name in ("first", "second"))
        first.token = second.token = first.python(MIGRATED).strip()
        first.start()
        eventually(lambda: postgres.run("SELECT count(*) FROM breakers_lease WHERE name = 'notifications'") == "1")
        second.start()
        (on_call,) = rules(first, receiver, "once")
        service = start_service(second)
        for name in ("one", "two"):
            service.ask("breaker", name=name, failure_threshold=1, recovery_timeout=3600.0)
        service.ask("call", name="one", times=1)
        on_call.hears("one", "open")
        delivered = "SELECT count(*) FROM breakers_delivery WHERE status = 'delivered'"
        eventually(lambda: postgres.run(delivered) == "1", what="that it was sent is recorded")
        first.kill()
        service.ask("call", name="two", times=1)
        assert on_call.hears("two", "open", within=120)["link"].startswith(second.url)
        second.request("POST", "/circuit-breakers/one/reset")
        on_call.hears_the_end("one", "open")
        assert on_call.told() == [FIRING, FIRING, OVER]


def _server(folder: Path, environment: dict[str, str], stack: ExitStack) -> ServerProcess:
    folder.mkdir()
    made = ServerProcess(folder, environment=environment, tuned=True)
    stack.callback(made.stop)
    return made
