"""Reads let go first what must not wait: reports, edits and pushes; and never for long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from django.db import connections

from breakers import precedence as claims
from breakers.precedence import Precedence, Yielding, written
from tradpal_cb import turns
from tradpal_cb.handler import OneHopHandler
from tradpal_cb.turns import Effort, Gate, Patience, Turns

from .test_api_handler import ask, scope

EVER = 3600.0


@pytest.fixture
def precedence(monkeypatch) -> Precedence:
    """That reads look at, with claims that do not lapse amid a test."""
    made = Precedence(lapses=EVER)
    monkeypatch.setattr(turns, "precedence", made)
    return made


async def rounds_of_the_loop() -> None:
    """Time enough for what is ready, and for what looks again every millisecond."""
    loop, rounds = asyncio.get_running_loop(), 20
    for _ in range(rounds):
        looked = loop.create_future()
        loop.call_later(turns._MOMENT, looked.set_result, None)
        await looked


# --- claims -------------------------------------------------------------------------------------------------------


def test_it_is_claimed_until_the_last_who_claims_it_is_done():
    precedence = Precedence(lapses=EVER)
    assert not precedence.claimed
    with precedence.taken():
        with precedence.taken():
            assert precedence.claimed
        assert precedence.claimed
    assert not precedence.claimed


def test_a_claim_ends_with_the_trouble_of_who_claimed_it():
    precedence = Precedence(lapses=EVER)
    with pytest.raises(ZeroDivisionError), precedence.taken():
        _ = 1 / 0
    assert not precedence.claimed


def test_a_claim_that_lapsed_takes_nothing_from_another():
    precedence = Precedence(lapses=0.0)
    with precedence.taken():
        precedence._lapses = EVER
        with precedence.taken():
            assert precedence.claimed


def test_patience_ends_however_often_it_is_asked(precedence):
    patience, until = Patience(0.01), time.monotonic() + 20
    with precedence.taken():
        assert patience.gives_way()
        while patience.gives_way():
            assert time.monotonic() < until


def test_who_takes_long_holds_nobody_up():
    precedence = Precedence(lapses=0.0)
    with precedence.taken():
        assert not precedence.claimed


async def test_what_was_sent_has_left_when_it_is_written():
    loop, seen = asyncio.get_running_loop(), []
    loop.call_soon(loop.call_soon, seen.append, "left")  # as a transport: it hears that it may, then it writes
    await written()
    assert seen == ["left"]


# --- on the event loop --------------------------------------------------------------------------------------------


async def test_an_answer_on_the_loop_lets_go_first_what_takes_precedence(precedence):
    waiting = Turns(gives_way=EVER)
    with precedence.taken():
        answer = asyncio.create_task(waiting.take(lambda: "answer"))
        await rounds_of_the_loop()
        assert not answer.done()
    async with asyncio.timeout(20):
        assert await answer == "answer"


async def test_an_answer_on_the_loop_waits_no_longer_than_it_must(precedence):
    waiting = Turns(gives_way=0.0)
    with precedence.taken():
        async with asyncio.timeout(20):
            assert await waiting.take(lambda: "answer") == "answer"


async def test_what_arrives_amid_an_answer_is_heard_before_the_next():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    done, waiting = [], Turns()

    async def hear() -> None:
        await reader.readexactly(1)
        done.append("report")

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(hear())
        group.create_task(waiting.take(lambda: theirs.send(b"r")))
        group.create_task(waiting.take(lambda: done.append("answer")))
    writer.close()
    await writer.wait_closed()
    theirs.close()
    assert done == ["report", "answer"]


def test_who_computes_in_a_thread_gives_way_and_never_for_long(monkeypatch):
    precedence = Precedence(lapses=EVER)
    monkeypatch.setattr(claims, "precedence", precedence)
    yielding, until = Yielding(0.01), time.monotonic() + 20
    with precedence.taken():
        for _ in range(3):
            yielding.give_way()
            assert time.monotonic() < until
    assert yielding._left <= 0


# --- in threads ---------------------------------------------------------------------------------------------------


class Reader:
    """Comes to the gate, and stays inside until it is told to go."""

    def __init__(self, gate: Gate) -> None:
        self.inside, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._read(gate))

    async def _read(self, gate: Gate) -> None:
        async with gate.passed():
            self.inside.set()
            await self.go.wait()

    async def is_inside(self) -> bool:
        async with asyncio.timeout(20):
            return await self.inside.wait()

    async def leave(self) -> None:
        self.go.set()
        await self.task


async def test_reads_pass_the_gate_one_after_the_other():
    gate = Gate(long=EVER)
    first, second, third = Reader(gate), Reader(gate), Reader(gate)
    assert await first.is_inside()
    await rounds_of_the_loop()
    assert not second.inside.is_set()
    await first.leave()
    assert await second.is_inside()
    assert not third.inside.is_set()
    await second.leave()
    assert await third.is_inside()
    await third.leave()


async def test_beside_one_that_takes_long_the_next_begins():
    gate = Gate(long=0.0)
    first, second = Reader(gate), Reader(gate)
    assert await second.is_inside()
    assert first.inside.is_set()
    await first.leave()
    await second.leave()


class Told(Effort):
    """Computes as long as it is told to."""

    busy = True
    asked = 0

    def computes(self) -> bool:
        self.asked += 1
        return self.busy


async def test_one_that_takes_long_and_computes_is_let_finish():
    efforts: list[Told] = []
    gate = Gate(long=0.0, effort=lambda: efforts.append(Told()) or efforts[-1])
    first, second = Reader(gate), Reader(gate)
    assert await first.is_inside()
    while efforts[0].asked < 10:
        await asyncio.sleep(0)
    assert not second.inside.is_set()
    efforts[0].busy = False  # it has come to a query
    assert await second.is_inside()
    await first.leave()
    asked = efforts[0].asked
    await rounds_of_the_loop()
    assert efforts[0].asked == asked  # of one that has left
    await second.leave()


def test_an_effort_tells_who_computes_from_who_waits(monkeypatch: pytest.MonkeyPatch):
    now, spent = 100.0, 7.0
    clocks = SimpleNamespace(
        monotonic=lambda: now,
        thread_time=lambda: spent,
        pthread_getcpuclockid=lambda thread: 1,
        clock_gettime=lambda clock: spent,
    )
    monkeypatch.setattr(turns, "time", clocks)
    effort = Effort()
    assert not effort.computes()  # no thread has taken it yet
    assert effort.of(divmod, 7, 2) == (3, 1)
    now, spent = now + 0.03, spent + 0.01
    assert effort.computes()
    now, spent = now + 0.03, spent + 0.001
    assert not effort.computes()


def test_what_a_thread_computes_is_what_the_system_counts():
    effort, begun, end = Effort(), threading.Event(), threading.Event()

    def compute() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        begun.set()
        end.wait(60)

    thread = threading.Thread(target=effort.of, args=(compute,))
    thread.start()
    try:
        assert begun.wait(60)
        before = effort._spent
        effort.computes()
        assert effort._spent - before >= 0.05
    finally:
        end.set()
        thread.join()


async def test_the_end_of_one_that_took_long_lets_nobody_in_beside_the_next():
    gate = Gate(long=0.0)
    first = Reader(gate)
    await rounds_of_the_loop()
    gate._long = EVER
    second, third = Reader(gate), Reader(gate)
    assert await second.is_inside()
    await first.leave()
    await rounds_of_the_loop()
    assert not third.inside.is_set()
    await second.leave()
    await third.leave()


async def test_a_read_in_a_thread_lets_go_first_what_takes_precedence(precedence):
    gate = Gate(long=EVER, gives_way=EVER)
    with precedence.taken():
        readers = Reader(gate), Reader(gate)
        await rounds_of_the_loop()
        assert not readers[0].inside.is_set()
    for reader in readers:
        assert await reader.is_inside()
        await reader.leave()


async def test_a_read_in_a_thread_waits_no_longer_than_it_must(precedence):
    gate = Gate(long=EVER, gives_way=0.0)
    with precedence.taken():
        reader = Reader(gate)
        assert await reader.is_inside()
        await reader.leave()


@pytest.mark.parametrize("amid", ["waiting", "let in", "inside"])
async def test_who_leaves_the_gate_holds_up_nobody(amid):
    gate = Gate(long=EVER)
    first, leaving, last = Reader(gate), Reader(gate), Reader(gate)
    assert await first.is_inside()
    if amid == "inside":
        await first.leave()
        assert await leaving.is_inside()
    if amid == "let in":
        first.go.set()
        await asyncio.wait([first.task])  # its place is given away, and who got it has not heard of it
    leaving.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving.task
    await first.leave()
    assert await last.is_inside()
    await last.leave()


def test_who_was_at_the_gate_when_an_event_loop_ended_holds_up_no_other():
    gate = Gate(long=EVER)

    async def leave_behind() -> None:
        reader = Reader(gate)
        assert await reader.is_inside()
        left.append(reader)  # so that nothing of it runs before the next loop has come

    async def come() -> None:
        reader = Reader(gate)
        assert await reader.is_inside()
        await reader.leave()

    left: list[Reader] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_behind())
    asyncio.run(come())
    loop.run_until_complete(left[0].leave())
    loop.close()


# --- in the server ------------------------------------------------------------------------------------------------


@pytest.fixture
async def handler(ground):
    made = OneHopHandler(threads=2, writers=1)
    made._gate = Gate(long=EVER)
    yield made
    for pool in (made._pool, made._writers):
        pool.shutdown()
    made._at_once.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/circuit-breakers", "/dashboard", "/circuit-breakers/bank-api/state"])
async def test_reads_that_wait_on_the_loop_are_answered_after_what_takes_precedence(
    handler, bank_api, settings, precedence, path
):
    settings.CIRCUIT_BREAKER_PUBLIC_READ = True
    handler._at_once._turns = Turns(gives_way=EVER)
    assert (await ask(handler, scope(path)))[0] == 200  # by Django, which learns it to answer at once
    with precedence.taken():
        reads = [asyncio.create_task(ask(handler, scope(path))) for _ in range(5)]
        await rounds_of_the_loop()
        assert not any(read.done() for read in reads)
    async with asyncio.timeout(60):
        assert {status for status, *_ in await asyncio.gather(*reads)} == {200}


@pytest.mark.django_db(transaction=True)
async def test_two_reads_are_not_computed_at_once(handler):
    """The first waits for a second one that would come beside it, and would not come if it could."""
    here, beside, together = [0], threading.Event(), []
    answer = handler._answer

    def note(*request):
        here[0] += 1
        together.append(here[0])
        if here[0] > 1:
            beside.set()
        beside.wait(0.2)
        here[0] -= 1
        try:
            return answer(*request)
        finally:
            connections.close_all()

    handler._answer = note
    statuses = await asyncio.gather(*(ask(handler, scope("/health")) for _ in range(2)))
    assert [status for status, *_ in statuses] == [200, 200]
    assert together == [1, 1]


@pytest.mark.django_db(transaction=True)
async def test_a_piece_of_a_stream_is_computed_in_its_turn(handler):
    reader, pieces = Reader(handler._gate), handler._pieces(iter([b"a", b"b"]), at_once=2)
    assert await reader.is_inside()
    piece = asyncio.create_task(anext(pieces))
    await rounds_of_the_loop()
    assert not piece.done()
    await reader.leave()
    async with asyncio.timeout(20):
        assert await piece == b"ab"
    await pieces.aclose()


@pytest.fixture
def bearer(key):
    return {"authorization": f"Bearer {key('read', 'operate')}", "content_type": "application/json"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("reading", ["GET", "get", "HEAD"])
async def test_an_edit_takes_precedence_and_a_read_does_not(handler, bearer, monkeypatch, reading):
    from tradpal_cb import handler as module

    precedence, seen, answer = Precedence(lapses=EVER), [], handler._answer
    monkeypatch.setattr(module, "precedence", precedence)

    def note(scope, request):
        seen.append((scope["method"], precedence.claimed))
        try:
            return answer(scope, request)
        finally:
            connections.close_all()

    handler._answer = note
    await ask(handler, scope("/circuit-breakers", "POST", content_length="2", **bearer), b"{}")
    await ask(handler, scope("/circuit-breakers/x", reading, **bearer))
    assert seen == [("POST", True), (reading, False)]
    assert not precedence.claimed
