"""The control plane over a played fleet, with doors through which ``benchmarks.feed`` and ``browser`` drive it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import django

django.setup()

from django.core.management import call_command  # noqa: E402  # needs the app registry, as all below
from django.utils import timezone  # noqa: E402

from breakers.core.states import CircuitBreakerState  # noqa: E402
from breakers.core.wire import BreakerStatus, Counts, Report, WindowCounts  # noqa: E402
from breakers.fleet import fleet  # noqa: E402
from tests.stage import Player, Stage, application, serving  # noqa: E402

HEARTBEAT = 4.0


class Doors:
    """What a benchmark asks over HTTP, and the feed's sockets as it sees them."""

    def __init__(self, stage: Stage) -> None:
        self._players: list[tuple[Player, str]] = [(stage.players[role.service][0], role.name) for role in stage.roles]
        self._told = 0
        self._sends: list[Callable[[dict[str, Any]], Awaitable[None]]] = []
        self._first = 0.0
        self._last = ""

    def change(self, rows: int, states: int = 0) -> dict[str, Any]:
        """Another failure rate for that many breakers, and another state for some of them.

        ``began`` is on the clock that all processes share.
        """
        self._told += 1
        began, self._first = time.monotonic(), 0.0
        for place, (player, name) in enumerate(self._players[:rows]):
            window = WindowCounts(400, self._told % 150, 0)
            state = CircuitBreakerState.OPEN if place < states and self._told % 2 else CircuitBreakerState.CLOSED
            epoch = self._told if place < states else 1
            status = BreakerStatus(name, state, epoch, counts=Counts(), window=window)
            player.reports += 1
            now = timezone.now()
            report = Report(player.reports, now.timestamp(), fleet.revision, (status,))
            fleet.report(player.identity.id, report, now)
        return {"began": began}

    def sent(self) -> dict[str, Any]:
        """When the first socket was written the last update with rows, and its size."""
        return {"first": self._first, "bytes": len(self._last)}

    async def broadcast(self) -> dict[str, Any]:
        """The same text once more, raw, to the same sockets: what nobody can do without."""
        self._first = time.monotonic()
        for send in self._sends:
            await send({"type": "websocket.send", "text": self._last})
        return self.sent()

    async def beat(self) -> None:
        """Nobody falls silent meanwhile."""
        while True:
            now = timezone.now()
            for identity in {player.identity.id for player, _ in self._players}:
                fleet.report(identity, Report(1, now.timestamp(), fleet.revision), now)
            await asyncio.sleep(HEARTBEAT)

    async def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        if path == "/bench/change":
            return self.change(**{name: int(values[0]) for name, values in query.items()})
        return await self.broadcast() if path == "/bench/broadcast" else self.sent()

    def around(self, inner: Any) -> Any:
        """``inner`` with the doors."""

        async def door(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].startswith("/bench/"):
                told = await self.answer(scope["path"], parse_qs(scope["query_string"].decode()))
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": json.dumps(told).encode()})
            elif scope["type"] == "websocket":
                await self._watched(inner, scope, receive, send)
            else:
                await inner(scope, receive, send)

        return door

    async def _watched(self, inner: Any, scope: dict[str, Any], receive: Any, send: Any) -> None:
        write, protocol = send.func, send.args[0]

        async def note(to: Any, message: dict[str, Any]) -> None:
            text = message.get("text", "")
            if not self._first and text.startswith('{"type":"update"') and '"rows":[{' in text:
                self._first, self._last = time.monotonic(), text
            await write(to, message)

        raw = partial(write, protocol)
        self._sends.append(raw)
        try:
            await inner(scope, receive, partial(note, protocol))
        finally:
            self._sends.remove(raw)


def main(port: int, breakers: int) -> None:
    call_command("migrate", verbosity=0)
    stage = Stage(breakers, 1, "calm")
    for role in stage.roles:
        role.traffic = 0.0  # a rate that comes down would be an update of its own
    stage.build()
    doors = Doors(stage)
    threading.Thread(target=asyncio.run, args=(doors.beat(),), daemon=True).start()
    serving.serve(
        lambda: doors.around(application()),
        bind="127.0.0.1",
        port=port,
        patience=1.0,
        announce=lambda text: print(text, flush=True),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
