"""A worker's thread over a real Redis: whatever becomes of its work it goes on, says so, and ends when it is asked."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator

import pytest
from redis import Redis, RedisError

from breakers.events.workers import FIRST_WAIT, LONGEST_WAIT, Worker
from tests.redis_server import RedisServer
from tests.servers import eventually, free_port


class Scripted:
    """Each step waits for the test to say what becomes of it; ``begun`` counts connections, ``ended`` ends."""

    def __init__(self) -> None:
        self.steps: queue.Queue[Exception | None] = queue.Queue()
        self.begun = self.ended = self.taken = 0

    def begin(self, redis: Redis) -> None:
        assert redis.ping()
        self.begun += 1

    def step(self, redis: Redis) -> None:
        outcome = self.steps.get()
        self.taken += 1
        if outcome is not None:
            raise outcome

    def end(self, redis: Redis) -> None:
        assert redis.ping()
        self.ended += 1


@pytest.fixture
def work() -> Scripted:
    return Scripted()


@pytest.fixture
def worker(work: Scripted, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr("breakers.events.workers.FIRST_WAIT", 0.001)
    worker = Worker("a-worker", redis_server.url, work)
    yield worker
    if worker._thread.is_alive():
        end(worker, work)


def end(worker: Worker, work: Scripted) -> None:
    stopping = threading.Thread(target=worker.stop, args=(10,))
    stopping.start()
    eventually(worker._stopping.is_set)
    work.steps.put(None)  # the step under way comes to its end
    stopping.join(10)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    records = [record for record in caplog.records if record.name == "breakers.events.workers"]
    return [(record.levelname, record.getMessage()) for record in records]


def test_trouble_is_one_line_a_kind_until_all_is_well_again(
    worker: Worker, work: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    away, broken = RedisError("away"), ValueError("broken")
    caplog.set_level(logging.INFO, logger="breakers.events.workers")
    worker.start()
    for outcome in (away, away, broken, away, None, away):
        work.steps.put(outcome)
    eventually(lambda: work.begun == 6, what="it begins anew after each that failed")
    assert said(caplog) == [
        ("WARNING", "a-worker: RedisError: away; it is tried again"),
        ("WARNING", "a-worker: ValueError: broken; it is tried again"),
        ("INFO", "a-worker: goes on"),
        ("WARNING", "a-worker: RedisError: away; it is tried again"),
    ]
    unforeseen = [record.getMessage() for record in caplog.records if record.exc_info]
    assert unforeseen == ["a-worker: ValueError: broken; it is tried again"], "only that has a traceback"


def test_it_is_well_while_its_last_attempt_succeeded_and_it_runs(worker: Worker, work: Scripted) -> None:
    assert not worker.well, "it has not begun"
    worker.start()
    eventually(lambda: work.begun == 1)
    assert worker.well
    work.steps.put(RedisError("away"))
    eventually(lambda: work.begun == 2)
    assert not worker.well
    work.steps.put(None)
    eventually(lambda: worker.well)
    end(worker, work)
    assert not worker.well


def test_asked_to_end_it_does_the_last_of_its_work_once(worker: Worker, work: Scripted) -> None:
    worker.start()
    eventually(lambda: work.begun == 1)
    end(worker, work)
    assert (work.taken, work.ended, work.begun) == (1, 1, 1)


class Noted(threading.Event):
    """Lets nobody wait, and knows for how long he would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_it_waits_twice_as_long_each_time_up_to_a_limit_and_begins_anew_once_all_was_well(
    work: Scripted, redis_server: RedisServer
) -> None:
    worker, noted = Worker("a-worker", redis_server.url, work), Noted()
    worker._stopping = noted
    worker.start()
    for outcome in (*[RedisError("away")] * 7, None, RedisError("away")):
        work.steps.put(outcome)
    eventually(lambda: work.begun == 9)
    end(worker, work)
    assert noted.waits == [0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_WAIT, LONGEST_WAIT, FIRST_WAIT]


def test_a_worker_that_waits_for_redis_ends_at_once(
    work: Scripted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakers.events.workers.FIRST_WAIT", 3600.0)
    monkeypatch.setattr("breakers.events.workers.LONGEST_WAIT", 3600.0)

    worker = Worker("a-worker", f"redis://127.0.0.1:{free_port()}/0", work)
    worker.start()
    eventually(lambda: said(caplog), what="Redis is away")
    worker.stop(10)
    assert not worker._thread.is_alive()
    assert work.ended == 0
