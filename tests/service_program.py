"""A service to be run as a process of its own: obeys JSON lines on standard input, answers each with one.

See :class:`tests.programs.ServiceProcess`, which talks to it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import breakers
from breakers import CircuitBreakerConfig, CircuitBreakerOpenError, CircuitBreakerState
from breakers.core import config as config_module

transitions: Counter[str] = Counter()
links: list[Any] = []
storms: list[threading.Thread] = []
ahead: list[float] = []
held: dict[str, tuple[threading.Event, threading.Thread]] = {}


class Broken(Exception):
    """What the dependency raises."""


def fail() -> None:
    raise Broken("the dependency is down")


def succeed() -> str:
    return "fine"


def call(name: str, times: int, ok: bool = False) -> dict[str, int]:
    """How the calls ended."""
    ended: Counter[str] = Counter()
    for _ in range(times):
        try:
            breakers.get_circuit_breaker(name).call_sync(succeed if ok else fail)
            ended["succeeded"] += 1
        except Broken:
            ended["failed"] += 1
        except CircuitBreakerOpenError:
            ended["rejected"] += 1
    return dict(ended)


def breaker(name: str, **config: Any) -> str:
    return breakers.get_circuit_breaker(name, CircuitBreakerConfig(name=name, **config) if config else None).state.value


def connect(**arguments: str) -> None:
    links.append(breakers.connect(**arguments))


def connect_database(service: str) -> None:
    """Straight to the database that the environment names."""
    import django

    django.setup()
    links.append(breakers.connect_database(service=service))


def close() -> None:
    links[-1].close()


def ended() -> bool:
    """Whether the next link goes on where this one stopped."""
    return bool(links[-1].ended)


def status() -> dict[str, Any]:
    found = asdict(links[-1].status())
    return {**found, "since": found["since"].isoformat()}


def state(name: str) -> str:
    return breakers.get_circuit_breaker(name).state.value


def config(name: str) -> dict[str, Any]:
    return breakers.get_circuit_breaker(name).config.as_dict()


def metrics(name: str) -> dict[str, Any]:
    return breakers.get_circuit_breaker(name).get_metrics()


def counted() -> dict[str, int]:
    """Transitions that this process saw, by breaker."""
    return dict(transitions)


def storm(name: str, transitions: int, pause: float = 0.0) -> None:
    """That many transitions, in the background: opened by one failure, closed by a reset, and again."""
    thread = threading.Thread(target=_storm, args=(name, transitions, pause))
    storms.append(thread)
    thread.start()


def _storm(name: str, number: int, pause: float) -> None:
    guarded = breakers.get_circuit_breaker(name)
    for _ in range(number):
        if guarded.state is CircuitBreakerState.OPEN:
            guarded.reset()
        else:
            call(name, 1)
        time.sleep(pause)  # the pace of the storm


def storming() -> bool:
    return any(thread.is_alive() for thread in storms)


def hold(name: str) -> None:
    """A call that goes on until it is released."""
    begun, released = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        released.wait(60)

    thread = threading.Thread(target=breakers.get_circuit_breaker(name).call_sync, args=(wait,), daemon=True)
    held[name] = (released, thread)
    thread.start()
    begun.wait(60)


def release(name: str) -> None:
    released, thread = held.pop(name)
    released.set()
    thread.join(60)


def forget(name: str) -> None:
    breakers.registry.forget(name)


def fork(name: str, failures: int) -> int:
    """Pid of a child that makes ``failures`` failing calls, closes its link and ends."""
    child = os.fork()
    if child == 0:
        call(name, failures)
        links[-1].close()
        os._exit(0)
    os.waitpid(child, 0)
    return child


def multiprocess(name: str, failures: int, how: str = "fork") -> int | None:
    """Exit code of a child of ``multiprocessing`` that makes ``failures`` failing calls and ends."""
    child = multiprocessing.get_context(how).Process(target=call, args=(name, failures))
    child.start()
    child.join(60)
    return child.exitcode


def block(seconds: float) -> None:
    """The program's own event loop is held up for that long."""

    async def hold_up() -> None:
        time.sleep(seconds)

    asyncio.run(hold_up())


def go_ahead(seconds: float) -> None:
    """The clock of the breakers that are made from the first call on goes ahead."""
    ahead.append(seconds)
    breakers.registry.clock = lambda: time.monotonic() + sum(ahead)


def be_older(field: str, maximum: float) -> None:
    """This library is of a release in which a field of the config had a lower bound than it has now."""
    narrower = replace(config_module.BREAKER_FIELDS[field], maximum=maximum)
    config_module.BREAKER_FIELDS = {**config_module.BREAKER_FIELDS, field: narrower}


def lose_the_name_server() -> None:
    """From now on it does not answer for a minute."""
    socket.getaddrinfo = lambda *_, **__: time.sleep(60)  # type: ignore[assignment]  # nobody gets to see the answer


COMMANDS = {f.__name__: f for f in (call, breaker, connect, connect_database, close, ended, status, state, config,
                                    metrics, counted, storm, storming, hold, release, forget, fork, multiprocess, block,
                                    go_ahead, be_older, lose_the_name_server)}  # fmt: skip


def main() -> None:
    breakers.registry.on_transition(lambda guarded, _: transitions.update([guarded.name]))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": COMMANDS[asked.pop("command")](**asked)}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
