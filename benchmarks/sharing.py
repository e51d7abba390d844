"""What one instance of 20 breakers costs that is linked elsewhere: passed on, and taken in. CPU of this thread only.

Beside it a report of the same instance, decoded and taken in by the server that it is linked to.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

import msgpack  # noqa: E402  # after the settings

from breakers.core.config import CircuitBreakerConfig, HttpConfig  # noqa: E402
from breakers.core.states import CircuitBreakerState  # noqa: E402
from breakers.core.wire import BreakerStatus, Counts, Report, WindowCounts, decode_from_agent, encode  # noqa: E402
from breakers.fleet import MergedFleet, PassedInstance  # noqa: E402
from breakers.models import BreakerRecord, DesiredState, InstanceIdentity  # noqa: E402

INSTANCES, BREAKERS, ROUNDS = 300, 20, 7
NAMES = [f"breaker-{number}" for number in range(BREAKERS)]


def fleet() -> MergedFleet:
    made, now = MergedFleet(), datetime.now(UTC)
    made.share()
    records = {
        name: BreakerRecord(
            name, "", "", True, 1, 1, CircuitBreakerConfig(name=name), HttpConfig(), None, "", "", None, now
        )
        for name in NAMES
    }
    made.apply_desired(DesiredState(1, records, ()))
    return made


def report(number: int) -> str:
    """What an instance says whose breakers were all called since the last one."""
    statuses = tuple(
        BreakerStatus(
            name, CircuitBreakerState.CLOSED, 1, 5.0, counts=Counts(successes=number, failures=number // 50),
            window=WindowCounts(100, 2), latency={str(bucket): number + bucket for bucket in range(40, 48)},
            last_success_time=time.time(),
        )
        for name in NAMES
    )  # fmt: skip
    return encode(Report(id=number, now=time.time(), revision=1, breakers=statuses))


def microseconds(act: Callable[[], object]) -> float:
    began = time.thread_time()
    act()
    return 1e6 * (time.thread_time() - began) / INSTANCES


def main() -> None:
    here, elsewhere = fleet(), fleet()
    identities = [InstanceIdentity(uuid4(), "service", "host", 1, "x", datetime.now(UTC)) for _ in range(INSTANCES)]
    for identity in identities:
        here.connect(identity, datetime.now(UTC))
    took: dict[str, list[float]] = {
        "a report, taken in": [],
        "passed on": [],
        "taken in elsewhere": [],
        "heartbeat": [],
    }
    sizes = []
    for number in range(1, ROUNDS + 1):
        text = report(number)

        def take(text: str = text) -> None:
            for identity in identities:
                here.report(identity.id, _report(decode_from_agent(text)), datetime.now(UTC))

        blobs: list[bytes] = []

        def lay_down(blobs: list[bytes] = blobs) -> None:
            blobs += [msgpack.packb(passed) for passed in here.unshared()]

        def take_in(blobs: list[bytes] = blobs) -> None:
            elsewhere.adopt("here", [PassedInstance(*msgpack.unpackb(blob)) for blob in blobs])

        def hear() -> None:
            elsewhere.hear("here", here.presence())

        acts = (take, lay_down, take_in, hear)
        for name, act in zip(took, acts, strict=True):
            took[name].append(microseconds(act))
        sizes.append(len(blobs[0]))
    first = statistics.median(took["a report, taken in"])
    for name, values in took.items():
        cost = statistics.median(values)
        print(f"{name:24}{cost:8.1f} us an instance of {BREAKERS} breakers  {cost / first:5.2f} x a report")
    print(f"{'size in Redis':24}{statistics.median(sizes):8.0f} bytes")


def _report(message: Any) -> Report:
    assert isinstance(message, Report)
    return message


if __name__ == "__main__":
    main()
