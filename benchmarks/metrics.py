"""How long ``/metrics`` takes for 1,000 breakers on 20 instances, and for a tenth of them, as a ratio.

In the process itself, without HTTP; CPU time of the thread, the best of several, since other work only ever adds.
``--text FILE`` writes the text, for ``promtool check metrics < FILE``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from breakers.core.config import CircuitBreakerConfig, HttpConfig  # noqa: E402  # needs the app registry, as all below
from breakers.core.states import CircuitBreakerState  # noqa: E402
from breakers.core.wire import BreakerStatus, Counts, Report  # noqa: E402
from breakers.fleet import Fleet  # noqa: E402
from breakers.metrics import Exposition  # noqa: E402
from breakers.models import BreakerRecord, DesiredState, InstanceIdentity  # noqa: E402

GOAL = 0.050
BREAKERS, INSTANCES, REPEATS = 1000, 20, 15


def filled(breakers: int) -> Fleet:
    """A fleet whose every breaker is on every instance, with counts and latency."""
    fleet, now, names = Fleet(), datetime.now(UTC), [f"breaker-{number}" for number in range(breakers)]
    records = {name: _record(name, now) for name in names}
    fleet.apply_desired(DesiredState(1, records, ()))
    latency = {str(bucket): 7 for bucket in range(10, 60)}
    for _ in range(INSTANCES):
        identity = InstanceIdentity(uuid.uuid4(), "service", "host", 1, "0", now)
        fleet.connect(identity, now)
        statuses = [
            BreakerStatus(name, CircuitBreakerState.CLOSED, counts=Counts(340, 10, 5), latency=latency)
            for name in names
        ]
        fleet.report(identity.id, Report(1, now.timestamp(), 1, tuple(statuses)), now)
    for name in names:
        for way in (("closed", "open", "failure_rate"), ("open", "half_open", "recovery_timeout")):
            fleet.record_event({"kind": "transition", "name": name, **dict(zip(_WAY, way, strict=True))})
    return fleet


_WAY = ("from_state", "to_state", "reason")


def _record(name: str, now: datetime) -> BreakerRecord:
    config = CircuitBreakerConfig(name=name)
    return BreakerRecord(name, "", "", True, 1, 1, config, HttpConfig(), None, "", "", None, now)


def best(fleet: Fleet) -> tuple[float, bytes]:
    """Seconds of CPU for the text, and the text."""
    exposition, took, text = Exposition(fleet), [], b""
    for _ in range(REPEATS):
        begun = time.thread_time()
        text = exposition.text()
        took.append(time.thread_time() - begun)
    return min(took), text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path)
    chosen = parser.parse_args()
    few, _ = best(filled(BREAKERS // 10))
    many, text = best(filled(BREAKERS))
    print(f"{BREAKERS // 10} breakers {few * 1e3:.1f} ms; {BREAKERS} breakers {many * 1e3:.1f} ms, {len(text)} bytes")
    print(f"ten times the breakers take {many / few:.1f} x; goal {GOAL * 1e3:.0f} ms")
    if chosen.text:
        chosen.text.write_bytes(text)
    return int(many > GOAL)


if __name__ == "__main__":
    sys.exit(main())
