"""What the server tells agents in several messages, and what it writes for them, piece by piece."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event

import pytest
from django.db import OperationalError, connection

from breakers.agents import messages, writer
from breakers.agents.codes import LAGGING, CloseCode
from breakers.agents.hub import LONGEST_LAG, PATIENCE, AgentLink, Hub
from breakers.core.config import CircuitBreakerConfig
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.states import CircuitBreakerState
from breakers.core.sync import Sync
from breakers.core.wire import (
    MAX_BYTES,
    Ack,
    Desired,
    DesiredBreaker,
    Report,
    ResetCommand,
    TransitionReport,
    decode_from_server,
)
from breakers.fleet import fleet
from breakers.models import Instance, InstanceIdentity, StateChange
from breakers.testing import FakeClock
from tests.servers import eventually

NAMES = [f"{'n' * 80}.{number}" for number in range(2500)]


def identity() -> InstanceIdentity:
    return InstanceIdentity(uuid.uuid4(), "service", "host", 1, "test", datetime.now(UTC))


def transition(sequence: int) -> TransitionReport:
    closed, opened = CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN
    return TransitionReport(sequence, "api", closed, opened, "failure_rate", "cause", at=1e9)


# --- large desired states -----------------------------------------------------------------------------------------


def desired(*, since: int | None) -> Desired:
    """All but the first, the newest first; every tenth shares its revision with the nine before it."""
    rows = tuple(
        DesiredBreaker(name, 1000 + number // 10, config=CircuitBreakerConfig(name=name, success_threshold=7).as_dict())
        for number, name in reversed(list(enumerate(NAMES[1:])))
    )
    resets = tuple(ResetCommand(str(uuid.uuid4()), name) for name in NAMES)
    return Desired(revision=2000, since=since, breakers=rows, resets=resets)


class Process:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = CircuitBreakerRegistry(clock=self.clock)
        for name in NAMES:
            self.registry.get_or_create(name)
        self.sync = Sync(self.registry, service="s", library="l", clock=self.clock)
        self.sync.hello()
        self.sync.receive(Desired(revision=900, breakers=(DesiredBreaker(NAMES[0], 900, config={}),)))

    def hear(self, text: str) -> None:
        message = decode_from_server(text)
        assert message is not None
        self.sync.receive(message)

    def applied(self) -> int:
        return sum(breaker.config.success_threshold == 7 for breaker in self.registry.all())


def test_what_fits_is_one_message() -> None:
    assert len(messages.encoded(Desired(revision=3), list)) == 1


@pytest.mark.parametrize("since", [None, 900])
def test_a_desired_state_over_a_message_is_cut_and_claims_nothing_before_it_is_out(since: int | None) -> None:
    process, texts = Process(), messages.encoded(desired(since=since), lambda: NAMES)
    assert len(texts) > 2
    for text in texts:
        assert len(text) <= MAX_BYTES
        process.hear(text)
        newest = min(process.sync.revision, 1249)
        assert process.applied() >= min(len(NAMES) - 1, (newest - 1000 + 1) * 10)
    assert process.applied() == len(NAMES) - 1
    assert process.sync.revision == 2000
    assert {key for report in iter(lambda: process.sync.report(heartbeat=False), None) for key in report.resets} == {
        reset.id for reset in desired_resets(texts)
    }


def desired_resets(texts: list[str]) -> list[ResetCommand]:
    return [reset for text in texts for reset in decode_from_server(text).resets]  # type: ignore[union-attr]  # all Desired


def test_a_whole_that_is_cut_still_deletes_what_it_leaves_out() -> None:
    process = Process()
    for text in messages.encoded(desired(since=None), lambda: NAMES):
        process.hear(text)
    left_out = process.registry.get(NAMES[0])
    assert left_out is not None
    assert left_out.config_version is None


# --- who confirms, and who does not -------------------------------------------------------------------------------


class Socket:
    """What a hub says to an agent, and why it sends it away."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.dismissed: list[CloseCode] = []

    async def send(self, text: str) -> None:
        self.said.append(text)

    async def close(self, why: CloseCode) -> None:
        self.dismissed.append(why)


def link_of(socket: Socket) -> AgentLink:
    link = AgentLink(identity(), [], socket.send, socket.close, key=1)
    link.covered = link.told = 5
    return link


async def test_an_agent_that_confirms_nothing_for_a_minute_is_sent_away() -> None:
    socket = Socket()
    link = link_of(socket)
    await Hub().heard(link, 3)
    assert (len(socket.said), socket.dismissed) == (1, [])
    link.told_at -= PATIENCE
    assert link.lagging_since is not None
    link.lagging_since -= LONGEST_LAG
    await Hub().heard(link, 3)
    assert socket.dismissed == [LAGGING]


async def test_an_agent_that_has_just_been_told_is_given_time() -> None:
    socket = Socket()
    link = link_of(socket)
    link.told_at = time.monotonic()
    await Hub().heard(link, 3)
    assert socket.said == []


async def test_an_agent_that_confirms_after_all_starts_over() -> None:
    socket = Socket()
    link = link_of(socket)
    link.lagging_since = time.monotonic() - LONGEST_LAG
    await Hub().heard(link, 5)
    await Hub().heard(link, 3)
    assert socket.dismissed == []


async def test_who_left_is_told_nothing_more() -> None:
    hub, link = Hub(), link_of(Socket())
    await hub.join(link)
    assert hub.links() == [link]
    hub.leave(link)
    assert hub.links() == []


# --- the queue and the database -----------------------------------------------------------------------------------


async def test_the_queue_has_a_bound() -> None:
    link = link_of(Socket())
    report = Report(1, 1e9, transitions=tuple(transition(number) for number in range(1, 501)))
    queue = writer.Writer()
    assert all(queue.record(link, report) for _ in range(writer.MOST_QUEUED // 500))
    assert not queue.record(link, report)


async def test_what_is_being_written_counts_to_the_bound_until_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_QUEUED", 4)
    queue, link = writer.Writer(), link_of(Socket())
    report = Report(1, 1e9, transitions=(transition(1), transition(2)))
    assert queue.record(link, report)
    assert queue._next() is not None
    assert queue.record(link, report)
    assert not queue.record(link, report), "two are being written, two wait"
    queue._write(writer.Batch())
    assert queue.record(link, report)


def test_who_was_forgotten_and_is_here_twice_before_it_is_written_was_forgotten() -> None:
    queue, who = writer.Writer(), identity()
    queue.note(who, [], forgotten=True)
    queue.note(who, [])
    batch = queue._next()
    assert batch is not None
    assert batch.identities == {who.id: (who, True)}


async def test_an_acknowledgement_takes_back_nothing_that_stands() -> None:
    socket = Socket()
    link = link_of(socket)
    link.recorded = 9
    await writer._send_acks([(link, Report(3, 1e9, transitions=(transition(5),)))])
    assert [decode_from_server(text) for text in socket.said] == [Ack(id=3, sequence=9)]


async def test_of_several_reports_of_a_link_the_newest_is_acknowledged() -> None:
    socket = Socket()
    link = link_of(socket)
    writer._acknowledge([(link, Report(number, 1e9, transitions=(transition(number),))) for number in (1, 2, 3)])
    async with asyncio.timeout(60):
        while not socket.said:
            await asyncio.sleep(0)  # the loop passes what it was told
    assert [decode_from_server(text) for text in socket.said] == [Ack(id=3, sequence=3)]


def database_is_away(*_: object) -> None:
    raise OperationalError("database is locked")


@pytest.mark.django_db(transaction=True)
async def test_who_must_end_before_the_database_answers_acknowledges_nothing_and_forgets_nothing() -> None:
    socket, queue, done = Socket(), writer.Writer(), list[str]()
    link = link_of(socket)
    fleet.connect(link.identity, datetime.now(UTC))
    queue.record(link, Report(1, 1e9, transitions=(transition(1),)))
    queue.persist([link.identity.id], lambda: done.append("persisted"))
    queue.stop(0.0)
    batch = queue._next()
    assert batch is not None

    def write() -> None:
        with connection.execute_wrapper(database_is_away):
            queue._write(batch)
        connection.close()

    await asyncio.to_thread(write)
    await asyncio.sleep(0)  # an acknowledgement would have been sent by now
    assert (socket.said, done) == ([], [])
    assert link.identity.id in fleet.behind()


@pytest.mark.django_db(transaction=True)
def test_a_transition_that_no_database_takes_does_not_cost_the_others(caplog: pytest.LogCaptureFixture) -> None:
    who = identity()
    impossible = TransitionReport(2**70, "api", CircuitBreakerState.CLOSED, CircuitBreakerState.OPEN, "", "", at=1e9)
    writer._record([(who, transition(1)), (who, impossible), (who, transition(2))])
    assert sorted(StateChange.objects.values_list("sequence", flat=True)) == [1, 2]
    assert "left out" in caplog.text


# --- what a whole fleet has counted -------------------------------------------------------------------------------


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> Iterator[writer.Writer]:
    """A writer that rests for hours after each part, before whom half a hundred instances have something to be kept."""
    monkeypatch.setattr(writer, "REST", 1e7)
    queue = writer.Writer()
    for _ in range(2 * writer.PART + 10):
        fleet.connect(identity(), datetime.now(UTC))
    queue.start()
    yield queue
    queue.stop(5.0)


def kept() -> int:
    return Instance.objects.count()


@pytest.mark.django_db(transaction=True)
def test_what_a_fleet_has_counted_is_written_part_by_part_and_all_that_is_left_in_the_end(
    resting: writer.Writer,
) -> None:
    resting.keep()
    eventually(lambda: kept() == writer.PART, what="the first part is written")
    resting.keep()  # asked again, it rests all the same
    resting.stop(5.0)
    assert kept() == 2 * writer.PART + 10
    assert fleet.behind() == []


@pytest.mark.django_db(transaction=True)
def test_transitions_and_who_leaves_wait_for_no_part(resting: writer.Writer) -> None:
    async def linked() -> AgentLink:
        return link_of(Socket())

    leaving, link, left = fleet.behind()[-1], asyncio.run(linked()), Event()
    resting.keep()
    eventually(lambda: kept() == writer.PART, what="the first part is written")
    assert resting.record(link, Report(1, 1e9, transitions=(transition(1),)))
    eventually(StateChange.objects.exists, what="the transition stands in the database")
    resting.persist([leaving], left.set)
    assert left.wait(20.0)
    assert Instance.objects.filter(pk=leaving).exists()
    assert kept() < writer.PART + 5
