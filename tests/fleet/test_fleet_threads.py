"""Reports on one thread, reads on another, time on a third: nothing is lost and nothing is half seen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


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
