"""A thousand breakers forced, released and reset at once, beside one by one; and what the push of it costs.

On SQLite, in the process itself, without HTTP. CPU time of the thread, medians of several. The agents are sockets that
take what they are sent; each has twenty of the breakers. The longest gap is how long the event loop did nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

FOLDER = tempfile.TemporaryDirectory(prefix="benchmark-")
os.environ["DATABASE_URL"] = f"sqlite:///{Path(FOLDER.name) / 'many.sqlite3'}"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402  # the address of the database comes first

django.setup()

from django.core.management import call_command  # noqa: E402  # needs the app registry, as all below
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from breakers import services  # noqa: E402
from breakers.agents.hub import AgentLink, Hub  # noqa: E402
from breakers.core.states import CircuitBreakerState, Override  # noqa: E402
from breakers.core.wire import BreakerStatus, Report  # noqa: E402
from breakers.documents import Entry  # noqa: E402
from breakers.fleet import fleet  # noqa: E402
from breakers.models import InstanceIdentity  # noqa: E402
from breakers.services import Actor  # noqa: E402

BREAKERS, AGENTS, OF_ONE, REPEATS = 1000, 300, 20, 5
GOAL = 1.0
BY = Actor("user", "benchmark")
NAMES = [f"breaker-{number:04}" for number in range(BREAKERS)]
FORCED = {"override": Override.FORCED_OPEN, "reason": "a benchmark", "by": BY, "confirm": True}


def force() -> None:
    services.overrides_set(names=NAMES, expires_at=timezone.now() + timedelta(hours=1), **FORCED)  # type: ignore[arg-type]  # of a dict


def release() -> None:
    services.overrides_release(names=NAMES, reason="over", by=BY)


def reset() -> None:
    services.breakers_reset_all(names=NAMES, reason="", by=BY)


@transaction.atomic
def force_one_by_one() -> None:
    until = timezone.now() + timedelta(hours=1)
    for name in NAMES:
        services.override_set(name=name, expires_at=until, **FORCED)  # type: ignore[arg-type]  # of a dict


def took(act: Callable[[], object]) -> float:
    begun = time.thread_time()
    act()
    return time.thread_time() - begun


def released() -> float:
    """Of what is forced: the rest is passed over."""
    force()
    return took(release)


class Agents:
    """Who is pushed to: a hub of links whose sockets only count."""

    def __init__(self) -> None:
        self.hub, self.texts, self.length = Hub(), 0, 0

    async def link(self, number: int) -> None:
        now = timezone.now()
        identity = InstanceIdentity(uuid.uuid4(), f"service-{number % 20}", "host", number, "0", now)
        names = random.Random(number).sample(NAMES, OF_ONE)
        fleet.connect(identity, now)
        statuses = tuple(BreakerStatus(name, CircuitBreakerState.CLOSED) for name in names)
        fleet.report(identity.id, Report(1, now.timestamp(), fleet.revision, statuses), now)
        link = AgentLink(identity, names, self._send, self._close, 1)
        link.covered = link.told = fleet.revision
        await self.hub.join(link)

    async def _send(self, text: str) -> None:
        self.texts, self.length = self.texts + 1, self.length + len(text)

    async def _close(self, code: object) -> None:
        raise AssertionError(code)


async def pushed(agents: Agents, act: Callable[[], None]) -> tuple[float, float, float]:
    """Of the push that follows ``act``: CPU and longest gap in seconds, and megabytes."""
    await asyncio.to_thread(act)
    await asyncio.to_thread(fleet.synchronise)
    agents.length, gaps = 0, list[float]()

    async def watch() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            before, gap = time.perf_counter(), time.perf_counter() - before
            gaps.append(gap)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    begun = time.thread_time()
    await agents.hub._deliver(asyncio.get_running_loop())
    cpu = time.thread_time() - begun
    await asyncio.sleep(0)
    watching.cancel()
    return cpu, max(gaps), agents.length / 1e6


async def push() -> None:
    agents = Agents()
    for number in range(AGENTS):
        await agents.link(number)
    for what, act in (("forced", force), ("reset", reset), ("released", release)):
        cpu, gap, megabytes = await pushed(agents, act)
        print(f"pushed to {AGENTS} agents, {what}: {cpu * 1e3:.0f} ms, gaps of {gap * 1e3:.0f} ms, {megabytes:.1f} MB")


def main() -> int:
    call_command("migrate", verbosity=0)
    services.configs_import(entries=[Entry(name, {}) for name in NAMES], reason="", by=BY)
    fleet.synchronise()
    ways = {"forced": lambda: took(force), "released": released, "reset": lambda: took(reset)}
    medians = {what: statistics.median(way() for _ in range(REPEATS)) for what, way in ways.items()}
    single = took(force_one_by_one)
    for what, seconds in medians.items():
        print(f"{BREAKERS} {what} at once: {seconds * 1e3:.0f} ms")
    print(f"forced one by one: {single * 1e3:.0f} ms, {single / medians['forced']:.1f} x; goal below {GOAL:g} s")
    asyncio.run(push())
    return int(max(medians.values()) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
