"""History leaves as CSV and JSON, whole and in order, piece by piece; and goes when nobody keeps it."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from breakers import exports, selectors, services
from breakers.agents.chores import prune
from breakers.models import BreakerConfig, InstanceIdentity, StateChange
from breakers.rounds import Chore, Rounds
from breakers.services import Actor
from tests.servers import eventually

pytestmark = pytest.mark.django_db
Create = Callable[..., BreakerConfig]


@pytest.fixture
def many(identity: Callable[..., InstanceIdentity]) -> Callable[[int], UUID]:
    """``many(5)``: so many transitions of one instance, ten of them at a time, and the instance."""

    def make(number: int, **values: Any) -> UUID:
        instance, now = uuid4(), timezone.now()
        given = {"breaker": "data_service", "service": "trading", "from_state": "closed", "to_state": "open"}
        given |= {"reason": "failure_rate", "cause": "62 % failed", "epoch": 1, "failures": 5, "calls": 9, **values}
        rows = [
            StateChange(
                instance=instance,
                sequence=n + 1,
                at=now - timedelta(minutes=(number - n) // 10),
                received_at=now,
                **given,
            )
            for n in range(number)
        ]
        StateChange.objects.bulk_create(rows, batch_size=1000)
        return instance

    return make


def read(form: exports.Form, rows=None, table: exports.Table = exports.TRANSITIONS) -> str:
    return b"".join(exports.stream(selectors.history() if rows is None else rows, table, form)).decode()


def csv_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- content ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, exports.PIECE - 1, exports.PIECE, exports.PIECE + 1, 2 * exports.PIECE + 5])
def test_every_row_is_there_once_newest_first_however_many_pieces_it_takes(many, number: int):
    many(number)
    expected = [str(pk) for pk in selectors.history().values_list("pk", flat=True)]
    assert [row["id"] for row in csv_of(read("csv"))] == expected
    assert [str(row["id"]) for row in json.loads(read("json"))] == expected


def test_a_row_says_what_the_page_says(many):
    instance = many(1, failure_rate=0.62)
    (row,) = json.loads(read("json"))
    stands = StateChange.objects.get()
    assert row["at"] == stands.at.isoformat()
    assert (row["name"], row["service"], row["instance"]) == ("data_service", "trading", str(instance))
    assert (row["from_state"], row["to_state"], row["reason"]) == ("closed", "open", "failure_rate")
    assert (row["failures"], row["calls"], row["failure_rate"]) == (5, 9, 0.62)
    (line,) = csv_of(read("csv"))
    assert line == {name: str(value) for name, value in row.items()}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_no_cell_is_a_formula(many, start: str):
    many(1, cause=f"{start}cmd|' /C calc'!A0")
    (line,) = csv_of(read("csv"))
    assert line["cause"] == f"'{start}cmd|' /C calc'!A0"
    assert json.loads(read("json"))[0]["cause"].startswith(start)


def test_text_with_commas_quotes_and_lines_comes_back(many):
    cause = 'a, "b"\nc; ü 💥'
    many(1, cause=cause)
    assert csv_of(read("csv"))[0]["cause"] == cause
    assert json.loads(read("json"))[0]["cause"] == cause


def test_the_audit_leaves_too(create: Create, alice: Actor):
    create(group="core")
    services.breaker_reset(name="data_service", reason="INC-1", by=alice)
    rows = json.loads(read("json", selectors.changes(), exports.CHANGES))
    assert [(row["kind"], row["actor"], row["reason"], row["revision"]) for row in rows] == [
        ("reset", "user:alice", "INC-1", 2),
        ("created", "user:alice", "because", 1),
    ]
    assert rows[1]["after"]["group"] == "core"
    line = csv_of(read("csv", selectors.changes(), exports.CHANGES))[1]
    assert json.loads(line["after"])["group"] == "core"


def test_a_piece_is_all_that_is_held(many, monkeypatch):
    def peak_of() -> int:
        tracemalloc.start()
        for _ in exports.stream(selectors.history(), exports.TRANSITIONS, "json"):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    monkeypatch.setattr(exports, "PIECE", 50)
    many(400)
    peak_of()
    small = peak_of()
    many(1600)
    peak_of()
    assert peak_of() < 2 * small, "five times the rows, and the memory of a piece"


# --- filters ----------------------------------------------------------------------------------------------------


def test_changes_are_found_by_actor_reason_instance_and_time(create: Create, alice: Actor):
    create()
    instance = uuid4()
    bob = Actor("user", "bob")
    services.breaker_reset(name="data_service", reason="INC-17 again", by=bob, instance=instance)
    begun = timezone.now()
    assert [change.kind for change in selectors.changes(actor="user:bob")] == ["reset"]
    assert [change.kind for change in selectors.changes(reason="inc-17")] == ["reset"]
    assert [change.kind for change in selectors.changes(instance=instance)] == ["reset"]
    assert not selectors.changes(instance=uuid4()).exists()
    assert not selectors.changes(reason="INC-18").exists()
    assert not selectors.changes(since=begun).exists()
    assert selectors.changes(until=begun).count() == 2


# --- over HTTP --------------------------------------------------------------------------------------------------


def test_files_are_streamed_with_the_filters_of_the_page(many, key, create: Create, client: Client):
    secret = {"authorization": f"Bearer {key('read')}"}
    create()
    many(12)
    other = many(3, breaker="other", to_state="half_open")

    def body(path: str) -> str:
        answer = client.get(path, headers=secret)
        assert answer.status_code == 200, answer.content
        assert answer.streaming
        return b"".join(answer.streaming_content).decode()

    assert len(csv_of(body("/circuit-breakers/data_service/history.csv"))) == 12
    assert len(json.loads(body("/history.json"))) == 15
    assert len(json.loads(body("/history.json?to_state=half_open"))) == 3
    assert len(json.loads(body(f"/history.json?instance={other}"))) == 3
    assert len(json.loads(body("/circuit-breakers/other/history.json"))) == 3
    assert len(json.loads(body("/changes.json?actor=user:alice"))) == 1
    assert len(csv_of(body("/circuit-breakers/data_service/changes.csv?reason=nothing"))) == 0
    answer = client.get("/circuit-breakers/data_service/history.csv", headers=secret)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="data_service-history.csv"'
    assert client.get("/circuit-breakers/nobody/history.csv", headers=secret).status_code == 404
    assert client.get("/history.json?to_state=ajar", headers=secret).status_code == 400
    assert client.get("/history.csv").status_code == 401


# --- pruning and chores -----------------------------------------------------------------------------------------


def test_pruning_goes_on_past_one_batch_and_keeps_the_last_of_each(many, monkeypatch):
    from breakers.services import transitions

    monkeypatch.setattr(transitions, "_PRUNED_AT_ONCE", 7)
    many(50)
    many(20, breaker="other")
    assert services.history_prune(before=timezone.now() + timedelta(days=1)) == 68
    assert {row.breaker: row.sequence for row in StateChange.objects.all()} == {"data_service": 50, "other": 20}


def test_a_server_prunes_by_its_setting(many, settings):
    settings.CIRCUIT_BREAKER_HISTORY_DAYS = 1
    many(30)
    StateChange.objects.filter(sequence__lte=10).update(at=timezone.now() - timedelta(days=2))
    prune()
    assert StateChange.objects.count() == 20


def test_rounds_go_on_after_trouble_and_end_when_told():
    seen: list[str] = []

    def troubled() -> None:
        seen.append("trouble")
        raise OSError("no")

    rounds = Rounds("test", Chore(troubled, 0.01), Chore(lambda: seen.append("well"), 0.01), Chore(seen.clear, 9, 999))
    rounds.start()
    rounds.start()
    eventually(lambda: seen.count("trouble") >= 2 and seen.count("well") >= 2)
    rounds.stop()
    after = len(seen)
    rounds.stop()
    assert len(seen) == after
    rounds.start()
    eventually(lambda: len(seen) > after)
    rounds.stop()
