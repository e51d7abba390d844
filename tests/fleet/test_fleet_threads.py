"""Reports on one thread, reads on another, time on a third: nothing is lost and nothing is half seen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from breakers.precedence import Precedence, Yielding

module = import_module("breakers.fleet.fleet")  # the package calls its one fleet so


def test_threads_lose_no_count_and_readers_see_whole_rows(scene):
    scene.want("b")
    instances = [scene.link(f"service-{number}") for number in range(4)]
    stop = threading.Event()

    def report(linked):
        for _ in range(200):
            linked.send(
                linked.status("bank-api", "open", {"successes": 1}), linked.status("b", "closed", {"failures": 1})
            )
            linked.tell("bank-api", "closed", add={"rejected": 1})
            scene.fleet.tick(scene.now)

    def look():
        seen, rows = 0, {}
        while not stop.is_set():
            seen, changed, _ = scene.fleet.changed_since(seen)
            rows |= {name: scene.fleet.row(name) for name in changed}
            for row in rows.values():
                counts = row["instances"]
                assert counts["total"] == sum(counts[key] for key in ("closed", "half_open", "open", "silent"))
            assert scene.fleet.summary()["total"] == 2
        _, changed, _ = scene.fleet.changed_since(seen)
        return rows | {name: scene.fleet.row(name) for name in changed}

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        for written in [pool.submit(report, linked) for linked in instances]:
            written.result()
        stop.set()
        fresh = {row["name"]: row for row in scene.fleet.rows()}
        assert [reader.result() for reader in readers] == [fresh, fresh]
    assert scene.fleet.metrics("bank-api")["successes_total"] == 800
    assert scene.fleet.metrics("bank-api")["rejected_total"] == 800
    assert scene.fleet.metrics("b")["failures_total"] == 800


EVER = 3600.0
READS = ["rows", "summary", "picture", "changed_since"]


@pytest.fixture
def precedence(monkeypatch):
    """To which readers give way for as long as a test takes."""
    made = Precedence(lapses=EVER)
    monkeypatch.setattr("breakers.precedence.precedence", made)
    monkeypatch.setattr(module, "Yielding", lambda: Yielding(EVER))
    return made


def read(fleet, what):
    return fleet.changed_since(0) if what == "changed_since" else getattr(fleet, what)()


@pytest.mark.parametrize("what", READS)
def test_a_report_waits_for_a_few_rows_and_not_for_all(scene, precedence, monkeypatch, what):
    scene.want(*(f"breaker-{number}" for number in range(5 * module.PART)))
    linked, derived = scene.link(), []
    begun, claimed = threading.Event(), threading.Event()
    derive = module.derive_row

    def note(view, *facts):
        derived.append(view.name)
        begun.set()
        assert claimed.wait(20)
        return derive(view, *facts)

    monkeypatch.setattr(module, "derive_row", note)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, scene.fleet, what)
        assert begun.wait(20)
        with precedence.taken():
            claimed.set()
            linked.tell("breaker-0", "open")
            before = len(derived)
        reading.result()
    assert before <= module.PART
    assert len(derived) > 4 * module.PART
    assert scene.row("breaker-0")["state"] == "open"


@pytest.mark.parametrize("what", ["rows", "summary"])
def test_what_is_derived_in_parts_is_what_is_derived_at_once(scene, monkeypatch, what):
    names = [f"breaker-{number}" for number in range(3 * module.PART)]
    scene.want(*names)
    scene.link().tell("breaker-7", "open")
    in_parts = read(scene.fleet, what)
    scene.fleet._ledger.dirty.update(names)
    monkeypatch.setattr(module, "PART", 10 * module.PART)
    assert read(scene.fleet, what) == in_parts


def test_who_reads_what_is_derived_waits_for_nobody(scene):
    scene.want("a", "b")
    linked = scene.link()
    linked.tell("a", "open")
    row, edition = scene.row("a"), scene.fleet.edition
    held, done = threading.Event(), threading.Event()

    def hold():
        with scene.fleet._lock:
            held.set()
            assert done.wait(20)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(20)
        assert scene.fleet.row("a") is row
        assert scene.fleet.edition == edition
        done.set()
        holding.result()


def test_one_row_is_derived_without_the_others(scene, monkeypatch):
    scene.want("a", "b")
    linked, derived, derive = scene.link(), [], module.derive_row
    scene.fleet.rows()
    monkeypatch.setattr(module, "derive_row", lambda view, *facts: derived.append(view.name) or derive(view, *facts))
    linked.tell("a", "open")
    linked.tell("b", "half_open")
    assert scene.row("a")["state"] == "open"
    assert derived == ["a"]
    assert scene.fleet.edition is None
    assert scene.row("b")["state"] == "half_open"
    assert scene.fleet.edition is not None


def test_who_looks_at_one_row_keeps_no_news_of_others_from_subscribers(scene):
    scene.want("a", "b")
    linked, heard = scene.link(), []
    scene.fleet.rows()
    scene.fleet.subscribe(lambda: heard.append(1))
    linked.tell("a", "open")
    linked.tell("b", "open")
    scene.row("a")
    version, changed, _ = scene.fleet.changed_since(0)
    assert {"a", "b"} <= changed
    linked.tell("b", "closed")
    assert heard == [1, 1]
    assert scene.fleet.changed_since(version)[1] == {"b"}
