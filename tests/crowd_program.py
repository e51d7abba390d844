"""Many services in one process, each with breakers and a link of its own: see :class:`tests.peers.conftest.Crowd`.

Obeys JSON lines on standard input, answers each with one.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

from breakers.client.link import Link
from breakers.core.config import CircuitBreakerConfig
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.registry import CircuitBreakerRegistry
from breakers.core.sync import Sync

NAMES = [f"dependency-{number}" for number in range(5)]


class Service:
    """What it counts itself is what every server must say in the end."""

    def __init__(self, number: int, url: str, token: str) -> None:
        self.registry = CircuitBreakerRegistry()
        self.transitions: Counter[str] = Counter()
        self.registry.on_transition(lambda breaker, _: self.transitions.update([breaker.name]))
        self.breakers = [
            self.registry.get_or_create(name, CircuitBreakerConfig(name=name, failure_threshold=1)) for name in NAMES
        ]
        self.sync = Sync(self.registry, service=f"service-{number % 7}", library="crowd")
        self.link = Link(self.sync, url=url, token=token)

    def step(self) -> None:
        """One call of one breaker, and where that is open, a reset."""
        breaker = random.choice(self.breakers)  # which one does not matter
        if breaker.state.value == "open" and random.random() < 0.5:
            breaker.reset()
            return
        try:
            breaker.call_sync(_fail if random.random() < 0.3 else _succeed)
        except (ZeroDivisionError, CircuitBreakerOpenError):
            return


def _fail() -> None:
    raise ZeroDivisionError


def _succeed() -> None:
    return None


services: list[Service] = []
busy = threading.Event()


def link(number: int, url: str, token: str) -> int:
    for _ in range(number):
        services.append(Service(len(services), url, token))
    return len(services)


def linked() -> int:
    return sum(service.link.status().connected for service in services)


def unlinked() -> dict[str, int]:
    """What those who are not linked met last."""
    away = (status for service in services if not (status := service.link.status()).connected)
    return dict(Counter(str(status.last_error) for status in away))


def servers() -> dict[str, int]:
    """How many links each server has."""
    return dict(Counter(str(service.link.status().server) for service in services if service.link.status().connected))


def storm(every: float) -> None:
    """From now on each service makes a step that often."""
    busy.set()
    threading.Thread(target=_storm, args=(every,), daemon=True).start()


def _storm(every: float) -> None:
    while busy.is_set():
        for service in services:
            service.step()
            time.sleep(every / len(services))  # the pace of the storm


def calm() -> None:
    busy.clear()


def close_all() -> None:
    """What can be closed is, so that breakers rest in CLOSED."""
    for service in services:
        for breaker in service.breakers:
            if breaker.state.value != "closed":
                breaker.reset()


def queued() -> int:
    """Transitions that no server has acknowledged."""
    return sum(len(service.sync.outbox) for service in services)


def counted() -> dict[str, Any]:
    """Breaker to its counts over all services; and the transitions."""
    found: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    for service in services:
        for breaker in service.breakers:
            metrics = breaker.get_metrics()
            keys = ("requests_total", "successes_total", "failures_total", "rejected_total", "state_changes_total")
            found[breaker.name].update({key: metrics[key] for key in keys})
            found[breaker.name]["transitions"] += service.transitions[breaker.name]
    return {name: dict(counts) for name, counts in found.items()}


def config(name: str) -> list[int]:
    """Failure thresholds of one breaker, each once."""
    return sorted({service.registry.get(name).config.failure_threshold for service in services})  # type: ignore[union-attr]  # it is there


COMMANDS = {f.__name__: f for f in (link, linked, unlinked, servers, storm, calm, close_all, queued, counted, config)}


def main() -> None:
    logging.getLogger("breakers").setLevel(logging.ERROR)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": COMMANDS[asked.pop("command")](**asked)}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
